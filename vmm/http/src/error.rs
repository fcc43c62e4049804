//! What ends the front.

use std::io;

/// Why the front cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration cannot be read: {0}")]
    Config(String),
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("the seccomp filter cannot be built: {0}")]
    Filter(#[from] seccompiler::BackendError),
    #[error("the seccomp filter cannot be installed: {0}")]
    Seccomp(#[from] seccompiler::Error),
    #[error("root certificates: {0}")]
    Roots(String),
    #[error("the parent has gone")]
    Orphaned,
}

impl Error {
    /// For the result of a system call.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::System { what, source }
    }
}
