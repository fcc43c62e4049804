//! Where things are on this node.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cache::{self, Program, Source},
    dirs::{euid, private_dir},
    error::{CacheError, Error, NodeError},
    facts::{self, Facts},
    prune::{self, Entry, Pruned},
};

/// What compiling and keeping may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Wall-clock time for one compilation.
    pub compile_time: Duration,
    /// Address space of the compiler in bytes.
    pub compile_memory: u64,
    /// Bytes of compiled code that are kept; the least recently used goes first.
    pub cache_size: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            compile_time: Duration::from_secs(300),
            compile_memory: 4 << 30,
            cache_size: 4 << 30,
        }
    }
}

/// The node: its executables, its cache, its KVM.
#[derive(Clone, Debug)]
pub struct Node {
    bin_dir: PathBuf,
    cache_dir: PathBuf,
    limits: Limits,
}

impl Node {
    /// Finds the executables beside this program's own (or in `MOTE_BIN_DIR`), and the cache in `MOTE_CACHE_DIR`,
    /// `/var/lib/mote` for root, or the user's own cache folder, which is made if it is not there.
    ///
    /// # Errors
    /// If no folder can be told or made, or if the cache is open to others.
    pub fn discover() -> Result<Node, Error> {
        let bin_dir = match std::env::var_os("MOTE_BIN_DIR") {
            Some(dir) => dir.into(),
            None => {
                let exe = std::env::current_exe().map_err(NodeError::OwnPath)?;
                exe.parent().map(Path::to_path_buf).unwrap_or_default()
            }
        };
        Node::new(bin_dir, default_cache_dir()?, Limits::default())
    }

    /// A node with the executables in `bin_dir` and the cache in `cache_dir`, which is made if it is not there.
    ///
    /// # Errors
    /// If the cache cannot be made or is open to others.
    pub fn new(
        bin_dir: impl Into<PathBuf>,
        cache_dir: impl Into<PathBuf>,
        limits: Limits,
    ) -> Result<Node, Error> {
        let node = Node {
            bin_dir: bin_dir.into(),
            cache_dir: cache_dir.into(),
            limits,
        };
        for dir in [
            node.cache_dir.clone(),
            node.code_dir(),
            node.cache_dir.join("lock"),
        ] {
            private_dir(&dir)?;
        }
        Ok(node)
    }

    /// The folder of compiled code and of what is known about the node.
    #[must_use]
    pub fn cache_dir(&self) -> &Path {
        &self.cache_dir
    }

    /// The folder of the executables.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The limits that were set.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn code_dir(&self) -> PathBuf {
        self.cache_dir.join("code")
    }

    pub(crate) fn facts_path(&self) -> PathBuf {
        self.cache_dir.join("facts.json")
    }

    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.cache_dir.join("lock").join(name)
    }

    /// Path of `mote-vmm`.
    ///
    /// # Errors
    /// If it is not there.
    pub fn vmm(&self) -> Result<PathBuf, NodeError> {
        self.executable("mote-vmm")
    }

    /// Path of `mote-compile`.
    ///
    /// # Errors
    /// If it is not there.
    pub fn compiler(&self) -> Result<PathBuf, NodeError> {
        self.executable("mote-compile")
    }

    /// Path of `mote-http`.
    ///
    /// # Errors
    /// If it is not there.
    pub fn front(&self) -> Result<PathBuf, NodeError> {
        self.executable("mote-http")
    }

    fn executable(&self, name: &str) -> Result<PathBuf, NodeError> {
        let path = self.bin_dir.join(name);
        if path.is_file() {
            Ok(path)
        } else {
            Err(NodeError::Executable {
                path,
                beside: self.bin_dir.clone(),
            })
        }
    }

    /// Opens `/dev/kvm` as `mote-vmm` needs it.
    ///
    /// # Errors
    /// With the cure, if there is no KVM or no permission.
    pub fn open_kvm(&self) -> Result<File, NodeError> {
        match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
            Ok(file) => Ok(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(NodeError::NoKvm),
            // The node exists, but no driver answers behind it.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENXIO | libc::ENODEV)) => Err(NodeError::NoKvm),
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                Err(NodeError::KvmPermission { uid: euid(), cause })
            }
            Err(e) => Err(NodeError::Kvm(e)),
        }
    }

    /// What the CPU offers to guests and which compiler there is; found out once per boot.
    ///
    /// # Errors
    /// If an executable or KVM is missing, or if the CPU lacks what compiled code needs.
    pub fn facts(&self) -> Result<Facts, Error> {
        facts::facts(self)
    }

    /// The compiled form of a Wasm file: from the cache, or compiled now, once for all who ask at the same time.
    ///
    /// # Errors
    /// [`Error::is_refusal`] tells whether the Wasm file is at fault.
    pub fn program(&self, source: &mut Source<'_>) -> Result<Program, Error> {
        let facts = self.facts()?;
        cache::program(self, &facts, source)
    }

    /// What is in the cache, most recently used first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn cached(&self) -> Result<Vec<Entry>, CacheError> {
        prune::list(&self.code_dir())
    }

    /// Removes the least recently used code until at most `most` bytes are left, and what crashed compilers left.
    /// Programs that run keep the code that they opened.
    ///
    /// # Errors
    /// If the folder cannot be read or the lock not be taken.
    pub fn prune(&self, most: u64) -> Result<Pruned, CacheError> {
        let _lock = crate::dirs::lock(&self.lock_path("prune"))?;
        prune::prune(&self.code_dir(), most)
    }
}

fn default_cache_dir() -> Result<PathBuf, NodeError> {
    let var = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(dir) = var("MOTE_CACHE_DIR") {
        return Ok(dir);
    }
    if euid() == 0 {
        return Ok("/var/lib/mote".into());
    }
    let base = var("XDG_CACHE_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| var("HOME").map(|h| h.join(".cache")));
    base.map(|b| b.join("mote")).ok_or(NodeError::NoCacheDir)
}
