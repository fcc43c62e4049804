//! Keeps the cache within its size.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{
    dirs::{TEMP_PREFIX, failed},
    error::CacheError,
    key::SUFFIX,
};

/// Unfinished files older than this belong to nobody: no compilation may take so long.
const ABANDONED: Duration = Duration::from_secs(2 * 3600);

/// A code file in the cache.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file's name without its ending.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that it takes on disk.
    pub size: u64,
    /// When it was last asked for, within an hour.
    pub used: SystemTime,
}

/// What pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Files removed.
    pub removed: u64,
    /// Bytes that they took.
    pub freed: u64,
    /// Files left.
    pub left: u64,
    /// Bytes that they take.
    pub left_bytes: u64,
}

/// The code files in `dir`, most recently used first.
pub(crate) fn list(dir: &Path) -> Result<Vec<Entry>, CacheError> {
    let mut entries = Vec::new();
    for item in std::fs::read_dir(dir).map_err(failed("list", dir))? {
        let item = item.map_err(failed("list", dir))?;
        let name = item.file_name().to_string_lossy().into_owned();
        let Some(key) = name.strip_suffix(SUFFIX) else {
            continue;
        };
        // Someone else may have removed it since.
        let Ok(meta) = item.metadata() else { continue };
        let used = meta
            .accessed()
            .into_iter()
            .chain(meta.modified())
            .max()
            .unwrap_or(SystemTime::UNIX_EPOCH);
        entries.push(Entry {
            key: key.into(),
            path: item.path(),
            size: meta.blocks().saturating_mul(512),
            used,
        });
    }
    entries.sort_by_key(|e| std::cmp::Reverse(e.used));
    Ok(entries)
}

/// Removes the least recently used files until the rest takes at most `most` bytes, and abandoned ones.
pub(crate) fn prune(dir: &Path, most: u64) -> Result<Pruned, CacheError> {
    let mut pruned = Pruned::default();
    for entry in list(dir)? {
        if pruned.left_bytes.saturating_add(entry.size) > most {
            remove(&entry.path)?;
            pruned.removed += 1;
            pruned.freed += entry.size;
        } else {
            pruned.left += 1;
            pruned.left_bytes += entry.size;
        }
    }
    for item in std::fs::read_dir(dir).map_err(failed("list", dir))?.flatten() {
        let abandoned = item.file_name().to_string_lossy().starts_with(TEMP_PREFIX)
            && item
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|t| t.elapsed().is_ok_and(|age| age > ABANDONED));
        if abandoned {
            remove(&item.path())?;
        }
    }
    Ok(pruned)
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), CacheError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};

    fn file(dir: &Path, name: &str, bytes: usize, age: u64) {
        let path = dir.join(name);
        std::fs::write(&path, vec![1; bytes]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        let times = FileTimes::new().set_accessed(time).set_modified(time);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(times)
            .unwrap();
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let temp = tempfile::tempdir().unwrap();
        file(temp.path(), "old.mote", 40_000, 3000);
        file(temp.path(), "new.mote", 40_000, 10);
        file(temp.path(), "mid.mote", 40_000, 1000);
        file(temp.path(), ".tmp-1-1", 10, 3 * 3600);
        file(temp.path(), ".tmp-1-2", 10, 10);
        let keys: Vec<String> = list(temp.path()).unwrap().into_iter().map(|e| e.key).collect();
        assert_eq!(keys, ["new", "mid", "old"]);

        let open = File::open(temp.path().join("old.mote")).unwrap();
        let pruned = prune(temp.path(), 100_000).unwrap();
        assert_eq!((pruned.removed, pruned.left), (1, 2));
        assert!(!temp.path().join("old.mote").exists());
        assert_eq!(open.metadata().unwrap().len(), 40_000);
        assert!(!temp.path().join(".tmp-1-1").exists() && temp.path().join(".tmp-1-2").exists());
    }
}
