//! One task: a pod's sandbox, which is bookkeeping alone, or a container, which is a program in a VM.

use std::path::PathBuf;
use std::sync::Arc;

use mote_config::Reason;
use tokio::sync::Mutex;

use crate::cgroup::{self, Cgroup};
use crate::error::TaskError;
use crate::events::{Event, Publisher};
use crate::exit::{self, Exit, ExitCell};
use crate::grant::Grant;
use crate::mounts;
use crate::record::{Process, Record};
use crate::state::{Machine, Phase, Target, fatal_code};
use crate::stdio::{Names, Stdio};
use crate::termination;
use crate::vm::{Killer, Node, Program, Vmm};

/// A task that containerd knows.
pub(crate) struct Task {
    pub id: String,
    pub bundle: PathBuf,
    pub io: Names,
    pub cgroup: Option<Cgroup>,
    termination_log: Option<PathBuf>,
    exit: ExitCell,
    events: Publisher,
    /// Calls for one task follow each other; waiting for its end needs no turn.
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Machine,
    record: Record,
    /// What a start takes; `None` for a sandbox.
    ready: Option<Ready>,
    killer: Option<Killer>,
    /// See [`Stdio::stdin_keeper`].
    stdin_keeper: Option<std::fs::File>,
}

/// A compiled program with all that it is granted.
pub(crate) struct Ready {
    pub node: Arc<Node>,
    pub program: Program,
    pub grant: Grant,
    /// The root file system with its volumes.
    pub rootfs: PathBuf,
    pub stdio: Stdio,
}

/// What State answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub phase: Phase,
    pub pid: u32,
    pub exit: Option<Exit>,
}

impl Task {
    /// A created task. `ready` is `None` for a sandbox. Until a process of its own runs, the shim stands for it.
    pub(crate) fn new(
        record: Record,
        bundle: PathBuf,
        io: Names,
        cgroup: Option<Cgroup>,
        ready: Option<Ready>,
        events: Publisher,
    ) -> Task {
        let machine = Machine::new(std::process::id());
        Task {
            id: record.id.clone(),
            bundle,
            io,
            cgroup,
            termination_log: ready.as_ref().and_then(|r| r.grant.termination_log.clone()),
            exit: machine.exit().clone(),
            events,
            inner: Mutex::new(Inner {
                machine,
                record,
                ready,
                killer: None,
                stdin_keeper: None,
            }),
        }
    }

    /// Where the task stands.
    pub(crate) async fn status(&self) -> Status {
        let inner = self.inner.lock().await;
        Status {
            phase: inner.machine.phase(),
            pid: inner.machine.pid(),
            exit: self.exit.get(),
        }
    }

    /// Waits for the end.
    pub(crate) async fn wait(&self) -> Exit {
        self.exit.wait().await
    }

    /// Starts the program; answers its process id.
    ///
    /// # Errors
    /// [`TaskError::State`] for a task that was started before, [`TaskError::Vm`] if the VMM cannot be started.
    pub(crate) async fn start(self: &Arc<Task>) -> Result<u32, TaskError> {
        let mut inner = self.inner.lock().await;
        inner.machine.may_start()?;
        let Some(ready) = inner.ready.take() else {
            // A sandbox: the shim's own process stands for it, because containerd wants one.
            let pid = std::process::id();
            inner.machine.start(pid)?;
            self.save(&mut inner)?;
            self.events.publish(Event::Start {
                id: self.id.clone(),
                pid,
            });
            return Ok(pid);
        };
        let (id, directories) = (self.id.clone(), inner.record.cgroups.clone());
        let launched = tokio::task::spawn_blocking(move || {
            let vmm = ready.node.launch(
                &id,
                &ready.program,
                &ready.grant,
                &ready.rootfs,
                &ready.stdio,
                &directories,
            );
            vmm.map(|vmm| (vmm, ready.stdio.stdin_keeper))
        });
        let (vmm, stdin_keeper) = launched.await.map_err(|_| TaskError::Panic(self.id.clone()))??;
        let pid = vmm.pid();
        inner.machine.start(pid)?;
        inner.killer = Some(vmm.killer());
        inner.stdin_keeper = stdin_keeper;
        inner.record.process = Process::of(pid).ok();
        if let Err(error) = self.save(&mut inner) {
            // Without a record nobody would find the process after this one; better no container than a stray one.
            let _ = vmm.killer().signal(libc::SIGKILL);
            log::error!("{error}");
        }
        self.events.publish(Event::Start {
            id: self.id.clone(),
            pid,
        });
        drop(inner);
        self.watch(vmm);
        Ok(pid)
    }

    /// Sends a signal. On a sandbox, and before the start, it has the effect that it would have on a process.
    ///
    /// # Errors
    /// [`TaskError::State`] for a task that has ended.
    pub(crate) async fn kill(&self, signal: u32) -> Result<(), TaskError> {
        let number = i32::try_from(signal)
            .ok()
            .filter(|n| *n <= 64)
            .ok_or(TaskError::Signal(signal))?;
        let mut inner = self.inner.lock().await;
        let target = inner.machine.signal_target()?;
        if let (Target::Process(pid), Some(killer)) = (target, &inner.killer) {
            return match killer.signal(number) {
                // It ends this moment, and its status is on the way.
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                Err(source) => Err(TaskError::Kill { signal, pid, source }),
                Ok(()) => Ok(()),
            };
        }
        if let Some(code) = fatal_code(signal) {
            self.ended(&mut inner, Exit::now(code), false);
        }
        Ok(())
    }

    /// Lets the program see the end of its input once the client has closed it too.
    pub(crate) async fn close_stdin(&self) {
        let mut inner = self.inner.lock().await;
        inner.stdin_keeper = None;
        if let Some(ready) = &mut inner.ready {
            ready.stdio.stdin_keeper = None;
        }
    }

    /// Releases all that the task has. The answer has its process id and exit status.
    ///
    /// # Errors
    /// [`TaskError::State`] while it runs.
    pub(crate) async fn delete(&self) -> Result<(u32, Exit), TaskError> {
        let mut inner = self.inner.lock().await;
        inner.machine.may_delete()?;
        inner.ready = None;
        let record = inner.record.clone();
        // What cannot be removed is in the log; the task goes all the same, as `shim delete` will try once more.
        let released = tokio::task::spawn_blocking(move || release(&record)).await;
        let exit = inner.machine.delete()?;
        if matches!(released, Ok(true)) {
            Record::remove(&self.bundle);
        }
        let pid = inner.machine.pid();
        self.events.publish(Event::Delete {
            id: self.id.clone(),
            pid,
            exit,
        });
        Ok((pid, exit))
    }

    /// Waits for the VMM in the background. Whatever happens there, the exit status is filled.
    fn watch(self: &Arc<Task>, vmm: Vmm) {
        let task = Arc::clone(self);
        let waiting = tokio::spawn(vmm.wait());
        let filled = Filled(self.exit.clone());
        tokio::spawn(async move {
            let ended = match waiting.await {
                Ok(Ok(ended)) => Some(ended),
                Ok(Err(error)) => {
                    log::error!("task {}: {error}", task.id);
                    None
                }
                Err(_) => {
                    log::error!("task {}: waiting for its VMM failed", task.id);
                    None
                }
            };
            let oom_kills = task.cgroup.as_ref().map_or(0, Cgroup::oom_kills);
            let verdict = Verdict::of(ended, oom_kills);
            if let Some(message) = &verdict.message {
                log::info!("task {} ended with {}: {message}", task.id, verdict.code);
                if let Some(path) = &task.termination_log {
                    termination::write(path, message);
                }
            }
            let mut inner = task.inner.lock().await;
            task.ended(&mut inner, Exit::now(verdict.code), verdict.out_of_memory);
            drop(filled);
        });
    }

    fn ended(&self, inner: &mut Inner, exit: Exit, out_of_memory: bool) {
        let pid = inner.machine.pid();
        if !inner.machine.stop(exit) {
            return;
        }
        inner.killer = None;
        inner.stdin_keeper = None;
        inner.record.exit = Some(exit);
        if let Err(error) = self.save(inner) {
            log::warn!("{error}");
        }
        if out_of_memory {
            self.events.publish(Event::Oom { id: self.id.clone() });
        }
        self.events.publish(Event::Exit {
            id: self.id.clone(),
            pid,
            exit,
        });
    }

    fn save(&self, inner: &mut Inner) -> Result<(), TaskError> {
        inner.record.phase = inner.machine.phase();
        inner
            .record
            .save(&self.bundle)
            .map_err(|source| TaskError::Record {
                id: self.id.clone(),
                bundle: self.bundle.clone(),
                source,
            })
    }
}

/// Fills the exit status when it is dropped, should nothing have done so before: waiters never wait for ever.
struct Filled(ExitCell);

impl Drop for Filled {
    fn drop(&mut self) {
        self.0.set(Exit::now(exit::UNKNOWN));
    }
}

/// What the end of a VMM means for its container.
struct Verdict {
    code: u32,
    out_of_memory: bool,
    /// The reason, where the exit code alone does not tell it.
    message: Option<String>,
}

impl Verdict {
    fn of(ended: Option<mote_config::Exit>, oom_kills: u64) -> Verdict {
        let Some(ended) = ended else {
            return Verdict {
                code: exit::UNKNOWN,
                out_of_memory: false,
                message: Some("the shim lost track of the VMM; its log tells more".to_owned()),
            };
        };
        let code = u32::from(ended.code);
        match ended.reason {
            // The VM kept to its limit, but VMM and VM together did not, or the pod as a whole.
            Reason::Signal if ended.code == mote_config::exit::OOM && oom_kills > 0 => Verdict {
                code,
                out_of_memory: true,
                message: Some("killed by the kernel: the cgroup's memory limit was reached".to_owned()),
            },
            Reason::Exited | Reason::Signal => Verdict {
                code,
                out_of_memory: false,
                message: None,
            },
            Reason::OutOfMemory => Verdict {
                code,
                out_of_memory: true,
                message: ended.message,
            },
            Reason::Trap | Reason::Internal => Verdict {
                code,
                out_of_memory: false,
                message: ended.message,
            },
        }
    }
}

/// Undoes what `create` did to the host, by what the record says. Answers whether all is gone.
pub(crate) fn release(record: &Record) -> bool {
    let mut clean = true;
    if let Some(rootfs) = &record.rootfs {
        if let Err(error) = mounts::unmount_all(rootfs) {
            log::warn!("task {}: {error}", record.id);
            clean = false;
        }
        // The mount point was made by `create`; with something in it, it is not ours.
        let _ = std::fs::remove_dir(rootfs);
    }
    if let Err(error) = cgroup::remove(&record.cgroups) {
        log::warn!("task {}: {error}", record.id);
        clean = false;
    }
    clean
}

#[cfg(test)]
mod tests {
    use mote_config::Stats;

    use super::*;

    fn verdict(code: u8, reason: Reason, oom_kills: u64) -> (u32, bool, bool) {
        let message = Some("why".to_owned());
        let ended = mote_config::Exit {
            code,
            reason,
            message,
            stats: Stats::default(),
        };
        let verdict = Verdict::of(Some(ended), oom_kills);
        (verdict.code, verdict.out_of_memory, verdict.message.is_some())
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(verdict(42, Reason::Exited, 0), (42, false, false));
        assert_eq!(verdict(134, Reason::Trap, 0), (134, false, true));
        assert_eq!(verdict(137, Reason::OutOfMemory, 0), (137, true, true));
        assert_eq!(
            verdict(137, Reason::Signal, 0),
            (137, false, false),
            "a kill by the user"
        );
        assert_eq!(
            verdict(137, Reason::Signal, 1),
            (137, true, true),
            "a kill by the kernel"
        );
        assert_eq!(verdict(143, Reason::Signal, 1), (143, false, false));
        assert_eq!(verdict(125, Reason::Internal, 0), (125, false, true));
        assert_eq!(Verdict::of(None, 0).code, exit::UNKNOWN);
    }

    #[test]
    fn waiters_are_released_by_a_panic() {
        let cell = ExitCell::default();
        let filled = Filled(cell.clone());
        let died = std::thread::spawn(move || {
            let _filled = filled;
            panic!("on purpose");
        });
        assert!(died.join().is_err());
        assert_eq!(cell.get().map(|exit| exit.code), Some(exit::UNKNOWN));
    }
}
