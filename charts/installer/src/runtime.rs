//! The runtime's table in containerd's configuration.

use std::path::Path;

use crate::distribution::Schema;

/// The runtime handler: what a RuntimeClass names.
pub(crate) const HANDLER: &str = "mote";
/// First line of a file that we made; one without it is not ours to remove.
pub(crate) const DROP_IN_MARK: &str = "# Written by mote-install, and removed by its uninstall.";

impl Schema {
    /// The plugin whose section has the runtimes.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Schema::V2 => "io.containerd.grpc.v1.cri",
            Schema::V3 => "io.containerd.cri.v1.runtime",
        }
    }

    fn version(self) -> u8 {
        match self {
            Schema::V2 => 2,
            Schema::V3 => 3,
        }
    }

    /// Keys that lead to our table.
    pub(crate) fn keys(self) -> [&'static str; 5] {
        ["plugins", self.plugin(), "containerd", "runtimes", HANDLER]
    }
}

/// The table. `SystemdCgroup` is not in it: containerd chooses the form of a pod's cgroup path by the kubelet's parent,
/// and the shim takes both.
pub(crate) fn table(schema: Schema, shim: &Path) -> String {
    let shim = shim.display().to_string();
    let which = match schema {
        // 1.6 reads `runtime_path`, and its client drops it (`WithRuntimePath`, task_opts.go). A path for a type is
        // taken from 1.6 on (`resolveRuntimePath`).
        Schema::V2 => format!("  # io.containerd.mote.v1, by its path\n  runtime_type = {shim:?}\n"),
        Schema::V3 => format!("  runtime_type = \"io.containerd.mote.v1\"\n  runtime_path = {shim:?}\n"),
    };
    format!(
        "[plugins.\"{plugin}\".containerd.runtimes.{HANDLER}]
{which}  pod_annotations = [\"mote/*\"]
  container_annotations = [\"mote/*\", \"io.kubernetes.container.*\"]
",
        plugin = schema.plugin(),
    )
}

/// The table as a file of its own.
pub(crate) fn drop_in(schema: Schema, shim: &Path) -> String {
    format!(
        "{DROP_IN_MARK}\nversion = {}\n\n{}",
        schema.version(),
        table(schema, shim)
    )
}
