//! The file tree of the node, below `--root`. Paths are those that the node's own processes use; symbolic links are
//! followed inside of the tree, as a process that has it as its root would.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::error::Error;

/// Most symbolic links on the way to a file, as the kernel has it (path_resolution(7)).
const LINKS: usize = 40;
/// Most bytes of a configuration file. The longest default configuration has 10 KiB.
const CONFIG_LIMIT: u64 = 1 << 20;
/// What is not yet complete has the name of the file with this before it.
const UNFINISHED: &str = ".mote-install.";

/// A tree with the files of a node.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    root: PathBuf,
}

impl Host {
    pub(crate) fn new(root: &Path) -> Result<Host, Error> {
        let root = fs::canonicalize(root).map_err(Error::io("open", root))?;
        Ok(Host { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the node's root is this process's own.
    pub(crate) fn is_own(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where this process finds what the node calls `path`: links are followed, also the last one. What is not there
    /// is taken as it is written.
    pub(crate) fn real(&self, path: &Path) -> Result<PathBuf, Error> {
        self.walk(path, true)
    }

    /// The same, but a link at the end is named itself.
    pub(crate) fn real_link(&self, path: &Path) -> Result<PathBuf, Error> {
        self.walk(path, false)
    }

    fn walk(&self, path: &Path, follow_last: bool) -> Result<PathBuf, Error> {
        let mut rest: VecDeque<OsString> = parts(path)?;
        let mut found = PathBuf::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                found.pop();
                continue;
            }
            let here = self.root.join(&found).join(&part);
            let is_link = fs::symlink_metadata(&here).is_ok_and(|m| m.is_symlink());
            if !is_link || (rest.is_empty() && !follow_last) {
                found.push(part);
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(Error::Links(path.into()));
            }
            let target = fs::read_link(&here).map_err(Error::io("read the link", &here))?;
            if target.is_absolute() {
                found = PathBuf::new();
            }
            for part in parts_of_link(&target).into_iter().rev() {
                rest.push_front(part);
            }
        }
        Ok(self.root.join(found))
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.real(path).is_ok_and(|p| p.exists())
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.real(path).is_ok_and(|p| p.is_dir())
    }

    /// The text of a configuration file; `None` if there is none.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<String>, Error> {
        let Some(bytes) = self.read_bytes(path, CONFIG_LIMIT)? else {
            return Ok(None);
        };
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Error::NotText(path.into()))
    }

    /// A file's bytes, at most `limit`; `None` if there is none.
    pub(crate) fn read_bytes(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let real = self.real(path)?;
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&real)
        {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &real)(e)),
        };
        if !file.metadata().map_err(Error::io("read", &real))?.is_file() {
            let odd = io::Error::other("it is not a regular file");
            return Err(Error::io("read", &real)(odd));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &real))?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { path: real, limit });
        }
        Ok(Some(bytes))
    }

    /// Puts a file in place in one step: readers see the old one or the new one. One that is there keeps its owner and
    /// mode; a new one is root's with `mode`.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let real = self.real(path)?;
        let new = unfinished(&real);
        let old = fs::metadata(&real).ok();
        let mode = old.as_ref().map_or(mode, |old| old.mode() & 0o7777);
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &new)(e)),
            _ => {}
        }
        let written = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(bytes)?;
            if let Some(old) = &old {
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            // Behind the owner, which takes set-id bits away.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            fs::rename(&new, &real)
        };
        if let Err(e) = written() {
            let _ = fs::remove_file(&new);
            return Err(Error::io("write", &real)(e));
        }
        sync_parent(&real)
    }

    /// Makes a folder and those that lead to it; which were made, the outermost first.
    pub(crate) fn make_dirs(&self, path: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut missing = Vec::new();
        let mut at = path;
        while !self.is_dir(at) {
            missing.push(at.to_path_buf());
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        missing.reverse();
        for dir in &missing {
            let real = self.real(dir)?;
            fs::DirBuilder::new()
                .mode(0o755)
                .create(&real)
                .map_err(Error::io("make", &real))?;
            // The mode is not to depend on who installs.
            fs::set_permissions(&real, fs::Permissions::from_mode(0o755))
                .map_err(Error::io("make", &real))?;
        }
        Ok(missing)
    }

    /// Removes a file, and what a write that was cut short left beside it.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Error> {
        let real = self.real_link(path)?;
        for path in [&unfinished(&real), &real] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", path)(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what a write of this file that was cut short left beside it.
    pub(crate) fn remove_unfinished(&self, path: &Path) -> Result<(), Error> {
        let new = unfinished(&self.real(path)?);
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &new)(e)),
            _ => Ok(()),
        }
    }

    /// Removes a folder with all that is in it. A link there is removed itself.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), Error> {
        let real = self.real_link(path)?;
        match fs::remove_dir_all(&real) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &real)(e)),
            _ => Ok(()),
        }
    }

    /// Removes a folder if it is empty.
    pub(crate) fn remove_empty(&self, path: &Path) -> Result<(), Error> {
        let real = self.real_link(path)?;
        match fs::remove_dir(&real) {
            Ok(()) => Ok(()),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(Error::io("remove", &real)(e)),
        }
    }
}

/// Whether a path is absolute and names no parents.
pub(crate) fn is_plain(path: &Path) -> bool {
    let plain = |c: Component<'_>| matches!(c, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(plain)
}

pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("sync", parent))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(UNFINISHED);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn parts(path: &Path) -> Result<VecDeque<OsString>, Error> {
    if is_plain(path) {
        Ok(parts_of_link(path).into())
    } else {
        Err(Error::Path(path.into()))
    }
}

fn parts_of_link(path: &Path) -> Vec<OsString> {
    path.components()
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .map(|c| c.as_os_str().to_os_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside_of_the_tree() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::new(tree.path()).unwrap();
        let at = |p: &str| host.root().join(p);
        host.make_dirs(Path::new("/etc/containerd")).unwrap();
        host.make_dirs(Path::new("/data/real")).unwrap();
        symlink("/data/real/config.toml", at("etc/containerd/config.toml")).unwrap();
        symlink("../../../../../../data", at("etc/up")).unwrap();
        host.write(Path::new("/etc/containerd/config.toml"), b"x", 0o640)
            .unwrap();
        assert_eq!(fs::read(at("data/real/config.toml")).unwrap(), b"x");
        assert!(at("etc/containerd/config.toml").is_symlink());
        assert_eq!(
            host.read(Path::new("/etc/up/real/config.toml")).unwrap().unwrap(),
            "x"
        );
        symlink("loop", at("loop")).unwrap();
        assert!(matches!(host.real(Path::new("/loop/x")), Err(Error::Links(_))));
        assert!(matches!(host.real(Path::new("/a/../b")), Err(Error::Path(_))));
        assert!(matches!(host.real(Path::new("a")), Err(Error::Path(_))));
    }

    #[test]
    fn a_file_keeps_its_mode_and_no_pieces_stay() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::new(tree.path()).unwrap();
        let path = Path::new("/config.toml");
        host.write(path, b"one", 0o600).unwrap();
        fs::write(unfinished(&host.real(path).unwrap()), b"cut sho").unwrap();
        host.write(path, b"two", 0o777).unwrap();
        let meta = fs::metadata(tree.path().join("config.toml")).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_of_text_is_refused() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::new(tree.path()).unwrap();
        fs::create_dir(tree.path().join("dir")).unwrap();
        assert!(host.read(Path::new("/dir")).is_err());
        host.write(Path::new("/odd"), b"\xff", 0o600).unwrap();
        assert!(matches!(host.read(Path::new("/odd")), Err(Error::NotText(_))));
        host.write(Path::new("/long"), &[b'x'; 100], 0o600).unwrap();
        let long = host.read_bytes(Path::new("/long"), 99);
        assert!(matches!(long, Err(Error::TooLarge { .. })));
        assert_eq!(host.read(Path::new("/none")).unwrap(), None);
    }
}
