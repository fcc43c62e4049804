//! What a containerd holds on the node for its pods: bundles, network namespaces, addresses, links, memory.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{Containerd, config};
use crate::{leaks, vmm};

impl Containerd {
    /// The bundles that there are in the namespace of CRI, by their names: a container's id, with a dot before it while
    /// containerd removes the bundle.
    #[must_use]
    pub fn bundles(&self) -> BTreeMap<String, PathBuf> {
        let list = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
        let managers = list(&self.run.join("state")).map(|entry| entry.path().join("k8s.io"));
        let bundles = managers.flat_map(|dir| list(&dir));
        bundles
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
            .collect()
    }

    /// Removes snapshots that nobody names any more, which it would do after some hundred changes
    /// (`gc/scheduler/scheduler.go`, `MutationThreshold`).
    ///
    /// # Errors
    /// What `ctr` says.
    pub fn collect_garbage(&self) -> Result<()> {
        let id = format!("mote-gc-{}", std::process::id());
        let both = [&["create", "--id", &id][..], &["delete", "--sync", &id]];
        for words in both {
            let output = self.ctr().args(["-n", "k8s.io", "leases"]).args(words).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "ctr leases {words:?}: {said}");
        }
        Ok(())
    }

    /// The addresses that its pods have, as CNI has noted them.
    #[must_use]
    pub fn leases(&self) -> Vec<String> {
        let entries = fs::read_dir(config::leases(self).join("mote"))
            .into_iter()
            .flatten();
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.parse::<Ipv4Addr>().is_ok()).collect()
    }

    /// The host's ends of its pods' links, by the routes to them.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
        // Interface and destination; the kernel prints an address as the number that its bytes are in memory.
        let routes = table.lines().skip(1).filter_map(|line| {
            let (link, rest) = line.split_once('\t')?;
            let address = u32::from_str_radix(rest.split('\t').next()?, 16).ok()?;
            Some((link, address.to_ne_bytes()))
        });
        let network = config::network(self.series);
        routes
            .filter(|(_, address)| address.starts_with(&network))
            .map(|(link, _)| link.to_owned())
            .collect()
    }

    /// Its resident memory in KiB, shared pages divided among their users.
    ///
    /// # Errors
    /// If it does not run.
    pub fn memory_kib(&self) -> Result<u64> {
        let pid = self.lock().as_ref().context("containerd does not run")?.id();
        vmm::pss_kib(pid)
    }

    /// Mount points of the network namespaces that it made.
    #[must_use]
    pub fn network_namespaces(&self) -> Vec<PathBuf> {
        let mounts = leaks::mounts_below(&self.run).into_iter().map(PathBuf::from);
        mounts
            .filter(|path| path.parent().is_some_and(|dir| dir.ends_with("netns")))
            .collect()
    }
}
