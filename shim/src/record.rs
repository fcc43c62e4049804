//! A task's state on disk, in its bundle: what `delete` needs after the daemon was killed, and what a daemon
//! started anew would need to take over.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::state::Phase;

/// Name of the file in the bundle.
const FILE: &str = "mote-task.json";

/// What outlives the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    /// Whether this is a pod's sandbox, which has no process.
    pub sandbox: bool,
    pub phase: Phase,
    /// The VMM.
    #[serde(default)]
    pub process: Option<Process>,
    /// Where the rootfs is mounted, if the shim mounted it.
    #[serde(default)]
    pub rootfs: Option<PathBuf>,
    /// Cgroup directories that are ours to remove.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
    /// The VMMs of processes that exec has added.
    #[serde(default)]
    pub execs: Vec<Process>,
    /// Of a sandbox: the bundles of its containers, where containerd cleans up after the sandbox alone.
    #[serde(default)]
    pub members: Vec<PathBuf>,
    /// The pod's network namespace.
    #[serde(default)]
    pub netns: Option<PathBuf>,
    #[serde(default)]
    pub exit: Option<Exit>,
}

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub pid: u32,
    /// Clock ticks from boot to its start (proc(5), stat, field 22).
    pub started: u64,
}

impl Process {
    /// The process that has `pid` now.
    ///
    /// # Errors
    /// There is none that runs, or `/proc` is not readable.
    pub(crate) fn of(pid: u32) -> io::Result<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command's name, in parentheses, may hold spaces and parentheses itself.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = fields.split_whitespace();
        // A zombie has ended; only its parent, perhaps a careless init, has not asked for the status.
        if matches!(fields.next(), Some("Z" | "X")) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let started = fields.nth(18).and_then(|field| field.parse().ok());
        let started = started.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Process { pid, started })
    }

    /// Whether it still runs.
    #[must_use]
    pub(crate) fn exists(&self) -> bool {
        Process::of(self.pid).is_ok_and(|now| now == *self)
    }
}

impl Record {
    /// That of a task which is being made, and has nothing yet.
    pub(crate) fn new(id: &str, sandbox: bool, netns: Option<PathBuf>) -> Record {
        Record {
            id: id.to_owned(),
            sandbox,
            phase: Phase::Created,
            process: None,
            rootfs: None,
            cgroups: Vec::new(),
            execs: Vec::new(),
            members: Vec::new(),
            netns,
            exit: None,
        }
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn save(&self, bundle: &Path) -> io::Result<()> {
        let temporary = bundle.join(format!("{FILE}.new"));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(&temporary, bundle.join(FILE))
    }

    /// Reads a bundle's record; `None` if the bundle has none.
    ///
    /// # Errors
    /// The file system's, or the parser's for a damaged file.
    pub(crate) fn load(bundle: &Path) -> io::Result<Option<Record>> {
        match std::fs::read(bundle.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Removes a bundle's record.
    pub(crate) fn remove(bundle: &Path) {
        let _ = std::fs::remove_file(bundle.join(FILE));
        let _ = std::fs::remove_file(bundle.join(format!("{FILE}.new")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_absence() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), None);
        let record = Record {
            id: "a".into(),
            sandbox: false,
            phase: Phase::Stopped,
            process: Some(Process { pid: 9, started: 77 }),
            rootfs: Some("/b/rootfs".into()),
            cgroups: vec!["/sys/fs/cgroup/memory/x".into()],
            execs: vec![Process { pid: 10, started: 78 }],
            members: vec!["/run/c1".into()],
            netns: None,
            exit: Some(Exit::now(42)),
        };
        record.save(dir.path()).unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), Some(record));
        Record::remove(dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.exists());
        assert!(
            !Process {
                started: me.started + 1,
                ..me
            }
            .exists()
        );
    }
}
