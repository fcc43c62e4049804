//! What a container may reach of the network: its pod's namespace, unless an annotation takes it away.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use mote_config::Network;
use mote_launch::Place;
use mote_launch::outgoing::{self, Requests};

use crate::spec::Spec;

/// Annotation of a pod or container: `none` grants no network at all. containerd hands annotations down as far as
/// the runtime's `pod_annotations` and `container_annotations` name them.
const ANNOTATION: &str = "mote/network";

/// Files of the container that names are looked up by; in a pod they are mounts that the kubelet or containerd made.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Most bytes that are read of either.
const MAX_LEN: u64 = 1 << 20;

/// A network that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("annotation {ANNOTATION} is {0:?}; \"none\" takes the network away, \"pod\" grants the pod's")]
    Annotation(String),
    #[error("opening the network namespace {path}: {source}")]
    Namespace { path: PathBuf, source: std::io::Error },
    #[error("starting the thread that makes sockets: {0}")]
    Broker(#[source] std::io::Error),
    #[error("starting the thread that watches for HTTP requests: {0}")]
    Requests(#[source] std::io::Error),
}

/// The network of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    granted: bool,
    /// The pod's namespace; the host's without one.
    namespace: Option<PathBuf>,
    resolv_conf: Option<PathBuf>,
    hosts: Option<PathBuf>,
}

impl Reach {
    /// What the spec grants.
    ///
    /// # Errors
    /// [`NetworkError::Annotation`].
    pub(crate) fn of(spec: &Spec) -> Result<Reach, NetworkError> {
        let granted = match spec.annotations.get(ANNOTATION).map(String::as_str) {
            None | Some("pod") => spec.has_network(),
            Some("none") => false,
            Some(other) => return Err(NetworkError::Annotation(other.to_owned())),
        };
        let source = |destination| spec.mount_source(destination).map(Path::to_path_buf);
        Ok(Reach {
            granted,
            namespace: spec.network_namespace().map(Path::to_path_buf),
            resolv_conf: source(RESOLV_CONF),
            hosts: source(HOSTS),
        })
    }

    /// The grant as `mote-vmm` takes it.
    pub(crate) fn config(&self) -> Network {
        if !self.granted {
            return Network::default();
        }
        Network {
            broker_fd: None,
            tcp: true,
            udp: true,
            name_lookup: true,
            http: true,
            resolv_conf: text(self.resolv_conf.as_deref()),
            hosts: text(self.hosts.as_deref()),
        }
    }

    /// Starts the broker that makes the container's sockets.
    ///
    /// # Errors
    /// A [`NetworkError`].
    pub(crate) fn broker(&self) -> Result<OwnedFd, NetworkError> {
        mote_launch::broker::start(self.namespace()?).map_err(NetworkError::Broker)
    }

    /// Watches for the container's HTTP requests to the outside; `granted` is what the VM is granted.
    ///
    /// # Errors
    /// A [`NetworkError`].
    pub(crate) fn requests(
        &self,
        node: &mote_launch::Node,
        id: &str,
        granted: &Network,
        place: &Place,
    ) -> Result<OwnedFd, NetworkError> {
        let requests = Requests {
            node: node.clone(),
            name: id.to_owned(),
            resolv_conf: granted.resolv_conf.clone(),
            hosts: granted.hosts.clone(),
            place: place.clone(),
            netns: self.namespace()?,
        };
        let id = id.to_owned();
        outgoing::start(requests, move |error| {
            log::error!("HTTP requests of {id} cannot be made: {error}");
        })
        .map_err(NetworkError::Requests)
    }

    /// The namespace; `None` for the host's.
    ///
    /// # Errors
    /// [`NetworkError::Namespace`].
    pub(crate) fn namespace(&self) -> Result<Option<OwnedFd>, NetworkError> {
        let Some(path) = &self.namespace else {
            return Ok(None);
        };
        let file = std::fs::File::open(path).map_err(|source| NetworkError::Namespace {
            path: path.clone(),
            source,
        })?;
        Ok(Some(file.into()))
    }
}

/// A file's text, as far as it is one.
fn text(path: Option<&Path>) -> String {
    let Some(path) = path else {
        return String::new();
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_LEN).read_to_end(&mut bytes));
    if let Err(error) = read {
        log::warn!("{}: {error}; names are looked up without it", path.display());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(json: &str) -> Result<Reach, NetworkError> {
        Reach::of(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_pods_network_is_granted_unless_taken_away() {
        let pod = r#"{"linux": {"namespaces": [{"type": "network", "path": "/run/netns/n1"}]}}"#;
        let granted = reach(pod).unwrap();
        assert!(granted.config().tcp && granted.config().udp && granted.config().http);
        assert_eq!(granted.namespace, Some("/run/netns/n1".into()));
        let host = reach("{}").unwrap();
        assert!(host.granted && host.namespace.is_none());
        let isolated = reach(r#"{"linux": {"namespaces": [{"type": "network"}]}}"#).unwrap();
        assert_eq!(isolated.config(), Network::default());
        let none = reach(r#"{"annotations": {"mote/network": "none"}}"#).unwrap();
        assert!(!none.granted);
        let error = reach(r#"{"annotations": {"mote/network": "some"}}"#).unwrap_err();
        assert!(error.to_string().contains("\"some\""), "{error}");
    }

    #[test]
    fn texts_come_from_the_mounts() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, "10.0.0.1 a\n").unwrap();
        let json = serde_json::json!({"mounts": [
            {"destination": "/etc/hosts", "type": "bind", "source": hosts},
            {"destination": "/etc/resolv.conf", "type": "bind", "source": dir.path().join("none")},
        ]});
        let config = reach(&json.to_string()).unwrap().config();
        assert_eq!(
            (config.hosts.as_str(), config.resolv_conf.as_str()),
            ("10.0.0.1 a\n", "")
        );
    }
}
