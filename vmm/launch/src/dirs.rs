//! Folders and files that are trusted only if nobody else could have written them.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use tempfile::NamedTempFile;

use crate::error::CacheError;

/// The user whom files must belong to.
pub(crate) fn euid() -> u32 {
    // SAFETY: cannot fail and takes no pointers.
    unsafe { libc::geteuid() }
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_path_buf();
    move |cause| CacheError::Io { action, path, cause }
}

/// Makes the folder, for its owner alone, or checks that the one that is there is ours alone to write.
pub(crate) fn private_dir(path: &Path) -> Result<(), CacheError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) => return Err(failed("make", path)(e)),
    }
    let meta = std::fs::symlink_metadata(path).map_err(failed("look at", path))?;
    if !meta.is_dir() {
        return Err(CacheError::Unsafe {
            path: path.into(),
            why: "it is not a folder".into(),
        });
    }
    match not_ours(&meta) {
        None => Ok(()),
        Some(why) => Err(CacheError::Unsafe {
            path: path.into(),
            why,
        }),
    }
}

/// Why what `meta` describes could have been written by somebody else.
pub(crate) fn not_ours(meta: &std::fs::Metadata) -> Option<String> {
    if meta.uid() != euid() {
        return Some(format!(
            "it belongs to user {}, not to user {}",
            meta.uid(),
            euid()
        ));
    }
    if meta.mode() & 0o022 != 0 {
        return Some(format!("its mode {:o} lets others write", meta.mode() & 0o7777));
    }
    None
}

/// Opens a file for reading if it is a regular file that only we could have written; `Ok(Err(why))` if it is there
/// but not to be trusted, `None` if it is not there.
pub(crate) fn open_ours(path: &Path) -> io::Result<Option<Result<File, String>>> {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match open {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
            return Ok(Some(Err("it is a symbolic link".into())));
        }
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Some(Err("it is not a regular file".into())));
    }
    Ok(Some(match not_ours(&meta) {
        None => Ok(file),
        Some(why) => Err(why),
    }))
}

/// Start of the names of files that are not finished.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";

/// Makes a file in `dir` for its owner alone, that either gets its final name or goes away.
pub(crate) fn unfinished(dir: &Path) -> Result<NamedTempFile, CacheError> {
    tempfile::Builder::new()
        .prefix(TEMP_PREFIX)
        .tempfile_in(dir)
        .map_err(failed("make a file in", dir))
}

/// Gives the file its final name, in place of whatever has it.
pub(crate) fn finish(file: NamedTempFile, path: &Path) -> Result<(), CacheError> {
    let failed = failed("rename to", path);
    file.persist(path).map(drop).map_err(|e| failed(e.error))
}

/// Writes a whole file at once, for its owner alone.
pub(crate) fn write_atomically(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let mut file = unfinished(dir)?;
    file.write_all(bytes).map_err(failed("write", path))?;
    finish(file, path)
}

/// Takes the lock that `path` stands for, and waits for it; it is given back when the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, CacheError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed("open", path))?;
    file.lock().map_err(failed("lock", path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        private_dir(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o770)).unwrap();
        let text = private_dir(&dir).unwrap_err().to_string();
        assert!(text.contains("770") && text.contains("MOTE_CACHE_DIR"), "{text}");
        let link = temp.path().join("link");
        symlink(temp.path(), &link).unwrap();
        assert!(matches!(private_dir(&link), Err(CacheError::Unsafe { .. })));
    }

    #[test]
    fn only_regular_files_of_ours_are_opened() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        assert!(open_ours(&path).unwrap().is_none());
        write_atomically(temp.path(), &path, b"x").unwrap();
        assert!(open_ours(&path).unwrap().unwrap().is_ok());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o622)).unwrap();
        assert!(open_ours(&path).unwrap().unwrap().is_err());
        let link = temp.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(open_ours(&link).unwrap().unwrap().is_err());
        assert!(open_ours(temp.path()).unwrap().unwrap().is_err());
    }

    #[test]
    fn unfinished_files_go_away() {
        let temp = tempfile::tempdir().unwrap();
        drop(unfinished(temp.path()).unwrap());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
