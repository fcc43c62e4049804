//! A task's life as a state machine, apart from transport and processes.
//!
//! ```text
//! Created ──start──> Running ──stop──> Stopped ──delete──> Deleted
//!                    │  ^ pause, resume
//!                    v  │
//!                   Paused ──stop──> Stopped
//!    └───────────────stop (killed before its start)──┘ ^
//!    └──────────────────────delete─────────────────────┘ (straight to Deleted)
//! ```

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, ExitCell};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Created,
    Running,
    Paused,
    Stopped,
    Deleted,
}

impl Phase {
    /// As it stands in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Stopped => "stopped",
            Phase::Deleted => "deleted",
        }
    }

    /// Whether a process runs or stands still.
    pub(crate) const fn has_process(self) -> bool {
        matches!(self, Phase::Running | Phase::Paused)
    }
}

/// A call that does not fit the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot start a task that is {}", .0.name())]
    Start(Phase),
    #[error("cannot pause a task that is {}", .0.name())]
    Pause(Phase),
    #[error("cannot resume a task that is {}", .0.name())]
    Resume(Phase),
    #[error("cannot change the limits of a task that is {}", .0.name())]
    Update(Phase),
    /// The words are those of runc, which callers look for (containerd `process/utils.go`, `checkKillError`).
    #[error("process already finished")]
    Finished,
    #[error("cannot delete a task that is running; kill it first")]
    DeleteRunning,
}

/// What a signal goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// No process runs yet: a signal that ends a process ends the task.
    Task,
    /// The process with this id.
    Process(u32),
}

/// The state of one task.
#[derive(Debug)]
pub(crate) struct Machine {
    phase: Phase,
    pid: u32,
    exit: ExitCell,
}

impl Machine {
    /// A created task, which reports `pid` until a process of its own runs.
    #[must_use]
    pub(crate) fn new(pid: u32) -> Machine {
        Machine {
            phase: Phase::Created,
            pid,
            exit: ExitCell::default(),
        }
    }

    #[must_use]
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    #[must_use]
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status' cell, to wait on without holding the task.
    #[must_use]
    pub(crate) fn exit(&self) -> &ExitCell {
        &self.exit
    }

    /// Whether [`Machine::start`] would do.
    ///
    /// # Errors
    /// [`StateError::Start`] in every phase but [`Phase::Created`].
    pub(crate) fn may_start(&self) -> Result<(), StateError> {
        self.require(Phase::Created, StateError::Start)
    }

    /// The process runs.
    ///
    /// # Errors
    /// See [`Machine::may_start`].
    pub(crate) fn start(&mut self, pid: u32) -> Result<(), StateError> {
        self.may_start()?;
        self.phase = Phase::Running;
        self.pid = pid;
        Ok(())
    }

    /// Whether [`Machine::pause`] would do.
    ///
    /// # Errors
    /// [`StateError::Pause`] in every phase but [`Phase::Running`].
    pub(crate) fn may_pause(&self) -> Result<(), StateError> {
        self.require(Phase::Running, StateError::Pause)
    }

    /// The process stands still.
    ///
    /// # Errors
    /// See [`Machine::may_pause`].
    pub(crate) fn pause(&mut self) -> Result<(), StateError> {
        self.may_pause()?;
        self.phase = Phase::Paused;
        Ok(())
    }

    /// Whether [`Machine::resume`] would do.
    ///
    /// # Errors
    /// [`StateError::Resume`] in every phase but [`Phase::Paused`].
    pub(crate) fn may_resume(&self) -> Result<(), StateError> {
        self.require(Phase::Paused, StateError::Resume)
    }

    /// The process goes on.
    ///
    /// # Errors
    /// See [`Machine::may_resume`].
    pub(crate) fn resume(&mut self) -> Result<(), StateError> {
        self.may_resume()?;
        self.phase = Phase::Running;
        Ok(())
    }

    fn require(&self, phase: Phase, refusal: fn(Phase) -> StateError) -> Result<(), StateError> {
        if self.phase == phase {
            return Ok(());
        }
        Err(refusal(self.phase))
    }

    /// The task has ended. Answers whether this was news; only then is there an event to send.
    pub(crate) fn stop(&mut self, exit: Exit) -> bool {
        let first = self.exit.set(exit);
        if matches!(self.phase, Phase::Created | Phase::Running | Phase::Paused) {
            self.phase = Phase::Stopped;
        }
        first
    }

    /// What a signal goes to.
    ///
    /// # Errors
    /// [`StateError::Finished`] once the task has ended.
    pub(crate) fn signal_target(&self) -> Result<Target, StateError> {
        match self.phase {
            Phase::Created => Ok(Target::Task),
            Phase::Running | Phase::Paused => Ok(Target::Process(self.pid)),
            Phase::Stopped | Phase::Deleted => Err(StateError::Finished),
        }
    }

    /// Whether [`Machine::delete`] would do.
    ///
    /// # Errors
    /// [`StateError::DeleteRunning`] while the process runs.
    pub(crate) fn may_delete(&self) -> Result<(), StateError> {
        match self.phase {
            Phase::Running | Phase::Paused if self.exit.get().is_none() => Err(StateError::DeleteRunning),
            _ => Ok(()),
        }
    }

    /// Ends the task's life. A task that never ran counts as killed.
    ///
    /// # Errors
    /// See [`Machine::may_delete`].
    pub(crate) fn delete(&mut self) -> Result<Exit, StateError> {
        self.may_delete()?;
        self.phase = Phase::Deleted;
        let killed = Exit::now(128 + 9);
        self.exit.set(killed);
        Ok(self.exit.get().unwrap_or(killed))
    }
}

/// The exit code of a process that `signal` would end, or `None` for a signal that is ignored by default or only
/// stops or continues a process (signal(7)).
#[must_use]
pub(crate) fn fatal_code(signal: u32) -> Option<u32> {
    let harmless = [0, libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT];
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let number = i32::try_from(signal).ok().filter(|n| *n <= 64)?;
    (!harmless.contains(&number) && !stops.contains(&number)).then_some(128 + signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_life() {
        let mut m = Machine::new(7);
        assert_eq!((m.phase(), m.pid()), (Phase::Created, 7));
        m.start(100).unwrap();
        assert_eq!(m.signal_target(), Ok(Target::Process(100)));
        assert_eq!(m.delete(), Err(StateError::DeleteRunning));
        assert!(m.stop(Exit::now(3)));
        assert_eq!(m.phase(), Phase::Stopped);
        assert_eq!(m.signal_target(), Err(StateError::Finished));
        assert_eq!(m.delete().unwrap().code, 3);
        assert_eq!(m.phase(), Phase::Deleted);
    }

    #[test]
    fn start_happens_once() {
        let mut m = Machine::new(7);
        m.start(100).unwrap();
        assert_eq!(m.start(101), Err(StateError::Start(Phase::Running)));
        m.stop(Exit::now(0));
        assert_eq!(m.start(101), Err(StateError::Start(Phase::Stopped)));
        assert_eq!(m.pid(), 100);
    }

    #[test]
    fn the_first_end_counts() {
        let mut m = Machine::new(7);
        m.start(100).unwrap();
        assert!(m.stop(Exit::now(137)));
        assert!(!m.stop(Exit::now(0)), "a second report is no news");
        assert_eq!(m.exit().get().unwrap().code, 137);
    }

    #[test]
    fn killed_or_deleted_before_its_start() {
        let mut m = Machine::new(7);
        assert_eq!(m.signal_target(), Ok(Target::Task));
        assert!(m.stop(Exit::now(143)));
        assert_eq!(m.may_start(), Err(StateError::Start(Phase::Stopped)));
        assert_eq!(m.delete().unwrap().code, 143);

        let mut m = Machine::new(7);
        assert_eq!(m.delete().unwrap().code, 137);
        assert_eq!(m.exit().get().unwrap().code, 137, "waiters are released");
    }

    #[test]
    fn pauses() {
        let mut m = Machine::new(7);
        assert_eq!(m.pause(), Err(StateError::Pause(Phase::Created)));
        m.start(100).unwrap();
        assert_eq!(m.resume(), Err(StateError::Resume(Phase::Running)));
        m.pause().unwrap();
        assert_eq!(m.may_pause(), Err(StateError::Pause(Phase::Paused)));
        assert_eq!(m.signal_target(), Ok(Target::Process(100)));
        assert_eq!(m.may_delete(), Err(StateError::DeleteRunning));
        m.resume().unwrap();
        m.pause().unwrap();
        assert!(m.stop(Exit::now(137)), "killed while it stood still");
        assert_eq!(m.phase(), Phase::Stopped);
    }

    #[test]
    fn signals() {
        assert_eq!(fatal_code(15), Some(143));
        assert_eq!(fatal_code(9), Some(137));
        for harmless in [0, 17, 18, 19, 20, 23, 28, 65, u32::MAX] {
            assert_eq!(fatal_code(harmless), None, "{harmless}");
        }
    }
}
