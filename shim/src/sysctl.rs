//! Kernel parameters of a pod's network: what `/proc/sys/net` has is the network namespace's own, and so concerns the
//! program's sockets. Parameters of other namespaces concern processes, which a program is not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{io, thread};

use nix::sched::{CloneFlags, setns};

use crate::spec::Spec;

/// The first port that can be bound without [`BIND_SERVICE`]. (Linux `Documentation/networking/ip-sysctl.rst`)
const PORT_START: &str = "net.ipv4.ip_unprivileged_port_start";

/// The capability by which a process binds any port. (capabilities(7))
const BIND_SERVICE: &str = "CAP_NET_BIND_SERVICE";

/// A parameter that cannot be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SysctlError {
    #[error("the pod's kernel parameter {0} would be the node's, whose network it is on (hostNetwork)")]
    Host(String),
    #[error("entering the network namespace {path} to set kernel parameters: {source}")]
    Namespace { path: PathBuf, source: io::Error },
    #[error("setting the pod's kernel parameter {name} to {value:?}: {source}")]
    Set {
        name: String,
        value: String,
        source: io::Error,
    },
}

/// Sets what the spec says of its network (`linux.sysctl`), and lets a program of root that has the capability bind any
/// port, as it could as a process: `mote-vmm` has no capabilities. A network that nobody has set up, or none, needs
/// neither.
///
/// # Errors
/// A [`SysctlError`] for what the spec names.
pub(crate) fn apply(spec: &Spec) -> Result<(), SysctlError> {
    if !spec.has_network() {
        return Ok(());
    }
    let netns = spec.network_namespace();
    set(netns, spec.linux.sysctl.iter().flatten())?;
    if let Some(netns) = netns.filter(|path| !is_nodes(path))
        && binds_any_port(spec)
        && let Err(error) = set(Some(netns), [(&PORT_START.to_owned(), &"0".to_owned())])
    {
        log::warn!("{error}; ports below 1024 cannot be bound");
    }
    Ok(())
}

/// Whether a process of this spec could bind ports below 1024. No program runs in a sandbox.
fn binds_any_port(spec: &Spec) -> bool {
    let Some(process) = spec.process.as_ref().filter(|_| !spec.is_sandbox()) else {
        return false;
    };
    let capabilities = process.capabilities.as_ref();
    let effective = capabilities.and_then(|all| all.effective.as_deref());
    process.user.uid == 0
        && effective
            .unwrap_or_default()
            .iter()
            .any(|name| name == BIND_SERVICE)
}

/// Whether a network namespace is the one that the shim is in, which is the node's. (namespaces(7), "The /proc/pid/ns/
/// directory")
fn is_nodes(netns: &Path) -> bool {
    let number = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let Ok(theirs) = number(netns) else {
        // Nothing is there to be entered.
        return false;
    };
    number(Path::new("/proc/self/ns/net")).map_or(true, |ours| ours == theirs)
}

/// Sets those parameters that are a network namespace's; `None` is the node's, where nothing may be set.
///
/// # Errors
/// A [`SysctlError`].
pub(crate) fn set<'a>(
    netns: Option<&Path>,
    parameters: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), SysctlError> {
    let ours: BTreeMap<&str, &str> = parameters
        .into_iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| name.starts_with("net."))
        .collect();
    let Some(first) = ours.keys().next() else {
        return Ok(());
    };
    let Some(netns) = netns.filter(|path| !is_nodes(path)) else {
        return Err(SysctlError::Host((*first).to_owned()));
    };
    // /proc/sys/net is that of the thread's namespace, and a thread of its own need not find its way back.
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let entered = File::open(netns).and_then(|file| Ok(setns(file, CloneFlags::CLONE_NEWNET)?));
            entered.map_err(|source| SysctlError::Namespace {
                path: netns.to_owned(),
                source,
            })?;
            for (name, value) in ours {
                // No dot is left in it, so it cannot lead out. (sysctl(8))
                let path = Path::new("/proc/sys").join(name.replace('.', "/"));
                fs::write(path, value).map_err(|source| SysctlError::Set {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    source,
                })?;
            }
            Ok(())
        });
        worker.join().unwrap_or_else(|_| {
            Err(SysctlError::Namespace {
                path: netns.to_owned(),
                source: io::Error::other("the thread panicked"),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_port_is_for_root_with_the_capability() {
        let binds = |uid: u32, capability: &str, kind: &str| {
            let json = serde_json::json!({
                "process": {"args": ["a"], "user": {"uid": uid}, "capabilities": {"effective": [capability]}},
                "annotations": {"io.kubernetes.cri.container-type": kind},
            });
            binds_any_port(&serde_json::from_value(json).unwrap())
        };
        assert!(binds(0, BIND_SERVICE, "container"));
        assert!(!binds(1, BIND_SERVICE, "container"));
        assert!(!binds(0, "CAP_CHOWN", "container"));
        assert!(!binds(0, BIND_SERVICE, "sandbox"));
        let none = r#"{"process": {"args": ["a"], "capabilities": {"effective": null}}}"#;
        assert!(!binds_any_port(&serde_json::from_str(none).unwrap()));
    }

    #[test]
    fn the_nodes_network_and_other_namespaces_stay_as_they_are() {
        let applied = |namespaces: &str, name: &str| {
            let json = format!(r#"{{"linux": {{"sysctl": {{"{name}": "1"}}, "namespaces": {namespaces}}}}}"#);
            apply(&serde_json::from_str(&json).unwrap())
        };
        let own = r#"[{"type": "network", "path": "/proc/self/ns/net"}]"#;
        for nodes in ["[]", own] {
            let error = applied(nodes, "net.ipv4.ip_forward").unwrap_err().to_string();
            assert!(error.contains("net.ipv4.ip_forward"), "{error}");
            applied(nodes, "kernel.shm_rmid_forced").unwrap();
        }
        applied(r#"[{"type": "network"}]"#, "net.ipv4.ip_forward").unwrap();
        let absent = r#"[{"type": "network", "path": "/none"}]"#;
        let error = applied(absent, "net.ipv4.ip_forward").unwrap_err().to_string();
        assert!(error.contains("/none"), "{error}");
    }
}
