//! The tasks of one shim: a pod's sandbox and its containers, or a lone container.

use std::collections::HashMap;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_shim_protos::types::mount::Mount;
use tokio::sync::{Notify, oneshot};

use crate::create::{self, Context, Request};
use crate::error::TaskError;
use crate::events::Event;
use crate::exit::Exit;
use crate::sandbox;
use crate::task::{Exec, Task};

/// How long the daemon stays without any task. containerd creates the first right after the start; if it is killed in
/// between, nobody will ever create one, nor call Shutdown. (containerd 1.6 `runtime/v2/shim_load.go` keeps such a shim, 2.1
/// removes its bundle and forgets it.)
const UNUSED: Duration = Duration::from_secs(30);

/// How long the daemon stays after its last task for containerd's own Shutdown, which comes right after Delete.
const LINGER: Duration = Duration::from_secs(2);

/// How long a leaving daemon waits for its last events.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// Longest wait for the end of a container that was killed.
const KILLED: Duration = Duration::from_secs(10);

enum Slot {
    /// The create call is under way; the id is taken.
    Creating,
    Ready(Arc<Task>),
}

/// All tasks.
pub(crate) struct Pod {
    context: Context,
    tasks: Mutex<Tasks>,
    /// Notified when the daemon may leave.
    done: Notify,
    /// Notified when there may be no task any more.
    emptied: Notify,
    /// Whether containerd, should this process be killed, has only the sandbox cleaned up.
    keeps_members: AtomicBool,
}

#[derive(Default)]
struct Tasks {
    slots: HashMap<String, Slot>,
    /// Deleted tasks whose bundle is still there: containerd removes it last. One that dies before that looks for the
    /// task when it starts anew, and would lose the exit code if there were none.
    deleted: HashMap<String, Arc<Task>>,
    /// Tasks that were asked for so far.
    asked: u64,
    /// containerd has called Shutdown at least once. It does after each container's end, also while others of the
    /// pod still run, and not always once more after the last.
    shutdown_asked: bool,
}

impl Pod {
    /// A pod without tasks.
    #[must_use]
    pub(crate) fn new(context: Context) -> Arc<Pod> {
        Arc::new(Pod {
            context,
            tasks: Mutex::default(),
            done: Notify::new(),
            emptied: Notify::new(),
            keeps_members: AtomicBool::new(false),
        })
    }

    /// From now on the sandbox's record names its containers, as `delete` needs it from version 3 of the shim's protocol on:
    /// containerd calls it once for a pod. (containerd `core/runtime/v2/shim_manager.go`, `Start`)
    pub(crate) fn keep_members(&self) {
        self.keeps_members.store(true, Ordering::Relaxed);
    }

    /// The sandbox, if its record is to name its containers.
    fn keeper(&self) -> Option<Arc<Task>> {
        if !self.keeps_members.load(Ordering::Relaxed) {
            return None;
        }
        let tasks = self.tasks();
        let mut ready = tasks.slots.values().filter_map(|slot| match slot {
            Slot::Ready(task) => Some(task),
            Slot::Creating => None,
        });
        ready.find(|task| task.is_sandbox()).map(Arc::clone)
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        // No code that holds the lock can leave the map half changed.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a task; answers the process id that stands for it until its start.
    ///
    /// # Errors
    /// A [`TaskError`]; nothing of the task is left then.
    pub(crate) async fn create(
        self: &Arc<Pod>,
        request: Request,
        mounts: Vec<Mount>,
    ) -> Result<u32, TaskError> {
        let id = request.id.clone();
        {
            let mut tasks = self.tasks();
            if tasks.slots.contains_key(&id) {
                return Err(TaskError::Exists(id));
            }
            tasks.deleted.remove(&id);
            tasks.asked += 1;
            tasks.slots.insert(id.clone(), Slot::Creating);
        }
        // A call that times out is dropped wherever it waits. The work goes on apart from it, and if nobody takes the
        // result any more, it is undone.
        let (sender, result) = oneshot::channel();
        let pod = Arc::clone(self);
        tokio::spawn(async move { pod.create_apart(request, mounts, sender).await });
        result.await.unwrap_or(Err(TaskError::Panic(id)))
    }

    async fn create_apart(
        self: Arc<Pod>,
        request: Request,
        mounts: Vec<Mount>,
        sender: oneshot::Sender<Result<u32, TaskError>>,
    ) {
        let (id, io) = (request.id.clone(), request.io.clone());
        let mut taken = Reservation {
            pod: &self,
            id: Some(&id),
        };
        let bundle = request.bundle.clone();
        let keeper = self.keeper();
        // Before anything is made, so that nothing of it can be overlooked.
        let noted = match &keeper {
            Some(sandbox) => sandbox.add_member(&bundle).await,
            None => Ok(()),
        };
        let created = match noted {
            Ok(()) => create::create(&self.context, request).await,
            Err(error) => Err(error),
        };
        if let (Some(sandbox), Err(_)) = (&keeper, &created) {
            let _ = sandbox.remove_member(&bundle).await;
        }
        let task = match created {
            Ok(task) => Arc::new(task),
            Err(error) => {
                log::warn!("task {id}: {error}");
                drop(taken);
                let _ = sender.send(Err(error));
                return;
            }
        };
        if sender.is_closed() {
            log::warn!("task {id}: the create call was given up");
            let _ = task.delete().await;
            return;
        }
        taken.id = None;
        drop(taken);
        self.tasks()
            .slots
            .insert(id.clone(), Slot::Ready(Arc::clone(&task)));
        let pid = std::process::id();
        self.context.events.publish(Event::Create {
            id,
            bundle: task.bundle.display().to_string(),
            rootfs: mounts,
            io,
            pid,
        });
        let _ = sender.send(Ok(pid));
    }

    /// Makes the sandbox by the sandbox API. It counts as a task, so that the daemon stays.
    ///
    /// # Errors
    /// A [`TaskError`]; nothing of the sandbox is left then.
    pub(crate) fn create_sandbox(&self, request: sandbox::Request) -> Result<(), TaskError> {
        let mut tasks = self.tasks();
        if tasks.slots.contains_key(&request.id) {
            return Err(TaskError::Exists(request.id));
        }
        let id = request.id.clone();
        let task = create::sandbox(&self.context, request)?;
        tasks.asked += 1;
        tasks.slots.insert(id, Slot::Ready(Arc::new(task)));
        Ok(())
    }

    /// Ends all containers, and waits for their ends.
    pub(crate) async fn end_containers(&self) {
        let containers = self.containers();
        for task in &containers {
            // One that has ended already is no error.
            let _ = task.kill("", libc::SIGKILL.unsigned_abs(), true).await;
        }
        for task in &containers {
            if let Ok(process) = task.process("")
                && tokio::time::timeout(KILLED, process.exit().wait()).await.is_err()
            {
                log::error!("task {} does not end after SIGKILL", task.id);
            }
        }
    }

    /// Ends and deletes all, and lets the daemon leave.
    pub(crate) async fn dismantle(self: &Arc<Pod>, sandbox: &str) {
        self.end_containers().await;
        let containers = self.containers();
        for id in containers.iter().map(|task| task.id.as_str()).chain([sandbox]) {
            if let Ok(task) = self.task(id) {
                let _ = task.kill("", libc::SIGKILL.unsigned_abs(), true).await;
                if let Err(error) = self.delete(id).await {
                    log::warn!("task {id}: {error}");
                }
            }
        }
        self.done.notify_one();
    }

    /// All tasks but the sandbox.
    fn containers(&self) -> Vec<Arc<Task>> {
        let tasks = self.tasks();
        let ready = tasks.slots.values().filter_map(|slot| match slot {
            Slot::Ready(task) => Some(task),
            Slot::Creating => None,
        });
        ready.filter(|task| !task.is_sandbox()).map(Arc::clone).collect()
    }

    /// The task with this id.
    ///
    /// # Errors
    /// [`TaskError::NoTask`], [`TaskError::Creating`].
    pub(crate) fn task(&self, id: &str) -> Result<Arc<Task>, TaskError> {
        let tasks = self.tasks();
        match tasks.slots.get(id) {
            Some(Slot::Ready(task)) => Ok(Arc::clone(task)),
            Some(Slot::Creating) => Err(TaskError::Creating(id.to_owned())),
            None => {
                let deleted = tasks.deleted.get(id).filter(|task| task.bundle.exists());
                deleted.cloned().ok_or_else(|| TaskError::NoTask(id.to_owned()))
            }
        }
    }

    /// Adds a process to a task, whether or not the caller stays for the answer.
    ///
    /// # Errors
    /// A [`TaskError`].
    pub(crate) async fn exec(&self, id: &str, exec: Exec) -> Result<(), TaskError> {
        let task = self.task(id)?;
        let added = tokio::spawn(async move { task.exec(exec).await });
        added.await.map_err(|_| TaskError::Panic(id.to_owned()))?
    }

    /// Starts a process of a task, whether or not the caller stays for the answer.
    ///
    /// # Errors
    /// A [`TaskError`].
    pub(crate) async fn start(&self, id: &str, exec_id: &str) -> Result<u32, TaskError> {
        let task = self.task(id)?;
        let exec_id = exec_id.to_owned();
        let started = tokio::spawn(async move { task.start(&exec_id).await });
        started.await.map_err(|_| TaskError::Panic(id.to_owned()))?
    }

    /// Deletes a task; answers its process id and exit status.
    ///
    /// # Errors
    /// A [`TaskError`].
    pub(crate) async fn delete(self: &Arc<Pod>, id: &str) -> Result<(u32, Exit), TaskError> {
        let task = self.task(id)?;
        let (pod, id) = (Arc::clone(self), id.to_owned());
        let name = id.clone();
        let deleted = tokio::spawn(async move {
            let answer = task.delete().await?;
            if let Some(sandbox) = pod.keeper().filter(|_| !task.is_sandbox())
                && let Err(error) = sandbox.remove_member(&task.bundle).await
            {
                log::warn!("task {id}: {error}");
            }
            pod.forget(&id);
            Ok(answer)
        });
        deleted.await.map_err(|_| TaskError::Panic(name))?
    }

    /// containerd needs the shim no longer, as far as this connection is concerned.
    pub(crate) fn shutdown(&self) {
        let mut tasks = self.tasks();
        tasks.shutdown_asked = true;
        if tasks.slots.is_empty() {
            self.done.notify_one();
        }
    }

    /// Waits until the daemon may leave, and for its last events.
    pub(crate) async fn wait_done(&self) {
        tokio::select! {
            () = self.done.notified() => {}
            () = self.unused(UNUSED) => log::warn!("nobody has asked for a task in {UNUSED:?}"),
        }
        self.context.events.flush(LAST_EVENTS).await;
    }

    /// Waits until there has been no task for so long, nor one that containerd may still ask for.
    async fn unused(&self, limit: Duration) {
        loop {
            let asked = self.tasks().asked;
            tokio::time::sleep(limit).await;
            let empty = {
                let tasks = self.tasks();
                let awaited = tasks.deleted.values().any(|task| task.bundle.exists());
                if tasks.slots.is_empty() && tasks.asked == asked && !awaited {
                    return;
                }
                tasks.slots.is_empty()
            };
            if !empty {
                self.emptied.notified().await;
            }
        }
    }

    fn forget(self: &Arc<Pod>, id: &str) {
        let leave = {
            let mut tasks = self.tasks();
            tasks.deleted.retain(|_, task| task.bundle.exists());
            if let Some(Slot::Ready(task)) = tasks.slots.remove(id) {
                tasks.deleted.insert(id.to_owned(), task);
            }
            if tasks.slots.is_empty() {
                self.emptied.notify_one();
            }
            tasks.shutdown_asked && tasks.slots.is_empty()
        };
        if leave {
            let pod = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(LINGER).await;
                if pod.tasks().slots.is_empty() {
                    pod.done.notify_one();
                }
            });
        }
    }
}

/// An id that is taken while its task is made, and free again however that ends.
struct Reservation<'a> {
    pod: &'a Arc<Pod>,
    /// `None` once the task has its place.
    id: Option<&'a str>,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.pod.forget(id);
        }
    }
}

#[cfg(test)]
mod tests;
