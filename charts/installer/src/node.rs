//! A node and what is asked of it: what `install`, `uninstall` and `status` share.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::distribution::{self, Distribution, Target};
use crate::error::Error;
use crate::host::Host;
use crate::release::Store;
use crate::restart::Service;
use crate::state::State;

/// The node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) prefix: PathBuf,
    pub(crate) cache: PathBuf,
    pub(crate) distribution: Option<Distribution>,
    pub(crate) config: Option<PathBuf>,
}

/// Held while the node is being changed; others wait for it.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for the lock that goes with it")] File);

impl Node {
    pub(crate) fn store(&self) -> Store {
        Store::new(&self.prefix)
    }

    pub(crate) fn state(&self) -> Result<Option<State>, Error> {
        State::load(&self.host, &self.prefix)
    }

    /// Where the runtime is registered, or is to be: what was chosen once is kept while it can be.
    pub(crate) fn target(&self, state: Option<&State>) -> Result<Target, Error> {
        if let Some(state) = state
            && self.distribution.is_none_or(|d| d == state.target.distribution)
            && self.config.is_none()
            && !crate::config::unregister(&self.host, &state.target)?.is_empty()
        {
            return Ok(state.target.clone());
        }
        distribution::find(&self.host, self.distribution, self.config.as_deref())
    }

    /// Waits for others that change the node; the prefix must be there.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let real = self.host.real(&self.prefix)?;
        let dir = File::open(&real).map_err(Error::io("open", &real))?;
        // SAFETY: flock takes a descriptor, which is open, and flags.
        if unsafe { libc::flock(dir.as_raw_fd(), libc::LOCK_EX) } != 0 {
            return Err(Error::io("lock", &real)(std::io::Error::last_os_error()));
        }
        Ok(Lock(dir))
    }

    /// Removes all but the configuration: executables, compiled code, the record, and the folders that were made for
    /// them, if nobody else uses them.
    pub(crate) fn remove_files(&self, state: Option<&State>) -> Result<(), Error> {
        let (host, store) = (&self.host, self.store());
        host.remove(&store.link())?;
        for id in store.all(host)? {
            store.remove(host, &id)?;
        }
        host.remove_empty(&store.releases())?;
        let cache = state.map_or(&self.cache, |state| &state.cache);
        if is_cache(host, cache)? {
            host.remove_tree(cache)?;
        }
        host.remove(&State::path(&self.prefix))?;
        host.remove_empty(&self.prefix)?;
        let mut made = state.map(|state| state.made.clone()).unwrap_or_default();
        made.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
        for dir in &made {
            host.remove_empty(dir)?;
        }
        Ok(())
    }
}

/// Whether a folder has what the cache of compiled code has, and nothing else.
fn is_cache(host: &Host, path: &Path) -> Result<bool, Error> {
    let real = host.real_link(path)?;
    let Ok(entries) = fs::read_dir(&real) else {
        return Ok(false);
    };
    Ok(entries
        .flatten()
        .all(|entry| matches!(entry.file_name().to_str(), Some("code" | "lock" | "facts.json"))))
}

/// The containerd to restart.
pub(crate) fn service(base: &Service, target: &Target) -> Service {
    Service {
        distribution: target.distribution,
        ..base.clone()
    }
}
