//! What can go wrong, and the exit code that says which kind it is.

use std::io;
use std::path::{Path, PathBuf};

use crate::cluster::ClusterError;
use crate::withdraw::WithdrawError;

/// A failed command. Messages end with the way out where there is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is larger than {limit} bytes, which no file of its kind is", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{} leads through more than 40 symbolic links", .0.display())]
    Links(PathBuf),
    #[error("{} is not UTF-8", .0.display())]
    NotText(PathBuf),
    #[error("{0:?} is not an absolute path without '..'")]
    Path(PathBuf),
    #[error("{} is not valid TOML, and is left as it is: {reason}", path.display())]
    Toml { path: PathBuf, reason: String },
    #[error("{}: {reason}", path.display())]
    Config { path: PathBuf, reason: String },
    #[error("no containerd was found below {}: {looked}; --config names its configuration", root.display())]
    NoContainerd { root: PathBuf, looked: &'static str },
    #[error("more than one distribution is below {}: {found}; --distribution chooses one", root.display())]
    Ambiguous { root: PathBuf, found: String },
    #[error("the state file {} cannot be used: {reason}; remove it, and install again to take over", path.display())]
    State { path: PathBuf, reason: String },
    #[error("{}: not an executable of Mote to install: {reason}; --from names the folder that has them", path.display())]
    Source { path: PathBuf, reason: String },
    #[error("this node cannot run Mote: {0}")]
    Node(String),
    #[error("{0}")]
    InUse(String),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Withdraw(#[from] WithdrawError),
    #[error("{command} failed: {reason}")]
    Command { command: String, reason: String },
    #[error(
        "containerd does not work with the new configuration: {reason}; the old one is back: {rolled_back}"
    )]
    RolledBack { reason: String, rolled_back: String },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// The exit code; `--help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::Node(_) => 3,
            Error::InUse(_) => 4,
            Error::RolledBack { .. } => 5,
            _ => 1,
        }
    }
}
