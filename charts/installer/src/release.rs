//! The executables on the node. Each release has a folder of its own and `bin` is a link to the one in use: what runs
//! from an older one finds its siblings there until the last pod that uses them has ended.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::host::{self, Host};

/// The shim, by the name that containerd derives from the runtime type.
pub(crate) const SHIM: &str = "containerd-shim-mote-v1";
/// All that belongs together. The installer is there so that a node can be cleaned by hand.
pub(crate) const EXECUTABLES: [&str; 6] = [
    SHIM,
    "mote",
    "mote-compile",
    "mote-http",
    "mote-install",
    "mote-vmm",
];
/// The program that a node runs before it is said to be ready: prints a line and exits with 42.
pub(crate) const PROBE: &str = "probe.wasm";
const PROBE_BYTES: &[u8] = include_bytes!("probe.wasm");
/// Most bytes of an executable.
const LIMIT: u64 = 256 << 20;
const ID_LENGTH: usize = 16;

/// Where executables are below the prefix.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    prefix: PathBuf,
}

/// The files of a release, read and looked at.
pub(crate) struct Release {
    /// From the digest of all files.
    pub(crate) id: String,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl std::fmt::Debug for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Release")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Release {
    /// Reads the executables in a folder of this process's own root.
    pub(crate) fn read(from: &Path) -> Result<Release, Error> {
        let source = Host::new(Path::new("/"))?;
        let from = fs::canonicalize(from).map_err(Error::io("open", from))?;
        let mut files = Vec::new();
        for name in EXECUTABLES {
            let path = from.join(name);
            let wrong = |reason: &str| Error::Source {
                path: path.clone(),
                reason: reason.into(),
            };
            let bytes = source
                .read_bytes(&path, LIMIT)?
                .ok_or_else(|| wrong("it is not there"))?;
            if !bytes.starts_with(b"\x7fELF") {
                return Err(wrong("it is no ELF file"));
            }
            files.push((name, bytes));
        }
        files.push((PROBE, PROBE_BYTES.to_vec()));
        Ok(Release {
            id: id(&files),
            files,
        })
    }
}

impl Store {
    pub(crate) fn new(prefix: &Path) -> Store {
        Store {
            prefix: prefix.into(),
        }
    }

    /// Where containerd finds the shim; the same for every release.
    pub(crate) fn shim(&self) -> PathBuf {
        self.prefix.join("bin").join(SHIM)
    }

    /// The link to the release in use.
    pub(crate) fn link(&self) -> PathBuf {
        self.prefix.join("bin")
    }

    pub(crate) fn releases(&self) -> PathBuf {
        self.prefix.join("releases")
    }

    pub(crate) fn dir(&self, id: &str) -> PathBuf {
        self.releases().join(id)
    }

    /// Whether the release is on the node with every byte.
    pub(crate) fn holds(&self, host: &Host, release: &Release) -> Result<bool, Error> {
        for (name, bytes) in &release.files {
            let path = self.dir(&release.id).join(name);
            if host.read_bytes(&path, LIMIT)?.as_ref() != Some(bytes) {
                return Ok(false);
            }
            let meta = fs::metadata(host.real(&path)?).map_err(Error::io("look at", &path))?;
            if meta.mode() & 0o7777 != mode(name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies a release to its folder. Files are put in place one by one, each in one step.
    pub(crate) fn place(&self, host: &Host, release: &Release) -> Result<(), Error> {
        let dir = self.dir(&release.id);
        host.make_dirs(&dir)?;
        for (name, bytes) in &release.files {
            let path = dir.join(name);
            // A new file each time: one that runs cannot be written to, and its mode may have been changed.
            host.remove(&path)?;
            host.write(&path, bytes, mode(name))?;
        }
        Ok(())
    }

    /// The release that `bin` leads to.
    pub(crate) fn current(&self, host: &Host) -> Option<String> {
        let link = host.real_link(&self.link()).ok()?;
        let target = fs::read_link(link).ok()?;
        let id = target.strip_prefix("releases").ok()?.to_str()?;
        is_id(id).then(|| id.to_string())
    }

    /// Has `bin` lead to a release, in one step.
    pub(crate) fn switch(&self, host: &Host, id: &str) -> Result<(), Error> {
        if self.current(host).as_deref() == Some(id) {
            return Ok(());
        }
        let link = host.real_link(&self.link())?;
        let new = link.with_file_name(".mote-install.bin");
        let _ = fs::remove_file(&new);
        symlink(Path::new("releases").join(id), &new).map_err(Error::io("make the link", &new))?;
        fs::rename(&new, &link).map_err(Error::io("put in place", &link))?;
        host::sync_parent(&link)
    }

    /// All releases on the node.
    pub(crate) fn all(&self, host: &Host) -> Result<Vec<String>, Error> {
        let dir = host.real(&self.releases())?;
        let Ok(entries) = fs::read_dir(&dir) else {
            return Ok(Vec::new());
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| is_id(name))
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Removes a release.
    pub(crate) fn remove(&self, host: &Host, id: &str) -> Result<(), Error> {
        host.remove_tree(&self.dir(id))
    }
}

/// Whether a name is one of a release.
pub(crate) fn is_id(name: &str) -> bool {
    name.len() == ID_LENGTH && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn mode(name: &str) -> u32 {
    if name == PROBE { 0o644 } else { 0o755 }
}

fn id(files: &[(&str, Vec<u8>)]) -> String {
    let mut all = Sha256::new();
    for (name, bytes) in files {
        all.update(name.as_bytes());
        all.update([0]);
        all.update(Sha256::digest(bytes));
    }
    let mut text = String::new();
    for byte in all.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(ID_LENGTH);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_what_its_text_says() {
        let assembled = wat::parse_str(include_str!("probe.wat")).unwrap();
        assert_eq!(PROBE_BYTES, assembled, "assemble probe.wat anew");
    }

    #[test]
    fn only_digests_are_releases() {
        assert!(is_id("0123456789abcdef"));
        for odd in [
            "",
            "..",
            "0123456789abcdeF",
            "0123456789abcde/",
            "0123456789abcdef0",
        ] {
            assert!(!is_id(odd), "{odd}");
        }
    }
}
