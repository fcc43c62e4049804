//! `daemon`: what the DaemonSet runs on each node. Installs, labels the node, looks after both, and uninstalls when the
//! node's annotation says so. SIGTERM ends it and leaves everything as it is: pods go on.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, ClusterError};
use crate::error::Error;
use crate::install::Install;
use crate::marks::{Marks, Wish};
use crate::signals::Signals;
use crate::status;
use crate::uninstall::Uninstall;

/// Longest time between two tries.
const LONGEST: Duration = Duration::from_secs(600);

/// The installer of one node.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) cluster: Cluster,
    pub(crate) node: String,
    pub(crate) install: Install,
    pub(crate) interval: Duration,
}

/// What is known between two rounds.
#[derive(Debug, Default)]
struct Memory {
    /// The node was complete in this round, after a program had run.
    complete: bool,
    failures: u32,
    /// No try before this.
    not_before: Option<Instant>,
    /// containerd did not take the configuration: another try would restart it twice for nothing.
    hopeless: bool,
    said: String,
}

impl Daemon {
    /// Goes on until a signal comes.
    pub(crate) fn run(&self) {
        let signals = Signals::hold();
        let mut memory = Memory::default();
        loop {
            let marks = Marks::new(&self.cluster, &self.node);
            if let Err(error) = self.round(&marks, &mut memory) {
                memory.say(format!("the node's object: {error}"));
            }
            if signals.wait(self.interval) {
                println!("ends; the node stays as it is");
                return;
            }
        }
    }

    fn round(&self, marks: &Marks<'_>, memory: &mut Memory) -> Result<(), ClusterError> {
        let (labelled, wish) = marks.read()?;
        match wish {
            Wish::None => self.reconcile(marks, labelled, memory),
            Wish::Requested | Wish::Waiting(_) => {
                *memory = Memory {
                    said: std::mem::take(&mut memory.said),
                    ..Memory::default()
                };
                self.uninstall(marks, labelled, &wish, memory)
            }
            // Until the annotation goes, which says that Mote is wanted again.
            Wish::Done | Wish::Failed(_) => {
                memory.complete = false;
                Ok(())
            }
        }
    }

    fn reconcile(&self, marks: &Marks<'_>, labelled: bool, memory: &mut Memory) -> Result<(), ClusterError> {
        if memory.complete {
            match status::status(&self.install.node, Some(&self.install.from)) {
                Ok(status) if status.problems.is_empty() => {
                    if !labelled && let Some(release) = &status.release {
                        marks.ready(release)?;
                    }
                    return Ok(());
                }
                Ok(status) => memory.say(format!("to be mended: {}", status.problems.join("; "))),
                Err(error) => memory.say(format!("to be mended: {error}")),
            }
            memory.complete = false;
        }
        if memory.hopeless || memory.not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        match self.install.run() {
            Ok(done) => {
                let warnings: Vec<String> = done.warnings.iter().map(|w| format!("\nwarning: {w}")).collect();
                memory.say(format!(
                    "ready with release {} for {}{}",
                    done.release,
                    done.target.distribution,
                    warnings.concat()
                ));
                marks.ready(&done.release)?;
                memory.complete = true;
                memory.failures = 0;
                memory.not_before = None;
            }
            Err(error) => {
                memory.say(format!("not ready: {error}"));
                memory.hopeless = matches!(error, Error::RolledBack { .. });
                memory.failures += 1;
                let pause = self.interval.saturating_mul(1 << memory.failures.min(10));
                memory.not_before = Some(Instant::now() + pause.min(LONGEST));
                marks.not_ready(&error.to_string())?;
            }
        }
        Ok(())
    }

    fn uninstall(
        &self,
        marks: &Marks<'_>,
        labelled: bool,
        wish: &Wish,
        memory: &mut Memory,
    ) -> Result<(), ClusterError> {
        // First of all, no new pods.
        if labelled {
            marks.not_ready("Mote is being uninstalled")?;
        }
        let removal = Uninstall {
            node: self.install.node.clone(),
            service: self.install.service.clone(),
            force: false,
        };
        let outcome = match removal.run() {
            Ok(_) => Wish::Done,
            Err(Error::InUse(why)) => Wish::Waiting(why),
            Err(error) => Wish::Failed(error.to_string()),
        };
        if outcome != *wish {
            memory.say(format!("uninstalling: {outcome:?}"));
            marks.wish(&outcome)?;
        }
        Ok(())
    }
}

impl Memory {
    /// Prints what is new.
    fn say(&mut self, text: String) {
        if self.said != text {
            println!("{text}");
            self.said = text;
        }
    }
}
