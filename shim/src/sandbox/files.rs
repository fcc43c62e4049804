//! The files that name a pod and whom it may ask for names. CRI's own sandbox controller writes them itself; to a sandbox
//! by the sandbox API it leaves them. (containerd `internal/cri/server/podsandbox/sandbox_run_linux.go`,
//! `setupSandboxFiles`)

use std::io;
use std::path::{Path, PathBuf};

use super::config::{Dns, PodSandboxConfig};
use crate::spec::Mount;

const NODE_HOSTNAME: &str = "/proc/sys/kernel/hostname";
const NODE_HOSTS: &str = "/etc/hosts";
const NODE_RESOLV_CONF: &str = "/etc/resolv.conf";

/// A file of the sandbox that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}")]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Writes the files into the sandbox's bundle, with which they go away; the answer mounts them. Where the node has no
/// `/etc/hosts` or `/etc/resolv.conf`, the pod gets none either.
///
/// # Errors
/// A [`FileError`].
pub(crate) fn write_files(bundle: &Path, config: &PodSandboxConfig) -> Result<Vec<Mount>, FileError> {
    let hostname = match config.hostname.as_str() {
        "" => read(NODE_HOSTNAME)?,
        name => Some(format!("{name}\n")),
    };
    let resolv_conf = match &config.dns {
        Some(dns) => Some(text(dns)),
        None => read(NODE_RESOLV_CONF)?,
    };
    let mut mounts = Vec::new();
    for (name, text) in [
        ("hostname", hostname),
        ("hosts", read(NODE_HOSTS)?),
        ("resolv.conf", resolv_conf),
    ] {
        let Some(text) = text else { continue };
        let path = bundle.join(name);
        std::fs::write(&path, text).map_err(|source| FileError {
            action: "writing",
            path: path.clone(),
            source,
        })?;
        mounts.push(Mount {
            destination: format!("/etc/{name}"),
            kind: "bind".to_owned(),
            source: Some(path),
            options: vec!["rbind".to_owned()],
        });
    }
    Ok(mounts)
}

fn read(path: &str) -> Result<Option<String>, FileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError {
            action: "reading",
            path: path.into(),
            source,
        }),
    }
}

/// In the form of resolv.conf(5).
fn text(dns: &Dns) -> String {
    let mut text = String::new();
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    for (keyword, words) in [("search", &dns.searches), ("options", &dns.options)] {
        if !words.is_empty() {
            text.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_the_bundle_and_mounted() {
        let bundle = tempfile::tempdir().unwrap();
        let dns = Dns {
            servers: vec!["10.0.0.10".into(), "10.0.0.11".into()],
            searches: vec!["a.svc".into(), "svc".into()],
            options: vec!["ndots:5".into()],
        };
        let mounts = write_files(bundle.path(), &PodSandboxConfig::new("pod-1", Some(dns))).unwrap();
        let text = |name: &str| {
            let mount = mounts.iter().find(|mount| mount.destination == name).unwrap();
            std::fs::read_to_string(mount.source.as_ref().unwrap()).unwrap()
        };
        assert_eq!(text("/etc/hostname"), "pod-1\n");
        assert_eq!(
            text("/etc/resolv.conf"),
            "nameserver 10.0.0.10\nnameserver 10.0.0.11\nsearch a.svc svc\noptions ndots:5\n"
        );
        assert!(
            mounts
                .iter()
                .all(|m| m.source.as_ref().unwrap().starts_with(bundle.path()))
        );
    }

    #[test]
    fn without_a_name_it_is_the_nodes() {
        let bundle = tempfile::tempdir().unwrap();
        write_files(bundle.path(), &PodSandboxConfig::default()).unwrap();
        let name = std::fs::read_to_string(bundle.path().join("hostname")).unwrap();
        assert_eq!(name, std::fs::read_to_string(NODE_HOSTNAME).unwrap());
    }
}
