//! What a program may reach of the network.

use std::{fs, io, path::Path};

use anyhow::{Context, bail};
use mote_config::Network;

use crate::{args, options::Wasi};

/// Largest file that names are looked up by.
const FILE_MAX: u64 = 256 << 10;

/// The grants of a command line.
pub(crate) fn configure(args: &args::Network, wasi: &[Wasi]) -> anyhow::Result<Network> {
    let mut network = Network {
        tcp: args.net,
        udp: args.net,
        name_lookup: args.net,
        http: args.net,
        ..Network::default()
    };
    // As the wasmtime command has it: `tcp` and `udp` take away, and give nothing that the network as such does not.
    let (mut tcp, mut udp) = (true, true);
    for option in wasi {
        match *option {
            Wasi::Sockets(on) => (network.tcp, network.udp) = (on, on),
            Wasi::Tcp(on) => tcp = on,
            Wasi::Udp(on) => udp = on,
            Wasi::NameLookup(on) => network.name_lookup = on,
            Wasi::Http(on) => network.http = on,
            _ => {}
        }
    }
    network.tcp &= tcp;
    network.udp &= udp;
    if network.name_lookup || network.http {
        network.resolv_conf = text(args.resolv_conf.as_deref(), "/etc/resolv.conf")?;
        network.hosts = text(args.hosts.as_deref(), "/etc/hosts")?;
    }
    Ok(network)
}

/// The text of a file that was named, or of the usual one, which may be missing.
fn text(named: Option<&Path>, usual: &str) -> anyhow::Result<String> {
    let path = named.unwrap_or(Path::new(usual));
    let bytes = match fs::metadata(path) {
        Ok(file) if file.len() > FILE_MAX => {
            bail!("{} has more than {FILE_MAX} bytes", path.display())
        }
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(line: &[&str]) -> anyhow::Result<Network> {
        let run = args::tests::run(&[line, &["a.wasm"]].concat());
        configure(&run.given.network, &run.given.wasi)
    }

    #[test]
    fn nothing_is_granted_unless_it_is_asked_for() {
        assert_eq!(granted(&[]).unwrap(), Network::default());
        let all = granted(&["--net"]).unwrap();
        assert!(all.tcp && all.udp && all.name_lookup && all.http);
        let some = granted(&["-S", "inherit-network,tcp", "-Sallow-ip-name-lookup=n"]).unwrap();
        assert!(some.tcp && some.udp && !some.name_lookup && !some.http && some.hosts.is_empty());
        let udp = granted(&["-S", "tcp=n", "--net"]).unwrap();
        assert!(!udp.tcp && udp.udp && udp.name_lookup);
        assert_eq!(granted(&["-S", "tcp,udp"]).unwrap(), Network::default());
        assert!(!granted(&["--net", "-S", "http=n"]).unwrap().http);
    }

    #[test]
    fn files_are_read() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        fs::write(temp.path(), "nameserver 192.0.2.1").unwrap();
        let path = temp.path().to_str().unwrap();
        let network = granted(&["--net", "--resolv-conf", path, "--hosts", "/dev/null"]).unwrap();
        assert_eq!(
            (network.resolv_conf.as_str(), network.hosts.as_str()),
            ("nameserver 192.0.2.1", "")
        );
        assert!(granted(&["--net", "--hosts", "/does/not/exist"]).is_err());
    }
}
