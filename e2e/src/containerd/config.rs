//! containerd's configuration, by its version, and CNI's.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Containerd, HANDLER, RUNTIME, SANDBOXER};
use crate::paths;

/// Series of containerd that the tests know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    V1_6,
    V1_7,
    V2_1,
}

impl Series {
    pub const ALL: [Series; 3] = [Series::V1_6, Series::V1_7, Series::V2_1];

    /// By the variable `CONTAINERD`, if it is set.
    ///
    /// # Errors
    /// For a value that is none of them.
    pub fn chosen() -> Result<Option<Series>> {
        let name = std::env::var("CONTAINERD").unwrap_or_default();
        if name.is_empty() {
            return Ok(None);
        }
        match Series::ALL.into_iter().find(|series| series.name() == name) {
            Some(series) => Ok(Some(series)),
            None => bail!("CONTAINERD={name} is not one of 1.6, 1.7, 2.1"),
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Series::V1_6 => "1.6",
            Series::V1_7 => "1.7",
            Series::V2_1 => "2.1",
        }
    }

    /// The version of the configuration file that it writes itself.
    #[must_use]
    pub fn schema(self) -> u8 {
        match self {
            Series::V1_6 | Series::V1_7 => 2,
            Series::V2_1 => 3,
        }
    }

    /// An executable of the unpacked package.
    #[must_use]
    pub fn bin(self, name: &str) -> PathBuf {
        let dir = format!("containerd-{}", self.name());
        paths::work().join(dir).join("usr/bin").join(name)
    }
}

/// The file in the version of the series.
pub(super) fn containerd(daemon: &Containerd, pause: &str) -> String {
    text(daemon, pause, daemon.series.schema())
}

/// What both versions of the file share. Short socket names live below /run.
fn text(daemon: &Containerd, pause: &str, version: u8) -> String {
    let Containerd { run, root, .. } = daemon;
    let cri = if version == 2 {
        cri_v2(root, pause)
    } else {
        cri_v3(root, pause)
    };
    format!(
        r#"version = {version}
root = "{root}/root"
state = "{run}/state"

[grpc]
  address = "{socket}"

[debug]
  level = "info"

{cri}"#,
        root = root.display(),
        run = run.display(),
        socket = daemon.socket().display(),
    )
}

/// The same without Mote.
pub(super) fn without_handler(daemon: &Containerd, pause: &str, version: u8) -> String {
    let mut bare = String::new();
    let mut ours = false;
    for line in text(daemon, pause, version).lines() {
        ours = match line.trim_start().starts_with('[') {
            true => [HANDLER, SANDBOXER]
                .iter()
                .any(|name| line.contains(&format!("runtimes.{name}]"))),
            false => ours,
        };
        if !ours {
            bare.push_str(&line.replace(
                &format!("default_runtime_name = \"{HANDLER}\""),
                "default_runtime_name = \"runc\"",
            ));
            bare.push('\n');
        }
    }
    bare
}

// `restrict_oom_score_adj`: where root lacks CAP_SYS_RESOURCE, a lower score than our own is refused.
// `netns_mounts_under_state_dir`: whoever else uses /run/netns cannot get in the way.

fn cri_v3(root: &Path, pause: &str) -> String {
    let root = root.display();
    let plugins = paths::work().join("cni/usr/lib/cni");
    let plugins = plugins.display();
    format!(
        r#"[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  use_local_image_pull = true
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{pause}"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "{root}/registries"

[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{root}/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "{HANDLER}"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{HANDLER}]
      runtime_type = "{RUNTIME}"
      pod_annotations = ["mote/*"]
      container_annotations = ["mote/*", "io.kubernetes.container.*"]
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{SANDBOXER}]
      runtime_type = "{RUNTIME}"
      sandboxer = "shim"
      pod_annotations = ["mote/*"]
      container_annotations = ["mote/*", "io.kubernetes.container.*"]
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#
    )
}

fn cri_v2(root: &Path, pause: &str) -> String {
    let root = root.display();
    let plugins = paths::work().join("cni/usr/lib/cni");
    let plugins = plugins.display();
    format!(
        r#"[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{root}/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{root}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "{HANDLER}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{HANDLER}]
      runtime_type = "{RUNTIME}"
      pod_annotations = ["mote/*"]
      container_annotations = ["mote/*", "io.kubernetes.container.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#
    )
}

/// Where the pods' addresses are noted.
pub(super) fn leases(daemon: &Containerd) -> PathBuf {
    daemon.root.join("leases")
}

/// The first three bytes of the pods' addresses. The process number and the series keep parallel runs on networks of their
/// own.
pub(super) fn network(series: Series) -> [u8; 3] {
    let [.., high, low] = std::process::id().to_be_bytes();
    let id = u16::from_be_bytes([high, low]);
    let [_, second] = (64 + (id / 64) % 64).to_be_bytes();
    let [_, third] = ((id % 64) * 4 + series as u16).to_be_bytes();
    [10, second, third]
}

/// Point-to-point links: unlike a bridge they leave no device behind.
pub(super) fn cni(daemon: &Containerd) -> String {
    let [first, second, third] = network(daemon.series);
    let leases = leases(daemon);
    let leases = leases.display();
    format!(
        r#"{{
  "cniVersion": "1.0.0",
  "name": "mote",
  "plugins": [
    {{
      "type": "ptp",
      "ipMasq": false,
      "ipam": {{
        "type": "host-local",
        "dataDir": "{leases}",
        "ranges": [[{{ "subnet": "{first}.{second}.{third}.0/24" }}]],
        "routes": [{{ "dst": "0.0.0.0/0" }}]
      }}
    }}
  ]
}}
"#
    )
}
