//! Looks for what a pod or a whole run left behind: processes, mounts, cgroups, network namespaces, files.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::containerd::Containerd;

/// What is still there of the containers or pods with these ids, each described in a line. Waits a little first: an
/// exit is announced before the last file is gone.
#[must_use]
pub fn of_ids(daemon: &Containerd, ids: &[String]) -> Vec<String> {
    let give_up = Instant::now() + Duration::from_secs(5);
    loop {
        let found = search(daemon, |text| {
            ids.iter().any(|id| !id.is_empty() && text.contains(id.as_str()))
        });
        if found.is_empty() || Instant::now() > give_up {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// What is still there of any container of this containerd, itself not counted.
#[must_use]
pub fn of_daemon(daemon: &Containerd) -> Vec<String> {
    let name = daemon.cgroup.trim_start_matches('/');
    let give_up = Instant::now() + Duration::from_secs(5);
    loop {
        let found = search(daemon, |text| text.contains(name));
        if found.is_empty() || Instant::now() > give_up {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn search(daemon: &Containerd, ours: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for process in processes() {
        let of_cgroup = process.cgroups.contains(&format!("{}/", daemon.cgroup)) && ours(&process.cgroups);
        if !process.command.contains("/usr/bin/containerd\0--config") && (ours(&process.command) || of_cgroup)
        {
            found.push(format!(
                "process {}: {}",
                process.pid,
                process.command.replace('\0', " ")
            ));
        }
    }
    for mount in mounts() {
        if ours(&mount) {
            found.push(format!("mount {mount}"));
        }
    }
    for cgroup in cgroups(&daemon.cgroup) {
        if ours(&cgroup.to_string_lossy()) {
            found.push(format!("cgroup {}", cgroup.display()));
        }
    }
    // containerd's own socket and folders are no leftovers, what it keeps of a container is.
    let bases = ["/run", "/var/lib", "/tmp", "/dev/shm"].map(Path::new);
    for base in bases.into_iter().chain([daemon.root.as_path()]) {
        walk(base, 5, &mut |path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path != daemon.run && path != daemon.root && ours(&name) {
                found.push(format!("file {}", path.display()));
            }
        });
    }
    found
}

#[derive(Debug)]
struct Process {
    pid: u32,
    command: String,
    cgroups: String,
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // Zombies have no command line; whoever started them reaps them.
            let command = fs::read(entry.path().join("cmdline"))
                .ok()
                .filter(|line| !line.is_empty())?;
            let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            Some(Process {
                pid,
                command: String::from_utf8_lossy(&command).into_owned(),
                cgroups,
            })
        })
        .collect()
}

/// Processes with a program of this name in the cgroup or with the word in their command line.
#[must_use]
pub fn find_processes(program: &str, word: &str) -> Vec<u32> {
    // The kernel keeps 15 bytes of a name (proc(5)).
    let short = program.get(..15).unwrap_or(program);
    processes()
        .into_iter()
        .filter(|process| process.command.contains(word) || process.cgroups.contains(word))
        .filter(|process| {
            fs::read_link(format!("/proc/{}/exe", process.pid))
                .is_ok_and(|exe| exe.file_name().is_some_and(|name| name == program))
                || fs::read_to_string(format!("/proc/{}/comm", process.pid))
                    .is_ok_and(|comm| comm.trim() == short)
        })
        .map(|process| process.pid)
        .collect()
}

/// Processes with a program of this name that one of these has started.
#[must_use]
pub fn children(parents: &[u32], program: &str) -> Vec<u32> {
    let of_these = |pid: &u32| {
        // proc(5): pid (comm) state ppid
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        parent
            .and_then(|parent| parent.parse().ok())
            .is_some_and(|parent| parents.contains(&parent))
    };
    find_processes(program, "").into_iter().filter(of_these).collect()
}

/// Whether a process has not ended.
#[must_use]
pub fn runs(pid: u32) -> bool {
    processes().iter().any(|process| process.pid == pid)
}

fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(str::to_string)
        .collect()
}

/// Mount points in a directory.
#[must_use]
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let below = |point: &String| Path::new(point).starts_with(dir);
    mounts().into_iter().filter(below).collect()
}

/// Directories of a cgroup in all hierarchies.
#[must_use]
pub fn cgroups_of(name: &str) -> Vec<String> {
    let dirs = cgroup_roots()
        .into_iter()
        .map(|root| root.join(name.trim_start_matches('/')));
    dirs.filter(|dir| dir.exists())
        .map(|dir| dir.display().to_string())
        .collect()
}

/// Unmounts what is mounted below these directories, innermost first.
pub fn unmount_below(dirs: &[&Path]) {
    for mount in mounts().iter().rev() {
        if dirs.iter().any(|dir| Path::new(mount).starts_with(dir))
            && let Ok(path) = CString::new(mount.as_bytes())
        {
            // SAFETY: the path is a string that ends in zero and outlives the call.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// Roots of the mounted hierarchies: one with version 2, one per controller with version 1.
#[must_use]
pub fn cgroup_roots() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of_cgroup = |line: &&str| matches!(line.split(' ').nth(2), Some("cgroup" | "cgroup2"));
    let roots: BTreeSet<PathBuf> = table
        .lines()
        .filter(of_cgroup)
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .collect();
    roots.into_iter().collect()
}

/// Directories of this cgroup in all hierarchies, and of those below.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in cgroup_roots() {
        walk(&root.join(name.trim_start_matches('/')), 6, &mut |path| {
            if path.is_dir() {
                found.push(path.to_path_buf());
            }
        });
    }
    found
}

/// Removes a cgroup with those below in all hierarchies, as far as they are empty.
pub fn remove_cgroups(name: &str) {
    for dir in cgroups(name).iter().rev() {
        let _ = fs::remove_dir(dir);
    }
    for root in cgroup_roots() {
        let _ = fs::remove_dir(root.join(name.trim_start_matches('/')));
    }
}

/// Parents come before what they hold.
fn walk(dir: &Path, depth: usize, visit: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        visit(&path);
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, depth - 1, visit);
        }
    }
}
