//! What can go wrong, an enum for each operation. A message names the thing, the value and the way out.

use std::{io, path::PathBuf, time::Duration};

/// Any failure on the way from a Wasm file to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

impl Error {
    /// Whether the Wasm file is at fault, not the node or Mote.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Compile(CompileError::Refused { .. }))
    }
}

/// The node lacks something, or what it has cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(
        "cannot tell where this program's own executable is ({0}); name the folder of mote-vmm, mote-compile and mote-http with MOTE_BIN_DIR"
    )]
    OwnPath(#[source] io::Error),
    #[error(
        "{} is missing; install it beside {}, or name its folder with MOTE_BIN_DIR", path.display(), beside.display()
    )]
    Executable { path: PathBuf, beside: PathBuf },
    #[error(
        "neither MOTE_CACHE_DIR, XDG_CACHE_HOME nor HOME is set: set MOTE_CACHE_DIR to a folder for compiled code"
    )]
    NoCacheDir,
    #[error(
        "/dev/kvm does not exist: the machine has no KVM. Load the module (modprobe kvm_intel or kvm_amd), switch virtualisation on in the firmware, or, in a virtual machine, nested virtualisation on its host"
    )]
    NoKvm,
    #[error(
        "/dev/kvm may not be opened by user {uid} ({cause}): add the user to the group that owns it (usermod -aG kvm USER), then log in again"
    )]
    KvmPermission { uid: u32, cause: io::Error },
    #[error("/dev/kvm cannot be opened: {0}")]
    Kvm(#[source] io::Error),
    #[error("{}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("the probe VM did not answer: {0}. `mote doctor` looks for the reason")]
    Probe(String),
    #[error(
        "the CPU, as a guest sees it, lacks {0}, which compiled code needs (x86-64-v3 has it); Mote cannot run on this machine"
    )]
    MissingFeature(&'static str),
}

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot {action} {} in the cache: {cause}; another folder can be named with MOTE_CACHE_DIR", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    #[error(
        "{} is not safe to keep compiled code in: {why}. Remove it, or name another folder with MOTE_CACHE_DIR", path.display()
    )]
    Unsafe { path: PathBuf, why: String },
}

/// There is no compiled code for the program.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// `mote-compile` refused the input; its message names it.
    #[error("{message}")]
    Refused { message: String },
    #[error("compiling {name} failed: {message}")]
    Failed { name: String, message: String },
    #[error("compiling {name} took longer than {} s and was stopped; larger programs need a longer limit", limit.as_secs())]
    TimedOut { name: String, limit: Duration },
    #[error(
        "the compiler was killed by signal {signal} ({}) while it compiled {name}; the program may be too large for the compiler's limits", crate::run::signal_name(*signal)
    )]
    Killed { name: String, signal: i32 },
    #[error(
        "mote-compile wrote a code file that is not usable ({why}); mote and mote-compile may be of different versions"
    )]
    BadOutput { why: String },
    #[error("cannot read {name}: {cause}")]
    Source { name: String, cause: io::Error },
    #[error("cannot start {}: {cause}", path.display())]
    Start { path: PathBuf, cause: io::Error },
}

/// `mote-vmm` could not be started or waited for.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("cannot start {}: {what}: {cause}", path.display())]
    Start {
        path: PathBuf,
        what: &'static str,
        cause: io::Error,
    },
    #[error("cannot prepare {what} for mote-vmm: {cause}")]
    Prepare { what: &'static str, cause: io::Error },
    #[error("the root certificates in {} cannot be read: {cause}; name others with SSL_CERT_FILE", path.display())]
    Roots { path: PathBuf, cause: io::Error },
    #[error("the HTTP front failed: {why}")]
    Front { why: String },
    #[error("cannot wait for mote-vmm (process {pid}): {cause}")]
    Wait { pid: i32, cause: io::Error },
}
