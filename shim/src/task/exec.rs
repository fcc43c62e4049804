//! Processes that exec adds to a container: each another Wasm file of its image, in a VM of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Task;
use crate::create;
use crate::error::TaskError;
use crate::events::Event;
use crate::exit::Exit;
use crate::process::Process;
use crate::spec;
use crate::state::Phase;
use crate::stdio::Names;

/// What exec asks for.
pub(crate) struct Exec {
    pub exec_id: String,
    pub process: spec::Process,
    pub io: Names,
    pub terminal: bool,
}

impl Task {
    /// Adds a process: compiles its program, so that what is no Wasm file is refused here.
    ///
    /// # Errors
    /// [`TaskError::NotRunning`] unless the container runs, [`TaskError::Exists`], and those of a create.
    pub(crate) async fn exec(self: &Arc<Task>, asked: Exec) -> Result<(), TaskError> {
        let phase = self.main.status().await.phase;
        let Some(container) = self.container.as_ref().filter(|_| phase == Phase::Running) else {
            return Err(TaskError::NotRunning {
                id: self.id.clone(),
                phase,
            });
        };
        let exec_id = asked.exec_id.clone();
        {
            let mut execs = self.execs();
            if execs.contains_key(&exec_id) {
                return Err(TaskError::Exists(exec_id));
            }
            execs.insert(exec_id.clone(), None);
        }
        let mut taken = Taken {
            task: self,
            exec_id: Some(&exec_id),
        };
        let (io, terminal) = (asked.io.clone(), asked.terminal);
        let ready = create::exec(container, asked).await?;
        let name = format!("{}/{exec_id}", self.id);
        let process = Process::new(name, io, terminal, Some(ready));
        taken.exec_id = None;
        drop(taken);
        let memory = container.memory.lock().await;
        process.set_memory_limit(*memory).await;
        self.execs().insert(exec_id.clone(), Some(process));
        drop(memory);
        self.events.publish(Event::ExecAdded {
            id: self.id.clone(),
            exec_id,
        });
        Ok(())
    }

    /// Forgets a process that exec has added.
    ///
    /// # Errors
    /// [`TaskError::State`] while it runs.
    pub(crate) async fn delete_exec(&self, exec_id: &str) -> Result<(u32, Exit), TaskError> {
        let process = self.process(exec_id)?;
        let mut inner = process.turn().await;
        inner.machine.may_delete()?;
        inner.discard();
        let (exit, pid) = (inner.machine.delete()?, inner.machine.pid());
        self.execs().remove(exec_id);
        self.events.publish(Event::Delete {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            pid,
            exit,
        });
        Ok((pid, exit))
    }

    /// The processes that exec has added end with the main one, as those of a PID namespace do.
    pub(super) async fn end_execs(&self) {
        for (_, process) in self.added() {
            let inner = process.turn().await;
            let _ = process.kill(&inner, libc::SIGKILL.unsigned_abs());
        }
    }

    pub(crate) fn added(&self) -> Vec<(String, Arc<Process>)> {
        let made = |(id, process): (&String, &Option<Arc<Process>>)| Some((id.clone(), process.clone()?));
        self.execs().iter().filter_map(made).collect()
    }

    pub(super) fn execs(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<Process>>>> {
        // No code that holds the lock can leave the map half changed.
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exec id that is taken while its process is made, and free again however that ends.
struct Taken<'a> {
    task: &'a Task,
    /// `None` once the process has its place.
    exec_id: Option<&'a str>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(exec_id) = self.exec_id {
            self.task.execs().remove(exec_id);
        }
    }
}
