//! What a command line gives to a program, as its VM is told of it.

use std::{fs::File, time::Duration};

use anyhow::anyhow;
use mote_config::{Limits, Network, Preopen, User};

use crate::{
    args, folders, network,
    options::{self, Wasi, Wasm},
};

/// What `mote run` and `mote serve` have in common.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) preopens: Vec<Preopen>,
    /// Whom files are reached as, if there are any.
    pub(crate) user: Option<User>,
    pub(crate) network: Network,
    pub(crate) cwd: Option<String>,
    pub(crate) limits: Limits,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) timeout: Option<Duration>,
}

impl Given {
    /// Of two spellings of one limit the wasmtime command's is taken.
    pub(crate) fn new(
        given: &args::Given,
        memory: Option<u64>,
        timeout: Option<Duration>,
    ) -> anyhow::Result<Given> {
        let (mut memory, mut timeout) = (memory.unwrap_or(options::DEFAULT_MEMORY), timeout);
        for option in &given.wasm {
            match *option {
                Wasm::Timeout(time) => timeout = Some(time),
                Wasm::MaxMemorySize(size) => memory = size,
            }
        }
        let (mut cwd, mut limits) = (None, Limits::default());
        for option in &given.wasi {
            match option {
                Wasi::Cwd(path) => cwd = Some(path.clone()),
                Wasi::MaxResources(most) => limits.resources = Some(*most),
                Wasi::MaxRandomSize(most) => limits.random_bytes = Some(*most),
                Wasi::MaxHttpFieldsSize(most) => limits.http_fields = Some(*most),
                _ => {}
            }
        }
        let preopens: Vec<Preopen> = dirs(given)
            .map(|dir| Preopen {
                guest: dir.guest.clone(),
                read_only: dir.read_only,
                fd: 0,
            })
            .collect();
        Ok(Given {
            env: environment(given)?,
            user: (!preopens.is_empty()).then(folders::caller).transpose()?,
            preopens,
            network: network::configure(&given.network, &given.wasi)?,
            cwd,
            limits,
            memory: options::memory_limit(memory).map_err(anyhow::Error::msg)?,
            timeout,
        })
    }
}

/// The folders, opened, in the order of the preopens.
pub(crate) fn open_folders(given: &args::Given) -> anyhow::Result<Vec<File>> {
    dirs(given).map(folders::open).collect()
}

fn dirs(given: &args::Given) -> impl Iterator<Item = &options::Dir> {
    given.dirs.iter().chain(&given.dirs_ro)
}

/// What is named goes before what is inherited.
fn environment(given: &args::Given) -> anyhow::Result<Vec<(String, String)>> {
    let named = given.env.iter();
    let named = named.map(|text| options::variable(text, |name| std::env::var(name).ok()));
    let mut env = named.collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::msg)?;
    let inherit = given.wasi.iter().rev().find_map(|option| match option {
        Wasi::Environment(on) => Some(*on),
        _ => None,
    });
    if inherit == Some(true) {
        let count = env.len();
        for (name, value) in std::env::vars_os() {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
                return Err(anyhow!(
                    "-S inherit-env: the variable {name:?} is not UTF-8, and WASI's strings are; unset it, or name \
                     what the program needs with --env"
                ));
            };
            if !env.iter().take(count).any(|(named, _)| named == name) {
                env.push((name.into(), value.into()));
            }
        }
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &[&str]) -> anyhow::Result<Given> {
        let run = args::tests::run(&[line, &["a.wasm"]].concat());
        Given::new(&run.given, run.memory, run.timeout)
    }

    #[test]
    fn folders_are_the_callers() {
        let given = given(&["--dir-ro", "/b", "--dir", "/tmp::/a"]).unwrap();
        let granted: Vec<_> = given
            .preopens
            .iter()
            .map(|p| (p.guest.as_str(), p.read_only))
            .collect();
        assert_eq!(granted, [("/a", false), ("/b", true)]);
        assert!(given.user.is_some());
    }

    #[test]
    fn limits_have_two_spellings() {
        let own = given(&["--memory", "64Mi", "--timeout", "2s"]).unwrap();
        let theirs = given(&["-W", "max-memory-size=64Mi,timeout=2s"]).unwrap();
        for limits in [own, theirs] {
            assert_eq!(
                (limits.memory, limits.timeout),
                (64 << 20, Some(Duration::from_secs(2)))
            );
        }
        assert_eq!(given(&[]).unwrap().memory, 1 << 30);
        assert!(given(&["--memory", "1"]).is_err());
    }

    #[test]
    fn what_the_runtime_gives_is_limited() {
        let usual = given(&[]).unwrap();
        assert_eq!((usual.cwd, usual.limits), (None, Limits::default()));
        let line = [
            "-S",
            "cwd=/a,max-resources=3",
            "-Smax-random-size=5,max-http-fields-size=7",
        ];
        let given = given(&line).unwrap();
        assert_eq!(given.cwd.as_deref(), Some("/a"));
        let limits = Limits {
            resources: Some(3),
            random_bytes: Some(5),
            http_fields: Some(7),
        };
        assert_eq!(given.limits, limits);
    }

    #[test]
    fn the_environment_is_inherited_if_it_is_asked_for() {
        assert_eq!(given(&[]).unwrap().env, []);
        let one = given(&["--env", "PATH=/x", "-S", "inherit-env"]).unwrap();
        assert_eq!(one.env[0], ("PATH".to_string(), "/x".to_string()));
        assert_eq!(one.env.iter().filter(|(name, _)| name == "PATH").count(), 1);
        assert_eq!(one.env.len(), std::env::vars_os().count());
        assert_eq!(given(&["-S", "inherit-env,inherit-env=n"]).unwrap().env, []);
    }
}
