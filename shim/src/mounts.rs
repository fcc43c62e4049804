//! The root file system: mounted as containerd asks in the create request, unmounted on delete.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

/// One mount of the create request (containerd `api/types/mount.proto`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    pub kind: String,
    pub source: String,
    /// Path below the rootfs; empty for the rootfs itself.
    pub target: String,
    pub options: Vec<String>,
}

/// A mount that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("creating the mount point {path}: {source}")]
    Point { path: PathBuf, source: io::Error },
    #[error("mounting {kind} {mount_source} on {path} with {options:?}: {source}")]
    Mount {
        kind: String,
        mount_source: String,
        path: PathBuf,
        options: Vec<String>,
        source: io::Error,
    },
    #[error("mount target {0:?} of the rootfs leaves the rootfs")]
    Target(String),
    #[error("unmounting {path}: {source}")]
    Unmount { path: PathBuf, source: io::Error },
}

/// Mounts all of `mounts` on `rootfs`, in order. On an error none of them stays.
///
/// # Errors
/// The first mount that failed.
pub(crate) fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), MountError> {
    std::fs::create_dir_all(rootfs).map_err(|source| MountError::Point {
        path: rootfs.to_owned(),
        source,
    })?;
    for mount in mounts {
        if let Err(error) = mount_one(mount, rootfs) {
            let _ = unmount_all(rootfs);
            return Err(error);
        }
    }
    Ok(())
}

/// Unmounts everything at `path`, however often it is mounted. Nothing mounted is no error.
///
/// # Errors
/// [`MountError::Unmount`].
pub(crate) fn unmount_all(path: &Path) -> Result<(), MountError> {
    loop {
        // Detached: a file that some process still has open must not keep the pod from going.
        match nix::mount::umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point (any more), or gone.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(e) => {
                return Err(MountError::Unmount {
                    path: path.to_owned(),
                    source: e.into(),
                });
            }
        }
    }
}

fn mount_one(mount: &Mount, rootfs: &Path) -> Result<(), MountError> {
    let relative = mount.target.trim_start_matches('/');
    if relative.split('/').any(|part| part == "..") {
        return Err(MountError::Target(mount.target.clone()));
    }
    let point = if relative.is_empty() {
        rootfs.to_owned()
    } else {
        rootfs.join(relative)
    };
    let parsed = Options::parse(&mount.options);
    let failed = |e: Errno| MountError::Mount {
        kind: mount.kind.clone(),
        mount_source: mount.source.clone(),
        path: point.clone(),
        options: mount.options.clone(),
        source: e.into(),
    };
    let kind = if mount.kind.is_empty() && parsed.flags.contains(MsFlags::MS_BIND) {
        "bind"
    } else {
        &mount.kind
    };
    let flags = if kind == "bind" {
        parsed.flags | MsFlags::MS_BIND
    } else {
        parsed.flags
    };
    call(&mount.source, &point, kind, flags, parsed.data).map_err(failed)?;
    // A bind mount takes most flags only by a remount (mount(2)).
    let rebind = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if flags.contains(MsFlags::MS_BIND) && flags.intersects(rebind) {
        let flags = (flags & !MsFlags::MS_REC) | MsFlags::MS_REMOUNT;
        call(&mount.source, &point, kind, flags, String::new()).map_err(failed)?;
    }
    Ok(())
}

fn call(source: &str, point: &Path, kind: &str, flags: MsFlags, data: String) -> Result<(), Errno> {
    // The kernel reads at most one page of options. Overlays of many layers exceed it, so their common directory
    // is taken out and made the working directory of a thread of its own.
    if kind == "overlay" && data.len() >= 4095 {
        let Some((dir, short)) = shorten(&data) else {
            return Err(Errno::E2BIG);
        };
        let (source, point, kind) = (source.to_owned(), point.to_owned(), kind.to_owned());
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_FS)?;
            nix::unistd::chdir(dir.as_str())?;
            nix::mount::mount(
                Some(source.as_str()),
                &point,
                Some(kind.as_str()),
                flags,
                Some(short.as_str()),
            )
        });
        return thread.join().unwrap_or(Err(Errno::EIO));
    }
    let data = (!data.is_empty()).then_some(data.as_str());
    nix::mount::mount(Some(source), point, Some(kind), flags, data)
}

/// Makes the paths in an overlay's options relative to their longest common directory.
fn shorten(data: &str) -> Option<(String, String)> {
    let lower = data.split(',').find_map(|o| o.strip_prefix("lowerdir="))?;
    let mut common: &str = lower.split(':').next()?;
    for dir in lower.split(':') {
        while !(dir.starts_with(common) && dir[common.len()..].starts_with('/')) {
            common = &common[..common.rfind('/')?];
        }
    }
    if common.is_empty() {
        return None;
    }
    let prefix = format!("{common}/");
    let options = data
        .split(',')
        .map(|option| match option.strip_prefix("lowerdir=") {
            Some(dirs) => {
                let short: Vec<_> = dirs
                    .split(':')
                    .map(|d| d.strip_prefix(&prefix).unwrap_or(d))
                    .collect();
                format!("lowerdir={}", short.join(":"))
            }
            None => option.to_owned(),
        });
    let short = options.collect::<Vec<_>>().join(",");
    (short.len() < 4095).then(|| (common.to_owned(), short))
}

/// Mount options split into flags and what the file system reads itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub flags: MsFlags,
    /// How mounts spread to and from other namespaces, if that is said. (mount_namespaces(7))
    pub propagation: Option<MsFlags>,
    pub data: String,
}

impl Options {
    pub(crate) fn parse(options: &[String]) -> Options {
        let mut flags = MsFlags::empty();
        let mut propagation = None;
        let mut data: Vec<&str> = Vec::new();
        for option in options {
            match option.as_str() {
                "" | "defaults" | "rw" | "loop" => {}
                "ro" => flags |= MsFlags::MS_RDONLY,
                "bind" => flags |= MsFlags::MS_BIND,
                "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
                "nosuid" => flags |= MsFlags::MS_NOSUID,
                "nodev" => flags |= MsFlags::MS_NODEV,
                "noexec" => flags |= MsFlags::MS_NOEXEC,
                "noatime" => flags |= MsFlags::MS_NOATIME,
                "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
                "relatime" => flags |= MsFlags::MS_RELATIME,
                "strictatime" => flags |= MsFlags::MS_STRICTATIME,
                "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
                "dirsync" => flags |= MsFlags::MS_DIRSYNC,
                "private" => propagation = Some(MsFlags::MS_PRIVATE),
                "rprivate" => propagation = Some(MsFlags::MS_PRIVATE | MsFlags::MS_REC),
                "slave" => propagation = Some(MsFlags::MS_SLAVE),
                "rslave" => propagation = Some(MsFlags::MS_SLAVE | MsFlags::MS_REC),
                "shared" => propagation = Some(MsFlags::MS_SHARED),
                "rshared" => propagation = Some(MsFlags::MS_SHARED | MsFlags::MS_REC),
                other => data.push(other),
            }
        }
        Options {
            flags,
            propagation,
            data: data.join(","),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split() {
        let list = ["rbind", "ro", "workdir=/w", "upperdir=/u"].map(str::to_owned);
        let options = Options::parse(&list);
        assert_eq!(
            options.flags,
            MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY
        );
        assert_eq!(options.data, "workdir=/w,upperdir=/u");
    }

    #[test]
    fn long_overlays_are_made_relative() {
        let dirs: Vec<_> = (0..90)
            .map(|n| format!("/var/lib/containerd/snapshots/{n}/{}", "f".repeat(20)))
            .collect();
        let (dir, short) = shorten(&format!("index=off,lowerdir={},upperdir=/u", dirs.join(":"))).unwrap();
        assert_eq!(dir, "/var/lib/containerd/snapshots");
        assert!(short.starts_with("index=off,lowerdir=0/fff"), "{short}");
        assert!(short.ends_with(",upperdir=/u"));
        assert_eq!(shorten("lowerdir=/a:/b"), None, "nothing in common");
    }

    #[test]
    fn targets_stay_inside() {
        let mount = Mount {
            target: "/../etc".into(),
            ..Mount::default()
        };
        assert!(matches!(
            mount_one(&mount, Path::new("/nowhere")),
            Err(MountError::Target(_))
        ));
    }
}
