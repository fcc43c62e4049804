//! A folder with all that is in it.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// One line for each entry: path, type, permissions, number of links, size and digest or target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(Vec<String>);

impl Tree {
    /// All below `root`.
    ///
    /// # Panics
    /// If an entry cannot be read.
    #[must_use]
    pub fn read(root: &Path) -> Tree {
        let mut lines = Vec::new();
        if let Err(error) = read(root, root, &mut lines) {
            panic!("{}: {error}", root.display());
        }
        lines.sort();
        Tree(lines)
    }
}

fn read(root: &Path, dir: &Path, lines: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        let what = if meta.is_dir() {
            read(root, &path, lines)?;
            "directory".to_string()
        } else if meta.is_symlink() {
            format!("link to {}", fs::read_link(&path)?.display())
        } else {
            let digest = Sha256::digest(fs::read(&path)?);
            let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!(
                "file, {} links, {} bytes, sha256 {hex}",
                meta.nlink(),
                meta.size()
            )
        };
        let name = path.strip_prefix(root).unwrap_or(&path).display();
        lines.push(format!("{name}: {:o} {what}", meta.mode() & 0o7777));
    }
    Ok(())
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
