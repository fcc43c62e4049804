//! The end of a cgroup, by its directories alone: of one whose shim is gone as well.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::CgroupError;

/// Kills every process in these cgroups, also where they are frozen, and waits until none is left.
///
/// # Errors
/// [`CgroupError::Busy`] if one is left after `limit`.
pub(crate) fn kill_all(directories: &[PathBuf], limit: Duration) -> Result<(), CgroupError> {
    let give_up = Instant::now() + limit;
    loop {
        let mut left = None;
        for dir in directories {
            for pid in processes(dir) {
                // SAFETY: takes no pointers. The number was read from a cgroup that holds nothing but our processes.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                left = Some(dir);
            }
        }
        let Some(dir) = left else { return Ok(()) };
        directories.iter().for_each(|dir| thaw(dir));
        if Instant::now() > give_up {
            return Err(CgroupError::Busy(dir.clone()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Those that run: a zombie has ended, and whoever has to ask for its status may be slow.
fn processes(dir: &Path) -> Vec<libc::pid_t> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let runs = |pid: &libc::pid_t| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        !state.is_empty() && !state.starts_with(['Z', 'X'])
    };
    // 0 stands for a process of another PID namespace; kill(2) would take it for this process's own group.
    let pids = text.lines().filter_map(|line| line.parse().ok());
    pids.filter(|pid| *pid > 0 && runs(pid)).collect()
}

/// In a frozen cgroup of version 1 not even SIGKILL arrives. (cgroup-v1/freezer-subsystem)
fn thaw(dir: &Path) {
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let path = dir.join(file);
        if path.exists() {
            let _ = std::fs::write(path, value);
        }
    }
}

/// Removes cgroup directories. A process that was just killed keeps its cgroup busy for a moment, so this tries for
/// up to a second.
///
/// # Errors
/// [`CgroupError::Remove`] for one that stays busy.
pub(crate) fn remove(directories: &[PathBuf]) -> Result<(), CgroupError> {
    let mut result = Ok(());
    for dir in directories {
        let mut wait = Duration::from_millis(1);
        loop {
            match std::fs::remove_dir(dir) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(source) if wait > Duration::from_millis(512) => {
                    result = Err(CgroupError::Remove {
                        path: dir.clone(),
                        source,
                    });
                    break;
                }
                Err(_) => {
                    std::thread::sleep(wait);
                    wait *= 2;
                }
            }
        }
    }
    result
}
