//! The container's cgroup, in either version: made from `linux.cgroupsPath`, limited, removed on delete.
//!
//! The VMM joins before it executes, so that all it ever allocates is charged to the container.

mod end;
mod limits;
pub(crate) mod path;
pub(crate) mod stats;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use end::{kill_all, remove};

use crate::grant::Grant;

/// Version 1 controllers that a container joins, where they are mounted.
const CONTROLLERS: [&str; 5] = ["memory", "cpu", "cpuacct", "pids", "freezer"];

/// Value that stands for no limit in memory files of version 1.
pub(crate) const UNLIMITED: u64 = u64::MAX;

/// A cgroup that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("linux.cgroupsPath {path:?}: {reason}")]
    Path { path: String, reason: &'static str },
    #[error("creating cgroup {path}: {source}")]
    Create { path: PathBuf, source: io::Error },
    #[error("writing {value:?} to {path}: {source}")]
    Write {
        path: PathBuf,
        value: String,
        source: io::Error,
    },
    #[error("the freezer of cgroup {0} does not stop its processes")]
    Freeze(PathBuf),
    #[error("processes of cgroup {0} do not end after SIGKILL")]
    Busy(PathBuf),
    #[error("removing cgroup {path}: {source}")]
    Remove { path: PathBuf, source: io::Error },
}

/// Where the hierarchies are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    /// `(controller, mount point)`; `cpu` and `cpuacct` often share one.
    V1(Vec<(String, PathBuf)>),
    V2(PathBuf),
    /// None is mounted; containers run without limits of the kernel's.
    None,
}

impl Hierarchies {
    /// Reads `/proc/self/mountinfo`.
    #[must_use]
    pub(crate) fn detect() -> Hierarchies {
        Hierarchies::from_mountinfo(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Version 2 is in use only where no controller of version 1 is mounted: a hybrid system has an empty version 2
    /// hierarchy beside version 1's (systemd mounts it at `/sys/fs/cgroup/unified`).
    fn from_mountinfo(text: &str) -> Hierarchies {
        let mut v1: Vec<(String, PathBuf)> = Vec::new();
        let mut v2 = None;
        for line in text.lines() {
            // proc(5): id parent major:minor root point options [tags] - type source superoptions
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = left.split(' ').nth(4) else {
                continue;
            };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") if v2.is_none() => v2 = Some(PathBuf::from(point)),
                Some("cgroup") => {
                    for controller in right.nth(1).unwrap_or_default().split(',') {
                        let known = v1.iter().any(|(name, _)| name == controller);
                        if CONTROLLERS.contains(&controller) && !known {
                            v1.push((controller.to_owned(), point.into()));
                        }
                    }
                }
                _ => {}
            }
        }
        match v2 {
            _ if !v1.is_empty() => Hierarchies::V1(v1),
            Some(point) => Hierarchies::V2(point),
            None => Hierarchies::None,
        }
    }
}

/// A container's cgroup.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    hierarchies: Hierarchies,
    /// Path below the mount points, without a leading slash.
    relative: PathBuf,
}

impl Cgroup {
    /// The cgroup of this path, made or not. `None` without a path.
    ///
    /// # Errors
    /// [`CgroupError::Path`].
    pub(crate) fn named(path: &str) -> Result<Option<Cgroup>, CgroupError> {
        let found = path::resolve(path)?.map(|relative| Cgroup {
            hierarchies: Hierarchies::detect(),
            relative,
        });
        Ok(found)
    }

    /// Whether there is a hierarchy that it could be made in.
    #[must_use]
    pub(crate) fn is_mounted(&self) -> bool {
        self.hierarchies != Hierarchies::None
    }

    /// Makes it and sets its limits. On an error nothing of it stays.
    ///
    /// # Errors
    /// A [`CgroupError`] that names the file.
    pub(crate) fn create(&self, grant: &Grant) -> Result<(), CgroupError> {
        let done = self
            .make_directories()
            .and_then(|()| self.limit(Some(grant.memory_limit), &grant.resources));
        if done.is_err() {
            let _ = remove(&self.directories());
        }
        done
    }

    /// The container's directories, one per hierarchy.
    #[must_use]
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        match &self.hierarchies {
            Hierarchies::V1(mounts) => {
                let mut all: Vec<PathBuf> = mounts
                    .iter()
                    .map(|(_, point)| point.join(&self.relative))
                    .collect();
                all.sort();
                all.dedup();
                all
            }
            Hierarchies::V2(point) => vec![point.join(&self.relative)],
            Hierarchies::None => Vec::new(),
        }
    }

    /// Whether this is version 2, for the type of the metrics.
    #[must_use]
    pub(crate) fn is_v2(&self) -> bool {
        matches!(self.hierarchies, Hierarchies::V2(_))
    }

    /// The directory that has a controller's files.
    #[must_use]
    pub(crate) fn directory(&self, controller: &str) -> Option<PathBuf> {
        match &self.hierarchies {
            Hierarchies::V1(mounts) => {
                let (_, point) = mounts.iter().find(|(name, _)| name == controller)?;
                Some(point.join(&self.relative))
            }
            Hierarchies::V2(point) => Some(point.join(&self.relative)),
            Hierarchies::None => None,
        }
    }

    /// How often the kernel killed a process here because memory ran out.
    #[must_use]
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(dir) = self.directory("memory") else {
            return 0;
        };
        let file = if self.is_v2() {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        stats::Table::read(&dir.join(file)).get("oom_kill")
    }

    /// Stops all processes, or lets them go on; waits until they stand still.
    ///
    /// # Errors
    /// [`CgroupError::Write`], and [`CgroupError::Freeze`] if they do not within a second or there is no freezer.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), CgroupError> {
        let Some(dir) = self.directory("freezer") else {
            return Err(CgroupError::Freeze(self.relative.clone()));
        };
        let (file, value) = match (self.is_v2(), frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        let path = dir.join(file);
        let done = || match self.is_v2() {
            true => stats::Table::read(&dir.join("cgroup.events")).get("frozen") == u64::from(frozen),
            false => std::fs::read_to_string(&path).is_ok_and(|state| state.trim() == value),
        };
        for _ in 0..500 {
            // Version 1 may have to be asked again: what is forked meanwhile runs. (cgroup-v1/freezer-subsystem)
            std::fs::write(&path, value).map_err(|source| CgroupError::Write {
                path: path.clone(),
                value: value.to_owned(),
                source,
            })?;
            if done() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = std::fs::write(&path, if self.is_v2() { "0" } else { "THAWED" });
        Err(CgroupError::Freeze(dir))
    }

    fn make_directories(&self) -> Result<(), CgroupError> {
        if let Hierarchies::V2(point) = &self.hierarchies {
            return make_v2(point, &self.relative);
        }
        for dir in self.directories() {
            std::fs::create_dir_all(&dir).map_err(|source| CgroupError::Create { path: dir, source })?;
        }
        Ok(())
    }
}

/// Makes a directory of version 2. Controllers reach it only if every ancestor hands them down
/// (cgroup-v2, "Enabling and Disabling").
fn make_v2(point: &Path, relative: &Path) -> Result<(), CgroupError> {
    let mut dir = point.to_owned();
    for part in relative {
        // Best effort: systemd may have done so already, and a controller may not exist.
        for controller in ["+memory", "+cpu", "+pids"] {
            let _ = std::fs::write(dir.join("cgroup.subtree_control"), controller);
        }
        dir.push(part);
        match std::fs::create_dir(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(CgroupError::Create { path: dir, source }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd";

    #[test]
    fn an_empty_unified_hierarchy_is_not_version_2() {
        let Hierarchies::V1(mounts) = Hierarchies::from_mountinfo(HYBRID) else {
            panic!("not version 1")
        };
        let names: Vec<_> = mounts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cpu", "cpuacct", "memory"]);
        let cgroup = Cgroup {
            hierarchies: Hierarchies::V1(mounts),
            relative: "k/p".into(),
        };
        assert_eq!(
            cgroup.directories(),
            ["/sys/fs/cgroup/cpu,cpuacct/k/p", "/sys/fs/cgroup/memory/k/p"].map(PathBuf::from)
        );
        assert_eq!(cgroup.directory("pids"), None);
    }

    #[test]
    fn version_2_alone() {
        let text = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        assert_eq!(
            Hierarchies::from_mountinfo(text),
            Hierarchies::V2("/sys/fs/cgroup".into())
        );
        assert_eq!(Hierarchies::from_mountinfo(""), Hierarchies::None);
    }
}
