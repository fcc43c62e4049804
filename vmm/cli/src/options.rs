//! Values of options: sizes, times, variables.

use std::{str::FromStr, time::Duration};

/// Guest memory of a program that asks for nothing else.
pub(crate) const DEFAULT_MEMORY: u64 = 1 << 30;

/// Least memory that a guest starts with: its image, stacks and a page of Wasm.
const LEAST_MEMORY: u64 = 4 << 20;

/// Bytes as people and Kubernetes write them: `64MiB`, `64Mi`, `64M`, `1G`, `1073741824`.
///
/// `M` alone and `MB` are powers of ten, as in a Kubernetes quantity.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => {
            return Err(format!(
                "{unit:?} is no unit of size; use MiB, Mi, M, GiB, Gi, G, or bytes"
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number of bytes, such as 64MiB".to_string())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "larger than 64 bits can say".to_string())
}

/// A time as the wasmtime command takes it: `10s`, `500ms`, `1m`, or seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{unit:?} is no unit of time; use ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "expected a time, such as 10s".to_string())?;
    Duration::try_from_secs_f64(number * factor).map_err(|e| e.to_string())
}

/// A time as VMs and fronts are told of it, where 0 would mean none.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// An option of the wasmtime command's `-W` that Mote has under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wasm {
    Timeout(Duration),
    MaxMemorySize(u64),
}

impl FromStr for Wasm {
    type Err = String;

    fn from_str(text: &str) -> Result<Wasm, String> {
        match text.split_once('=') {
            Some(("timeout", value)) => time(value).map(Wasm::Timeout),
            Some(("max-memory-size", value)) => size(value).map(Wasm::MaxMemorySize),
            _ => Err(format!(
                "-W {text} is not supported; timeout=TIME and max-memory-size=SIZE are"
            )),
        }
    }
}

/// A folder that is granted: `HOST` or `HOST::GUEST`, as the wasmtime command takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dir {
    pub(crate) host: String,
    pub(crate) guest: String,
    pub(crate) read_only: bool,
}

impl Dir {
    pub(crate) fn writable(text: &str) -> Result<Dir, String> {
        Dir::parse(text, false)
    }

    pub(crate) fn read_only(text: &str) -> Result<Dir, String> {
        Dir::parse(text, true)
    }

    fn parse(text: &str, read_only: bool) -> Result<Dir, String> {
        let (host, guest) = text.split_once("::").unwrap_or((text, text));
        if host.is_empty() {
            return Err("a folder of the host comes first: HOST[::GUEST]".into());
        }
        // The wasmtime command passes over what comes third. Somebody who writes it means something.
        if guest.contains("::") {
            return Err("expected HOST or HOST::GUEST; --dir-ro grants a folder for reading only".into());
        }
        Ok(Dir {
            host: host.into(),
            guest: guest.into(),
            read_only,
        })
    }
}

/// An option of the wasmtime command's `-S` that Mote has under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wasi {
    Environment(bool),
    /// TCP and UDP.
    Sockets(bool),
    Tcp(bool),
    Udp(bool),
    NameLookup(bool),
    Http(bool),
    Cwd(String),
    MaxResources(u64),
    MaxRandomSize(u64),
    MaxHttpFieldsSize(u64),
    /// What is so anyway.
    Nothing,
}

const SUPPORTED: &str = "inherit-env, inherit-network, tcp, udp, allow-ip-name-lookup, http, cwd, max-resources, \
                         max-random-size and max-http-fields-size";

impl FromStr for Wasi {
    type Err = String;

    fn from_str(text: &str) -> Result<Wasi, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let on = || match value {
            None | Some("y" | "yes" | "true") => Ok(true),
            Some("n" | "no" | "false") => Ok(false),
            Some(_) => Err(format!("-S {text}: expected y or n")),
        };
        let number = || {
            let number = value.and_then(|value| value.parse().ok());
            number.ok_or_else(|| format!("-S {text}: expected a number, {name}=N"))
        };
        match name {
            "inherit-env" => on().map(Wasi::Environment),
            "inherit-network" => on().map(Wasi::Sockets),
            "tcp" => on().map(Wasi::Tcp),
            "udp" => on().map(Wasi::Udp),
            "allow-ip-name-lookup" => on().map(Wasi::NameLookup),
            "http" => on().map(Wasi::Http),
            "cwd" => match value {
                Some(path) if !path.is_empty() => Ok(Wasi::Cwd(path.to_owned())),
                _ => Err(format!("-S {text}: expected a path, cwd=PATH")),
            },
            "max-resources" => number().map(Wasi::MaxResources),
            "max-random-size" => number().map(Wasi::MaxRandomSize),
            "max-http-fields-size" => number().map(Wasi::MaxHttpFieldsSize),
            "cli" | "common" | "cli-exit-with-code" if on() == Ok(true) => Ok(Wasi::Nothing),
            _ => Err(format!("-S {text} is not supported; {SUPPORTED} are")),
        }
    }
}

/// The memory limit as it goes to the VM.
pub(crate) fn memory_limit(bytes: u64) -> Result<u64, String> {
    if bytes < LEAST_MEMORY {
        return Err(format!(
            "--memory {bytes}: a guest needs at least {LEAST_MEMORY} bytes (4MiB)"
        ));
    }
    Ok(bytes)
}

/// A variable for the program: `NAME=VALUE`, or `NAME` with the value that it has here.
pub(crate) fn variable(
    text: &str,
    ours: impl Fn(&str) -> Option<String>,
) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("--env {text}: a variable needs a name")),
        Some((name, value)) => Ok((name.into(), value.into())),
        None => match ours(text) {
            Some(value) => Ok((text.into(), value)),
            None => Err(format!(
                "--env {text}: the variable is not set here, or is not UTF-8; give {text}=VALUE"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64Mi", 64 << 20),
            ("64M", 64_000_000),
            ("1G", 1_000_000_000),
            ("2gib", 2 << 30),
            ("8k", 8000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5G",
            "10X",
            "99999999999999999999",
            "18446744073709551615k",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("3"), Ok(Duration::from_secs(3)));
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("1.5m"), Ok(Duration::from_secs(90)));
        for text in ["", "s", "1d2", "-1s", "1..s"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn folders() {
        let dir = |host: &str, guest: &str, read_only| {
            Ok(Dir {
                host: host.into(),
                guest: guest.into(),
                read_only,
            })
        };
        assert_eq!(Dir::writable("."), dir(".", ".", false));
        assert_eq!(Dir::writable("/a:b"), dir("/a:b", "/a:b", false));
        assert_eq!(Dir::writable("/tmp/x::/"), dir("/tmp/x", "/", false));
        assert_eq!(Dir::read_only("a::b"), dir("a", "b", true));
        for text in ["", "::a", "a::b::ro"] {
            assert!(Dir::writable(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wasi_options() {
        for (text, option) in [
            ("inherit-env", Wasi::Environment(true)),
            ("inherit-network", Wasi::Sockets(true)),
            ("inherit-network=n", Wasi::Sockets(false)),
            ("allow-ip-name-lookup=y", Wasi::NameLookup(true)),
            ("http", Wasi::Http(true)),
            ("tcp=yes", Wasi::Tcp(true)),
            ("udp=n", Wasi::Udp(false)),
            ("cli", Wasi::Nothing),
            ("cwd=/a=b", Wasi::Cwd("/a=b".into())),
            ("max-resources=100", Wasi::MaxResources(100)),
        ] {
            assert_eq!(text.parse(), Ok(option), "{text}");
        }
        for text in [
            "",
            "nn",
            "http=1",
            "cli=n",
            "cwd",
            "cwd=",
            "max-resources",
            "max-random-size=-1",
        ] {
            assert!(text.parse::<Wasi>().is_err(), "{text}");
        }
    }

    #[test]
    fn variables() {
        let ours = |name: &str| (name == "HOME").then(|| "/h".to_string());
        assert_eq!(variable("A=b=c", ours), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A=", ours), Ok(("A".into(), String::new())));
        assert_eq!(variable("HOME", ours), Ok(("HOME".into(), "/h".into())));
        assert!(variable("NOPE", ours).unwrap_err().contains("NOPE"));
        assert!(variable("=x", ours).is_err());
    }
}
