//! One task: a pod's sandbox, which is bookkeeping alone, or a container with its processes, each a program in a VM.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex};

use tokio::sync::Mutex;

use crate::cgroup::{self, Cgroup};
use crate::create::Container;
use crate::error::TaskError;
use crate::events::{Event, Publisher};
use crate::exit::{self, Exit, ExitCell};
use crate::mounts;
use crate::process::{Inner, Process, Ready};
use crate::record::{self, Record};
use crate::state::Phase;
use crate::stdio::Names;
use crate::termination;
use crate::verdict::Verdict;
use crate::vm::Vmm;

mod exec;

pub(crate) use exec::Exec;

/// A task that containerd knows.
pub(crate) struct Task {
    pub id: String,
    pub bundle: PathBuf,
    pub cgroup: Option<Cgroup>,
    pub main: Arc<Process>,
    /// By their exec ids; `None` for one that is being made.
    execs: StdMutex<BTreeMap<String, Option<Arc<Process>>>>,
    /// What exec starts from; `None` for a sandbox.
    pub container: Option<Container>,
    termination_log: Option<PathBuf>,
    events: Publisher,
    record: Mutex<Record>,
}

impl Task {
    /// A created task. `made` is `None` for a sandbox.
    pub(crate) fn new(
        record: Record,
        bundle: PathBuf,
        io: Names,
        terminal: bool,
        made: Option<(Ready, Container)>,
        events: Publisher,
    ) -> Task {
        let (ready, container) = made.unzip();
        Task {
            id: record.id.clone(),
            bundle,
            cgroup: container.as_ref().and_then(|c| c.cgroup.clone()),
            termination_log: ready.as_ref().and_then(|r| r.grant.termination_log.clone()),
            main: Process::new(record.id.clone(), io, terminal, ready),
            execs: StdMutex::default(),
            container,
            events,
            record: Mutex::new(record),
        }
    }

    /// Whether this is the pod's sandbox, which has no program.
    #[must_use]
    pub(crate) fn is_sandbox(&self) -> bool {
        self.container.is_none()
    }

    /// Notes a container of this sandbox, for the `delete` of a shim that was killed.
    ///
    /// # Errors
    /// [`TaskError::Record`].
    pub(crate) async fn add_member(&self, bundle: &Path) -> Result<(), TaskError> {
        self.save(|record| record.members.push(bundle.to_owned())).await
    }

    /// Forgets a container of this sandbox.
    ///
    /// # Errors
    /// [`TaskError::Record`].
    pub(crate) async fn remove_member(&self, bundle: &Path) -> Result<(), TaskError> {
        self.save(|record| record.members.retain(|member| member != bundle))
            .await
    }

    /// The main process (with an empty id), or one that exec has added.
    ///
    /// # Errors
    /// [`TaskError::NoProcess`], [`TaskError::Creating`].
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>, TaskError> {
        if exec_id.is_empty() {
            return Ok(Arc::clone(&self.main));
        }
        match self.execs().get(exec_id) {
            Some(Some(process)) => Ok(Arc::clone(process)),
            Some(None) => Err(TaskError::Creating(exec_id.to_owned())),
            None => Err(TaskError::NoProcess {
                id: self.id.clone(),
                exec_id: exec_id.to_owned(),
            }),
        }
    }

    /// Process ids: the main one's, even after its end, then those of the execs that run, with their ids.
    pub(crate) async fn pids(&self) -> Vec<(u32, String)> {
        let mut all = vec![(self.main.status().await.pid, String::new())];
        for (exec_id, process) in self.added() {
            let status = process.status().await;
            if status.phase.has_process() {
                all.push((status.pid, exec_id));
            }
        }
        all
    }

    /// Starts a process; answers its process id.
    ///
    /// # Errors
    /// [`TaskError::State`] for one that was started before, [`TaskError::Vm`] if the VMM cannot be started.
    pub(crate) async fn start(self: &Arc<Task>, exec_id: &str) -> Result<u32, TaskError> {
        let process = self.process(exec_id)?;
        let mut inner = process.turn().await;
        let vmm = process.start(&mut inner).await?;
        let pid = inner.machine.pid();
        if let Some(vmm) = &vmm {
            let saved = self.record_start(exec_id, pid).await;
            if let Err(error) = saved {
                // Without a record nobody would find the process after this one; better none than a stray one.
                let _ = vmm.killer().signal(libc::SIGKILL);
                log::error!("{error}");
            }
        } else {
            self.save(|record| record.phase = Phase::Running).await?;
        }
        let id = self.id.clone();
        self.events.publish(match exec_id {
            "" => Event::Start { id, pid },
            exec_id => Event::ExecStarted {
                id,
                exec_id: exec_id.to_owned(),
                pid,
            },
        });
        drop(inner);
        if let Some(vmm) = vmm {
            self.watch(process, exec_id.to_owned(), vmm);
        }
        Ok(pid)
    }

    /// Sends a signal to a process; with `all` to those that exec has added as well.
    ///
    /// # Errors
    /// [`TaskError::State`] for a process that has ended.
    pub(crate) async fn kill(&self, exec_id: &str, signal: u32, all: bool) -> Result<(), TaskError> {
        let process = self.process(exec_id)?;
        {
            let mut inner = process.turn().await;
            if let Some(exit) = process.kill(&inner, signal)? {
                self.ended(&process, &mut inner, exec_id, exit, false).await;
            }
        }
        if all && exec_id.is_empty() {
            for (exec_id, process) in self.added() {
                let mut inner = process.turn().await;
                if let Ok(Some(exit)) = process.kill(&inner, signal) {
                    self.ended(&process, &mut inner, &exec_id, exit, false).await;
                }
            }
        }
        if i32::try_from(signal) == Ok(libc::SIGKILL) {
            // In a frozen cgroup of version 1 not even this signal arrives. (Documentation/admin-guide/cgroup-v1)
            self.thaw().await;
        }
        Ok(())
    }

    /// Stops all vCPUs and threads of the container's VMs until [`Task::resume`].
    ///
    /// # Errors
    /// [`TaskError::NotRunning`], [`TaskError::NoCgroup`], [`TaskError::Cgroup`].
    pub(crate) async fn pause(&self) -> Result<(), TaskError> {
        let mut inner = self.main.turn().await;
        inner.machine.may_pause()?;
        self.freeze(true).await?;
        inner.machine.pause()?;
        self.save(|record| record.phase = Phase::Paused).await?;
        self.events.publish(Event::Paused { id: self.id.clone() });
        Ok(())
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    /// As for [`Task::pause`].
    pub(crate) async fn resume(&self) -> Result<(), TaskError> {
        let mut inner = self.main.turn().await;
        inner.machine.may_resume()?;
        self.freeze(false).await?;
        inner.machine.resume()?;
        self.save(|record| record.phase = Phase::Running).await?;
        self.events.publish(Event::Resumed { id: self.id.clone() });
        Ok(())
    }

    async fn freeze(&self, frozen: bool) -> Result<(), TaskError> {
        let Some(cgroup) = self.cgroup.clone() else {
            return Err(TaskError::NoCgroup(self.id.clone()));
        };
        let frozen = tokio::task::spawn_blocking(move || cgroup.freeze(frozen)).await;
        Ok(frozen.map_err(|_| TaskError::Panic(self.id.clone()))??)
    }

    async fn thaw(&self) {
        let phase = self.main.status().await.phase;
        if phase == Phase::Paused
            && let Err(error) = self.freeze(false).await
        {
            log::warn!("task {}: {error}", self.id);
        }
    }

    /// Releases all that the task has. The answer has its process id and exit status.
    ///
    /// # Errors
    /// [`TaskError::State`] while it runs.
    pub(crate) async fn delete(&self) -> Result<(u32, Exit), TaskError> {
        let mut inner = self.main.turn().await;
        inner.machine.may_delete()?;
        if inner.machine.phase() == Phase::Deleted {
            return Ok((inner.machine.pid(), inner.machine.delete()?));
        }
        inner.discard();
        self.end_execs().await;
        let record = self.record.lock().await.clone();
        // What cannot be removed is in the log; the task goes all the same, as `shim delete` will try once more.
        let released = tokio::task::spawn_blocking(move || release(&record)).await;
        let exit = inner.machine.delete()?;
        if matches!(released, Ok(true)) {
            // The record stays as long as the bundle, for its exit code. One that cannot be saved tells of less.
            let _ = self
                .save(|record| {
                    record.phase = Phase::Deleted;
                    record.process = None;
                    record.rootfs = None;
                    record.cgroups.clear();
                    record.exit = Some(exit);
                })
                .await;
        }
        let pid = inner.machine.pid();
        self.events.publish(Event::Delete {
            id: self.id.clone(),
            exec_id: String::new(),
            pid,
            exit,
        });
        Ok((pid, exit))
    }

    /// Waits for the VMM in the background. Whatever happens there, the exit status is filled.
    fn watch(self: &Arc<Task>, process: Arc<Process>, exec_id: String, vmm: Vmm) {
        let task = Arc::clone(self);
        let waiting = tokio::spawn(vmm.wait());
        let filled = Filled(process.exit().clone());
        tokio::spawn(async move {
            let ended = match waiting.await {
                Ok(Ok(ended)) => Some(ended),
                Ok(Err(error)) => {
                    log::error!("task {}: {error}", process.name);
                    None
                }
                Err(_) => {
                    log::error!("task {}: waiting for its VMM failed", process.name);
                    None
                }
            };
            let oom_kills = task.cgroup.as_ref().map_or(0, Cgroup::oom_kills);
            let verdict = Verdict::of(ended, oom_kills);
            if let Some(message) = &verdict.message {
                log::info!("task {} ended with {}: {message}", process.name, verdict.code);
                if let Some(path) = task.termination_log.as_ref().filter(|_| exec_id.is_empty()) {
                    termination::write(path, message);
                }
            }
            let exit = Exit::now(verdict.code);
            process.drained().await;
            let mut inner = process.turn().await;
            task.ended(&process, &mut inner, &exec_id, exit, verdict.out_of_memory)
                .await;
            drop(inner);
            if exec_id.is_empty() {
                task.end_execs().await;
            }
            drop(filled);
        });
    }

    async fn ended(
        &self,
        process: &Process,
        inner: &mut Inner,
        exec_id: &str,
        exit: Exit,
        out_of_memory: bool,
    ) {
        let pid = inner.machine.pid();
        if !inner.stop(exit) {
            return;
        }
        let saved = self
            .save(|record| match exec_id {
                "" => {
                    record.phase = Phase::Stopped;
                    record.exit = Some(exit);
                }
                _ => record.execs.retain(|exec| exec.pid != pid),
            })
            .await;
        if let Err(error) = saved {
            log::warn!("{}: {error}", process.name);
        }
        if out_of_memory {
            self.events.publish(Event::Oom { id: self.id.clone() });
        }
        self.events.publish(Event::Exit {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            pid,
            exit,
        });
    }

    async fn record_start(&self, exec_id: &str, pid: u32) -> Result<(), TaskError> {
        let process = record::Process::of(pid).ok();
        self.save(|record| match exec_id {
            "" => {
                record.phase = Phase::Running;
                record.process = process;
            }
            _ => record.execs.extend(process),
        })
        .await
    }

    async fn save(&self, change: impl FnOnce(&mut Record)) -> Result<(), TaskError> {
        let mut record = self.record.lock().await;
        change(&mut record);
        record.save(&self.bundle).map_err(|source| TaskError::Record {
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
    use super::*;

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
