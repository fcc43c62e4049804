//! The parts of a bundle's `config.json` that mean something for a Wasm program.
//!
//! Only these are parsed, and leniently: a spec for a newer kernel or runtime names capabilities, namespaces and
//! mount types that a closed list would refuse, and none of them matters here. Field names are those of the OCI
//! runtime specification (`config.md`, `config-linux.md`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Annotation with the id of the pod's sandbox; the containers of a pod share one shim by it
/// (containerd `pkg/cri/annotations`).
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";
/// Annotation that tells the sandbox ("sandbox") from the containers ("container").
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

/// Annotation with the image that the pod names. (containerd `internal/cri/annotations`)
const IMAGE_NAME: &str = "io.kubernetes.cri.image-name";

/// Name of the spec in a bundle.
const FILE: &str = "config.json";

/// Most bytes of a spec; the biggest seen have some 100 kB.
const MAX_LEN: u64 = 16 << 20;

/// A spec that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is no OCI runtime spec: {source}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} is larger than {MAX_LEN} bytes")]
    TooLarge { path: PathBuf },
    #[error("config.json has no process.args; give the image an entrypoint or the container a command")]
    NoArgs,
    #[error("config.json: {0}")]
    Network(String),
    #[error("annotation {name} is {value:?}, which is no number that it may be")]
    Annotation { name: &'static str, value: String },
    #[error(
        "config.json: memory limit {limit} bytes is less than the {min} bytes that the runtime itself needs; \
         raise the container's memory limit (linux.resources.memory.limit)"
    )]
    MemoryTooSmall { limit: u64, min: u64 },
}

/// `config.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub process: Option<Process>,
    pub root: Option<Root>,
    pub mounts: Vec<Mount>,
    pub annotations: BTreeMap<String, String>,
    pub linux: Linux,
}

/// `process`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Process {
    pub terminal: bool,
    pub args: Option<Vec<String>>,
    pub env: Option<Vec<String>>,
    pub cwd: String,
    pub user: User,
    pub capabilities: Option<Capabilities>,
    pub oom_score_adj: Option<i32>,
    pub console_size: Option<ConsoleSize>,
}

/// `process.consoleSize`, in characters.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct ConsoleSize {
    pub width: u32,
    pub height: u32,
}

/// `process.user`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Option<Vec<u32>>,
}

/// `process.capabilities`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    pub effective: Option<Vec<String>>,
}

/// `root`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Root {
    pub path: String,
    pub readonly: bool,
}

/// One of `mounts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Mount {
    pub destination: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub source: Option<PathBuf>,
    pub options: Vec<String>,
}

/// `linux`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Linux {
    pub cgroups_path: String,
    pub namespaces: Option<Vec<Namespace>>,
    pub resources: Option<Resources>,
    pub sysctl: Option<BTreeMap<String, String>>,
}

/// One of `linux.namespaces`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: Option<PathBuf>,
}

impl Namespace {
    /// A network namespace: that behind a path, or a new one.
    #[must_use]
    pub(crate) fn network(path: Option<PathBuf>) -> Namespace {
        Namespace {
            kind: "network".to_owned(),
            path,
        }
    }
}

/// `linux.resources`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Resources {
    pub memory: Option<Memory>,
    pub cpu: Option<Cpu>,
    pub pids: Option<Pids>,
}

/// `linux.resources.memory`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Memory {
    pub limit: Option<i64>,
}

/// `linux.resources.cpu`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Cpu {
    pub shares: Option<u64>,
    pub quota: Option<i64>,
    pub period: Option<u64>,
}

/// `linux.resources.pids`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Pids {
    pub limit: Option<i64>,
}

/// Reads the spec of a bundle.
///
/// # Errors
/// A [`SpecError`] that names the file.
pub(crate) fn read(bundle: &Path) -> Result<Spec, SpecError> {
    let path = bundle.join(FILE);
    let len = std::fs::metadata(&path)
        .map_err(|source| SpecError::Read {
            path: path.clone(),
            source,
        })?
        .len();
    if len > MAX_LEN {
        return Err(SpecError::TooLarge { path });
    }
    let bytes = std::fs::read(&path).map_err(|source| SpecError::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| SpecError::Parse { path, source })
}

impl Spec {
    /// The id of the sandbox that the container belongs to.
    #[must_use]
    pub(crate) fn sandbox_id(&self) -> Option<&str> {
        self.annotations
            .get(SANDBOX_ID)
            .map(String::as_str)
            .filter(|id| !id.is_empty())
    }

    /// The image that the pod names, where CRI tells.
    #[must_use]
    pub(crate) fn image_name(&self) -> Option<&str> {
        self.annotations
            .get(IMAGE_NAME)
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }

    /// Whether this is the pod's sandbox (pause) container, for which no process runs.
    #[must_use]
    pub(crate) fn is_sandbox(&self) -> bool {
        self.annotations
            .get(CONTAINER_TYPE)
            .is_some_and(|kind| kind == "sandbox")
    }

    /// Whether the container has a network: the host's, or that of a namespace which somebody has set up. A new
    /// namespace (no path) has none.
    #[must_use]
    pub(crate) fn has_network(&self) -> bool {
        self.network_entry().is_none_or(|ns| ns.path.is_some())
    }

    /// What the spec says of the network namespace; `None` for the host's.
    #[must_use]
    pub(crate) fn network_entry(&self) -> Option<Namespace> {
        let all = self.linux.namespaces.as_deref().unwrap_or_default();
        all.iter().find(|ns| ns.kind == "network").cloned()
    }

    /// Says it anew.
    pub(crate) fn set_network_entry(&mut self, entry: Option<Namespace>) {
        let all = self.linux.namespaces.get_or_insert_default();
        all.retain(|ns| ns.kind != "network");
        all.extend(entry);
    }

    /// Adds mounts for destinations that have none; read-only if the root is.
    pub(crate) fn add_mounts(&mut self, mounts: Vec<Mount>) {
        let read_only = self.root.as_ref().is_some_and(|root| root.readonly);
        for mut mount in mounts {
            if self.mounts.iter().any(|m| m.destination == mount.destination) {
                continue;
            }
            if read_only {
                mount.options.push("ro".to_owned());
            }
            self.mounts.push(mount);
        }
    }

    /// The network namespace that the container shall be in, if it is not the host's.
    #[must_use]
    pub(crate) fn network_namespace(&self) -> Option<&Path> {
        let all = self.linux.namespaces.as_deref().unwrap_or_default();
        all.iter().find(|ns| ns.kind == "network")?.path.as_deref()
    }

    /// The host's file behind a mount's destination.
    #[must_use]
    pub(crate) fn mount_source(&self, destination: &str) -> Option<&Path> {
        self.mounts
            .iter()
            .find(|m| m.destination == destination)?
            .source
            .as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Spec {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn pod_annotations_and_namespaces() {
        let spec = parse(
            r#"{
              "ociVersion": "9.9.9", "futureField": {"a": [1]},
              "annotations": {"io.kubernetes.cri.sandbox-id": "s1", "io.kubernetes.cri.container-type": "sandbox"},
              "mounts": [{"destination": "/dev/termination-log", "type": "bind", "source": "/k/log", "options": ["rw"]}],
              "linux": {"cgroupsPath": "/kubepods/p/s1", "namespaces": [
                 {"type": "unheard-of"}, {"type": "pid"}, {"type": "network", "path": "/run/netns/n1"}]}
            }"#,
        );
        assert!(spec.is_sandbox());
        assert_eq!(spec.sandbox_id(), Some("s1"));
        assert_eq!(spec.network_namespace(), Some(Path::new("/run/netns/n1")));
        assert_eq!(
            spec.mount_source("/dev/termination-log"),
            Some(Path::new("/k/log"))
        );
        assert_eq!(spec.mount_source("/none"), None);
    }

    #[test]
    fn the_network_entry_can_be_replaced() {
        let mut spec = parse(r#"{"linux": {"namespaces": [{"type": "network", "path": "/proc/7/ns/net"}]}}"#);
        let pods = Namespace {
            kind: "network".to_owned(),
            path: Some("/run/netns/n1".into()),
        };
        spec.set_network_entry(Some(pods));
        assert_eq!(spec.network_namespace(), Some(Path::new("/run/netns/n1")));
        spec.set_network_entry(None);
        assert!(spec.has_network() && spec.network_namespace().is_none());
    }

    #[test]
    fn host_network_and_bare_specs() {
        assert_eq!(parse("{}").network_namespace(), None);
        assert!(!parse("{}").is_sandbox());
        assert_eq!(
            parse(r#"{"linux": {"namespaces": null}}"#).network_namespace(),
            None
        );
        assert_eq!(
            parse(r#"{"linux": {"namespaces": [{"type": "network"}]}}"#).network_namespace(),
            None
        );
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("config.json"));
        std::fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(matches!(read(dir.path()), Err(SpecError::Parse { .. })));
    }
}
