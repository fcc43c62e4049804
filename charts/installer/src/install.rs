//! `install`: executables, a program that runs, the registration, a restart. Each step can be the last one, by a crash;
//! the next run goes on from there.

use std::path::PathBuf;

use crate::config::{self, Change};
use crate::distribution::Target;
use crate::error::Error;
use crate::node::{Node, service};
use crate::processes;
use crate::release::Release;
use crate::restart::{Restart, Service};
use crate::state::State;
use crate::verify;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Install {
    pub(crate) node: Node,
    /// The folder with the executables.
    pub(crate) from: PathBuf,
    pub(crate) service: Service,
    /// Whether a program must have run before the node is told of Mote.
    pub(crate) verify: bool,
}

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Recorded,
    Placed,
    Verified,
    InUse,
    Registered,
    Done,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) target: Target,
    pub(crate) release: String,
    /// Whether the release was on the node already and in use.
    pub(crate) same_release: bool,
    /// Files of containerd's configuration that were changed.
    pub(crate) changed: Vec<PathBuf>,
    pub(crate) restarted: bool,
    pub(crate) warnings: Vec<String>,
}

impl Install {
    pub(crate) fn run(&self) -> Result<Installed, Error> {
        self.run_until(Step::Done)
    }

    pub(crate) fn run_until(&self, last: Step) -> Result<Installed, Error> {
        let (host, store) = (&self.node.host, self.node.store());
        // Everything that can be refused is, before anything is touched.
        let release = Release::read(&self.from)?;
        let old = self.node.state()?;
        let target = self.node.target(old.as_ref())?;
        config::register(host, &target, &store.shim())?;

        let made = host.make_dirs(&self.node.prefix)?;
        let _lock = self.node.lock()?;
        let mut state = old
            .clone()
            .unwrap_or_else(|| State::new(target.clone(), &release.id, &self.node.cache));
        state.note_made(made);
        if state.target != target {
            // The distribution was changed on this node. What is at the old place goes first.
            let gone = config::unregister(host, &state.target)?;
            state.restart_due |= !gone.is_empty();
            state.save(host, &self.node.prefix)?;
            config::apply(host, &gone)?;
            state.target = target.clone();
        }
        state.release.clone_from(&release.id);
        state.save(host, &self.node.prefix)?;
        let mut out = Installed {
            target: target.clone(),
            release: release.id.clone(),
            same_release: store.current(host).as_ref() == Some(&release.id),
            changed: Vec::new(),
            restarted: false,
            warnings: Vec::new(),
        };
        if last == Step::Recorded {
            return Ok(out);
        }

        if !store.holds(host, &release)? {
            store.place(host, &release)?;
            out.same_release = false;
        }
        if last == Step::Placed {
            return Ok(out);
        }

        if self.verify {
            match verify::verify(host, &store.dir(&release.id), &self.node.cache) {
                Ok(warnings) => out.warnings = warnings,
                Err(error) => {
                    self.give_up(old.as_ref(), &release.id)?;
                    return Err(error);
                }
            }
        }
        if last == Step::Verified {
            return Ok(out);
        }

        let before = store.current(host);
        store.switch(host, &release.id)?;
        if last == Step::InUse {
            return Ok(out);
        }

        let changes = config::register(host, &target, &store.shim())?;
        out.changed = changes.iter().map(|change| change.path.clone()).collect();
        if !changes.is_empty() {
            state.restart_due = true;
            // Folders are noted before they are made, so that a crash forgets none.
            state.note_made(missing_dirs(&self.node, &changes));
            state.save(host, &self.node.prefix)?;
            config::apply(host, &changes)?;
        }
        if last == Step::Registered {
            return Ok(out);
        }

        if state.restart_due {
            let service = service(&self.service, &target);
            if let Err(error) = service.restart(host) {
                return Err(self.roll_back(
                    &changes,
                    &service,
                    old.as_ref(),
                    before.as_deref(),
                    &state,
                    &error,
                ));
            }
            out.restarted = !matches!(service.restart, Restart::Never);
            state.restart_due = false;
            state.save(host, &self.node.prefix)?;
        }
        self.remove_unused(&release.id)?;
        Ok(out)
    }

    /// Leaves the node as it was before a release that does not run there.
    fn give_up(&self, old: Option<&State>, id: &str) -> Result<(), Error> {
        let (host, store) = (&self.node.host, self.node.store());
        match old {
            None => {
                let state = self.node.state()?;
                self.node.remove_files(state.as_ref())
            }
            Some(old) => {
                if store.current(host).as_deref() != Some(id) {
                    store.remove(host, id)?;
                }
                old.save(host, &self.node.prefix)
            }
        }
    }

    fn roll_back(
        &self,
        changes: &[Change],
        service: &Service,
        old: Option<&State>,
        release: Option<&str>,
        state: &State,
        error: &Error,
    ) -> Error {
        let (host, store) = (&self.node.host, self.node.store());
        let back = || -> Result<(), Error> {
            let changes = if changes.is_empty() {
                config::unregister(host, &state.target)?
            } else {
                config::undo(changes)
            };
            config::apply(host, &changes)?;
            let restarted = Service {
                handler: false,
                ..service.clone()
            }
            .restart(host);
            match (old, release) {
                (Some(old), Some(release)) => {
                    store.switch(host, release)?;
                    old.save(host, &self.node.prefix)?;
                }
                _ => self.node.remove_files(Some(state))?,
            }
            restarted
        };
        Error::RolledBack {
            reason: error.to_string(),
            rolled_back: match back() {
                Ok(()) => "and containerd answers".into(),
                Err(e) => format!("but {e}"),
            },
        }
    }

    /// Removes releases that nothing runs from.
    fn remove_unused(&self, current: &str) -> Result<(), Error> {
        let (host, store) = (&self.node.host, self.node.store());
        for (id, users) in processes::users(host, &store)? {
            if id != current && users.is_empty() {
                store.remove(host, &id)?;
            }
        }
        Ok(())
    }
}

fn missing_dirs(node: &Node, changes: &[Change]) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = Vec::new();
    for change in changes.iter().filter(|change| change.after.is_some()) {
        let dirs = change.path.ancestors().skip(1);
        let mut dirs: Vec<PathBuf> = dirs
            .take_while(|dir| !node.host.is_dir(dir))
            .map(PathBuf::from)
            .collect();
        dirs.reverse();
        missing.extend(dirs);
    }
    missing
}
