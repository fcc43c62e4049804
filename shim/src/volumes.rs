//! The mounts of the spec: each is mounted at its destination in the root file system, which is the one directory that
//! the program is granted. (OCI `config.md`, Mounts)
//!
//! What Linux makes for processes (proc, sysfs, cgroup, mqueue, devpts, /dev) means nothing to a Wasm program and would
//! grant what no spec means to grant, so it is left out.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, mkdirat};

use crate::mounts::Options;
use crate::spec::Mount;

/// Flags that a bind mount takes only by a remount. (mount(2))
const REBIND: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_NOATIME)
    .union(MsFlags::MS_NODIRATIME)
    .union(MsFlags::MS_RELATIME)
    .union(MsFlags::MS_STRICTATIME);

/// A volume that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("opening the root file system {path}: {source}")]
    Root { path: PathBuf, source: io::Error },
    #[error("volume {mount_source} for {destination}: {source}; it must exist on the node")]
    Source {
        mount_source: PathBuf,
        destination: String,
        source: io::Error,
    },
    #[error("mount for {0} has no source")]
    NoSource(String),
    #[error("making the mount point {destination} in the image's file system: {source}")]
    Point { destination: String, source: io::Error },
    #[error("mounting {kind} {mount_source} at {destination} with {options:?}: {source}")]
    Mount {
        kind: &'static str,
        mount_source: PathBuf,
        destination: String,
        options: Vec<String>,
        source: io::Error,
    },
    #[error("making the root file system read-only: {0}")]
    ReadOnly(#[source] io::Error),
}

/// Mounts what means something to a Wasm program, in order; then makes the root read-only if the spec says so.
///
/// # Errors
/// The first mount that failed. Those before it stay, below `rootfs`, and go with it.
pub(crate) fn mount_all(mounts: &[Mount], rootfs: &Path, read_only: bool) -> Result<(), VolumeError> {
    let root = open_root(rootfs)?;
    for mount in mounts {
        match Kind::of(mount) {
            Some(kind) => mount_one(root.as_fd(), mount, kind)?,
            None => log::debug!("mount {} ({}) is left out", mount.destination, mount.kind),
        }
    }
    if read_only {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        nix::mount::mount(None::<&str>, rootfs, None::<&str>, flags, None::<&str>)
            .map_err(|e| VolumeError::ReadOnly(e.into()))?;
    }
    Ok(())
}

/// Opens the root file system with all that is mounted in it.
///
/// # Errors
/// [`VolumeError::Root`].
pub(crate) fn open_root(rootfs: &Path) -> Result<OwnedFd, VolumeError> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    nix::fcntl::open(rootfs, flags, Mode::empty()).map_err(|e| VolumeError::Root {
        path: rootfs.to_owned(),
        source: e.into(),
    })
}

/// Opens a directory of the root file system, with links resolved as inside of it.
///
/// # Errors
/// Linux's.
pub(crate) fn open_directory(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(open_in(root, path, flags)?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bind,
    Tmpfs,
}

impl Kind {
    fn of(mount: &Mount) -> Option<Kind> {
        let bind = mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if mount.kind == "bind" || bind {
            return Some(Kind::Bind);
        }
        (mount.kind == "tmpfs" && mount.destination != "/dev").then_some(Kind::Tmpfs)
    }
}

fn mount_one(root: BorrowedFd<'_>, spec: &Mount, kind: Kind) -> Result<(), VolumeError> {
    let options = Options::parse(&spec.options);
    let (source, name, flags, data) = match kind {
        Kind::Bind => {
            let source = spec
                .source
                .clone()
                .ok_or_else(|| VolumeError::NoSource(spec.destination.clone()))?;
            (source, "bind", options.flags | MsFlags::MS_BIND, String::new())
        }
        Kind::Tmpfs => (PathBuf::from("tmpfs"), "tmpfs", options.flags, options.data),
    };
    let directory = match kind {
        Kind::Tmpfs => true,
        Kind::Bind => std::fs::metadata(&source)
            .map_err(|error| VolumeError::Source {
                mount_source: source.clone(),
                destination: spec.destination.clone(),
                source: error,
            })?
            .is_dir(),
    };
    let destination = Path::new(&spec.destination);
    let point = mount_point(root, destination, directory).map_err(|error| VolumeError::Point {
        destination: spec.destination.clone(),
        source: error.into(),
    })?;
    let failed = |error: Errno| VolumeError::Mount {
        kind: name,
        mount_source: source.clone(),
        destination: spec.destination.clone(),
        options: spec.options.clone(),
        source: error.into(),
    };
    let rest = flags & !REBIND;
    let first = if kind == Kind::Bind { rest } else { flags };
    mount(
        Some(&source),
        &by_number(&point),
        Some(name),
        first,
        Some(data.as_str()),
    )
    .map_err(failed)?;
    // The descriptor is what lies below the new mount; the path leads to what is on top.
    let top = open_in(root, destination, OFlag::O_PATH | OFlag::O_CLOEXEC).map_err(failed)?;
    if kind == Kind::Bind && flags.intersects(REBIND) {
        let flags = (flags & !MsFlags::MS_REC) | MsFlags::MS_REMOUNT;
        mount(None::<&str>, &by_number(&top), None::<&str>, flags, None::<&str>).map_err(failed)?;
    }
    let propagation = propagation(options.propagation);
    mount(
        None::<&str>,
        &by_number(&top),
        None::<&str>,
        propagation,
        None::<&str>,
    )
    .map_err(failed)
}

/// Private unless the spec asks for the host's later mounts. What happens to mounts here must not reach the host, not even
/// where the spec says `shared`: a program mounts nothing, and taking the root file system apart would take the host's
/// mounts below the volume with it. (mount_namespaces(7))
fn propagation(asked: Option<MsFlags>) -> MsFlags {
    match asked {
        Some(flags) if flags.contains(MsFlags::MS_SHARED) => (flags - MsFlags::MS_SHARED) | MsFlags::MS_SLAVE,
        Some(flags) => flags,
        None => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
    }
}

/// A path for mount(2), which takes no descriptors. The link leads to the open file whatever its name is by then.
fn by_number(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Opens `path` below `root` as if `root` were /: an image cannot lead out of itself by links or `..`. (openat2(2),
/// RESOLVE_IN_ROOT)
fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let mode = if flags.contains(OFlag::O_CREAT) {
        Mode::from_bits_truncate(0o644)
    } else {
        Mode::empty()
    };
    let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
    let path = if path == Path::new("") {
        Path::new(".")
    } else {
        path
    };
    openat2(root, path, how)
}

/// Opens the destination, made with all its parents if it is not there.
fn mount_point(root: BorrowedFd<'_>, path: &Path, directory: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    match open_in(root, path, flags) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let Some(Component::Normal(name)) = path.components().next_back() else {
        return Err(Errno::EINVAL);
    };
    let parent = mount_point(root, parent, true)?;
    if directory {
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
    } else {
        let create = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        nix::fcntl::openat(&parent, name, create, mode)?;
    }
    open_in(root, path, flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = open_root(dir.path()).unwrap();
        (dir, fd)
    }

    #[test]
    fn mount_points_are_made_inside() {
        let (dir, fd) = root();
        mount_point(fd.as_fd(), Path::new("/a/b/c"), true).unwrap();
        mount_point(fd.as_fd(), Path::new("/a/b/file"), false).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(dir.path().join("a/b/file").is_file());
        mount_point(fd.as_fd(), Path::new("/a/b/c"), true).unwrap();
    }

    #[test]
    fn links_of_the_image_do_not_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        let (dir, fd) = root();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        symlink("/../../../..", dir.path().join("up")).unwrap();
        // A link to an absolute path is resolved inside, where nothing is: the mount point cannot be made through it.
        assert!(mount_point(fd.as_fd(), Path::new("/link/x"), true).is_err());
        mount_point(fd.as_fd(), Path::new("/up/inside"), true).unwrap();
        assert!(dir.path().join("inside").is_dir());
        mount_point(fd.as_fd(), Path::new("/../../escape"), true).unwrap();
        assert!(dir.path().join("escape").is_dir());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_propagates_to_the_host() {
        let (shared, slave) = (MsFlags::MS_SHARED, MsFlags::MS_SLAVE);
        assert_eq!(
            propagation(Some(shared | MsFlags::MS_REC)),
            slave | MsFlags::MS_REC
        );
        assert_eq!(propagation(Some(shared)), slave);
        assert_eq!(propagation(Some(slave)), slave);
        assert_eq!(propagation(None), MsFlags::MS_PRIVATE | MsFlags::MS_REC);
    }

    #[test]
    fn only_what_means_something_is_mounted() {
        let mount = |kind: &str, destination: &str, options: &[&str]| Mount {
            destination: destination.into(),
            kind: kind.into(),
            source: None,
            options: options.iter().map(ToString::to_string).collect(),
        };
        for (kind, destination) in [
            ("proc", "/proc"),
            ("tmpfs", "/dev"),
            ("sysfs", "/sys"),
            ("cgroup", "/sys/fs/cgroup"),
            ("mqueue", "/dev/mqueue"),
            ("devpts", "/dev/pts"),
        ] {
            assert_eq!(Kind::of(&mount(kind, destination, &["nosuid"])), None, "{kind}");
        }
        assert_eq!(Kind::of(&mount("bind", "/v", &[])), Some(Kind::Bind));
        assert_eq!(Kind::of(&mount("", "/v", &["rbind"])), Some(Kind::Bind));
        assert_eq!(Kind::of(&mount("tmpfs", "/run", &[])), Some(Kind::Tmpfs));
    }
}
