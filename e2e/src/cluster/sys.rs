//! What a node needs of the operating system: mounts, cgroups, processes.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use anyhow::{Context as _, Result};

use super::shell::run;
use crate::leaks;

/// mount(8).
///
/// # Errors
/// As it says.
pub fn mount(words: &[&str]) -> Result<()> {
    run(Command::new("mount").args(words)).map(drop)
}

/// Waits for any child; its process number and wait status.
///
/// # Errors
/// If there is none.
pub fn wait_any() -> Result<(u32, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: the status is written to an integer that outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if let Ok(pid) = u32::try_from(pid) {
            return Ok((pid, status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error).context("waiting for children");
        }
    }
}

/// Makes a cgroup in every hierarchy, for the kubelet to make its own below: it takes none that is missing anywhere.
///
/// # Errors
/// If one cannot be made.
pub fn make_cgroup(name: &str) -> Result<()> {
    let roots = leaks::cgroup_roots();
    let unified = roots.len() == 1;
    for root in roots {
        let dir = root.join(name.trim_start_matches('/'));
        if unified {
            let controllers = "+cpu +cpuset +memory +pids +io";
            let _ = fs::write(root.join("cgroup.subtree_control"), controllers);
            fs::create_dir_all(&dir)?;
            let _ = fs::write(dir.join("cgroup.subtree_control"), controllers);
            continue;
        }
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        // A new cpuset is empty and lets nothing run (cpuset(7)).
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(root.join(file)) {
                fs::write(dir.join(file), value.trim())?;
            }
        }
    }
    Ok(())
}

/// Processes whose parent is this one.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Whether a process runs that has this folder on its command line: numbers are used again.
#[must_use]
pub fn runs(pid: u32, dir: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&dir.display().to_string())
}

/// Sends SIGKILL.
pub fn kill(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: a plain system call without pointers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}
