//! Kernel parameters of a pod's network: what `/proc/sys/net` has is the network namespace's own, and so concerns the
//! program's sockets. Parameters of other namespaces concern processes, which a program is not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{io, thread};

use nix::sched::{CloneFlags, setns};

use crate::spec::Spec;

/// The first port that can be bound without CAP_NET_BIND_SERVICE. (ip(7) of Linux's `ip-sysctl` documentation)
const PORT_START: &str = "net.ipv4.ip_unprivileged_port_start";

/// What of [`PORT_START`] the container's own capability stands for.
const BIND_SERVICE: &str = "CAP_NET_BIND_SERVICE";

/// A parameter that cannot be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SysctlError {
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
/// port, as it could as a process: `mote-vmm` has no capabilities. Where the network is the host's, nothing is set.
///
/// # Errors
/// A [`SysctlError`] for what the spec names.
pub(crate) fn apply(spec: &Spec) -> Result<(), SysctlError> {
    let Some(netns) = spec.network_namespace() else {
        return Ok(());
    };
    let named = spec.linux.sysctl.as_ref();
    set(netns, named.into_iter().flatten())?;
    if binds_any_port(spec)
        && let Err(error) = set(netns, [(&PORT_START.to_owned(), &"0".to_owned())])
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

/// Sets those parameters that are a network namespace's.
///
/// # Errors
/// A [`SysctlError`].
pub(crate) fn set<'a>(
    netns: &Path,
    parameters: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), SysctlError> {
    let ours: BTreeMap<&str, &str> = parameters
        .into_iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| name.starts_with("net."))
        .collect();
    if ours.is_empty() {
        return Ok(());
    }
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
    fn the_hosts_network_and_other_namespaces_stay_as_they_are() {
        let json = r#"{"linux": {"sysctl": {"net.no.such": "1"}}}"#;
        apply(&serde_json::from_str(json).unwrap()).unwrap();
        // A namespace that is not there is not even opened.
        let none = Path::new("/none");
        set(none, [(&"kernel.shm_rmid_forced".to_owned(), &"1".to_owned())]).unwrap();
        let error = set(none, [(&PORT_START.to_owned(), &"0".to_owned())]).unwrap_err();
        assert!(error.to_string().contains("/none"), "{error}");
    }
}
