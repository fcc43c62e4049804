//! `uninstall`: everything that `install` did, and nothing else, taken back.

use std::path::PathBuf;

use crate::config;
use crate::error::Error;
use crate::node::{Node, service};
use crate::processes;
use crate::restart::{Restart, Service};

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Uninstall {
    pub(crate) node: Node,
    pub(crate) service: Service,
    /// Also with pods that run.
    pub(crate) force: bool,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uninstalled {
    /// Whether there was anything.
    pub(crate) found: bool,
    pub(crate) changed: Vec<PathBuf>,
    pub(crate) restarted: bool,
}

impl Uninstall {
    pub(crate) fn run(&self) -> Result<Uninstalled, Error> {
        let host = &self.node.host;
        let mut out = Uninstalled::default();
        let prefix_is_there = host.is_dir(&self.node.prefix);
        let _lock = if prefix_is_there {
            Some(self.node.lock()?)
        } else {
            None
        };
        let mut state = self.node.state()?;
        let target = match &state {
            Some(state) => Some(state.target.clone()),
            // Without a record: what is marked as ours where it would be.
            None => self.node.target(None).ok(),
        };
        let changes = match &target {
            Some(target) => config::unregister(host, target)?,
            None => Vec::new(),
        };
        out.found = state.is_some() || !changes.is_empty();
        if !out.found {
            return Ok(out);
        }
        self.refuse_while_in_use()?;
        out.changed = changes.iter().map(|change| change.path.clone()).collect();
        if let Some(target) = &target {
            if let Some(state) = &mut state
                && !changes.is_empty()
            {
                state.restart_due = true;
                state.save(host, &self.node.prefix)?;
            }
            config::apply(host, &changes)?;
            for file in target.place.files() {
                host.remove_unfinished(file)?;
            }
            if !changes.is_empty() || state.as_ref().is_some_and(|state| state.restart_due) {
                // The handler goes before the executables.
                let service = Service {
                    handler: false,
                    ..service(&self.service, target)
                };
                service.restart(host)?;
                out.restarted = !matches!(service.restart, Restart::Never);
            }
        }
        self.node.remove_files(state.as_ref())?;
        Ok(out)
    }

    /// A pod whose handler is gone can be neither stopped nor deleted.
    fn refuse_while_in_use(&self) -> Result<(), Error> {
        if self.force {
            return Ok(());
        }
        let users = processes::users(&self.node.host, &self.node.store())?;
        let shims: Vec<String> = users
            .values()
            .flat_map(|users| &users.shims)
            .map(ToString::to_string)
            .collect();
        if shims.is_empty() {
            return Ok(());
        }
        Err(Error::InUse(format!(
            "{} pods of handler mote still run on this node (shims: process {}); delete them first, or use --force, which \
             leaves them without a handler",
            shims.len(),
            shims.join(", ")
        )))
    }
}
