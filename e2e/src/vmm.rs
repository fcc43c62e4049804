//! What the host sees of a running micro-VM: its process and the descriptors that only a VM's owner has.

use std::fs;

use anyhow::{Context as _, Result};

use crate::leaks;

/// The name of the process that owns a VM, and of the one that serves a pod.
pub const VMM: &str = "mote-vmm";
pub const SHIM: &str = "containerd-shim-mote-v1";

/// VMM processes of a pod, by its cgroup.
#[must_use]
pub fn of_cgroup(cgroup: &str) -> Vec<u32> {
    leaks::find_processes(VMM, cgroup)
}

/// The shim of a pod, by an id in its command line.
#[must_use]
pub fn shim(pod: &str) -> Vec<u32> {
    leaks::find_processes(SHIM, pod)
}

/// KVM's objects that a process holds: `kvm-vm`, `kvm-vcpu:0`.
///
/// # Errors
/// If the process is gone.
pub fn kvm_objects(pid: u32) -> Result<Vec<String>> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("process {pid}"))? {
        let link = fs::read_link(entry?.path()).unwrap_or_default();
        let link = link.to_string_lossy();
        if let Some(object) = link
            .strip_prefix("anon_inode:")
            .filter(|name| name.starts_with("kvm-"))
        {
            objects.push(object.to_string());
        }
    }
    // Memory mapped from a vCPU shows there too, which holds when the descriptor was closed.
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    if objects.is_empty() && maps.contains("anon_inode:kvm-vcpu") {
        objects.push("kvm-vcpu".into());
    }
    objects.sort();
    objects.dedup();
    Ok(objects)
}

/// Resident memory of a process with shared pages divided among their users, in KiB.
///
/// # Errors
/// If the process is gone.
pub fn pss_kib(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .context("no Pss")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}
