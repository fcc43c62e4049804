//! The task service: each call of containerd's to the pod, and the answer back. No decision is made here.
//!
//! One table serves both names: containerd up to 1.7 calls `containerd.task.v2.Task`, later ones also
//! `containerd.task.v3.Task`, with the same messages.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest,
    PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
    StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, Status, UpdateTaskRequest,
    WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim_async::{Task as TaskService, create_task};
use containerd_shim_protos::ttrpc::Result;
use containerd_shim_protos::ttrpc::r#async::{Service, TtrpcContext};

use crate::cgroup::{Hierarchies, stats};
use crate::create::Request;
use crate::error::TaskError;
use crate::mounts::Mount;
use crate::pod::Pod;
use crate::process::Process;
use crate::state::Phase;
use crate::stdio::Names;
use crate::task::Exec;
use crate::time::timestamp;

/// The service's names, oldest first.
const NAMES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// The services to register with the ttrpc server.
#[must_use]
pub(crate) fn services(pod: &Arc<Pod>) -> HashMap<String, Service> {
    let table: Arc<dyn TaskService + Send + Sync> = Arc::new(Calls { pod: Arc::clone(pod) });
    let named = |name: &str| {
        let service = create_task(Arc::clone(&table)).into_values().next();
        service.map(|service| (name.to_owned(), service))
    };
    NAMES.into_iter().filter_map(named).collect()
}

struct Calls {
    pod: Arc<Pod>,
}

impl Calls {
    /// The process that a call is for: a task's main one, or one that exec has added.
    fn process(&self, id: &str, exec_id: &str) -> Result<Arc<Process>> {
        Ok(self.pod.task(id)?.process(exec_id)?)
    }
}

fn unsupported<T>(what: &'static str) -> Result<T> {
    Err(TaskError::Unsupported(what).into())
}

#[async_trait]
impl TaskService for Calls {
    async fn state(&self, _: &TtrpcContext, req: StateRequest) -> Result<StateResponse> {
        let task = self.pod.task(&req.id)?;
        let process = task.process(&req.exec_id)?;
        let status = process.status().await;
        let phase = match status.phase {
            Phase::Created => Status::CREATED,
            Phase::Running => Status::RUNNING,
            Phase::Paused => Status::PAUSED,
            Phase::Stopped | Phase::Deleted => Status::STOPPED,
        };
        Ok(StateResponse {
            id: req.id,
            exec_id: req.exec_id,
            bundle: task.bundle.display().to_string(),
            pid: status.pid,
            status: phase.into(),
            stdin: process.io.stdin.clone(),
            stdout: process.io.stdout.clone(),
            stderr: process.io.stderr.clone(),
            terminal: process.terminal,
            exit_status: status.exit.map_or(0, |exit| exit.code),
            exited_at: status.exit.map(|exit| timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn create(&self, _: &TtrpcContext, req: CreateTaskRequest) -> Result<CreateTaskResponse> {
        let mounts = req.rootfs;
        let rootfs = mounts.iter().map(|mount| Mount {
            kind: mount.type_.clone(),
            source: mount.source.clone(),
            target: mount.target.clone(),
            options: mount.options.clone(),
        });
        let request = Request {
            id: req.id,
            bundle: req.bundle.into(),
            rootfs: rootfs.collect(),
            terminal: req.terminal,
            io: Names {
                stdin: req.stdin,
                stdout: req.stdout,
                stderr: req.stderr,
            },
            checkpoint: req.checkpoint,
        };
        let pid = self.pod.create(request, mounts).await?;
        Ok(CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(&self, _: &TtrpcContext, req: StartRequest) -> Result<StartResponse> {
        let pid = self.pod.start(&req.id, &req.exec_id).await?;
        Ok(StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn delete(&self, _: &TtrpcContext, req: DeleteRequest) -> Result<DeleteResponse> {
        let (pid, exit) = match req.exec_id.as_str() {
            "" => self.pod.delete(&req.id).await?,
            exec_id => self.pod.task(&req.id)?.delete_exec(exec_id).await?,
        };
        Ok(DeleteResponse {
            pid,
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn pids(&self, _: &TtrpcContext, req: PidsRequest) -> Result<PidsResponse> {
        // The process is told of even after its end: a containerd that starts anew takes a task without processes for
        // one that was never created, and its exit code would be lost (containerd `core/runtime/v2/shim_load.go`,
        // "cleaning leaked shim process").
        let processes = self.pod.task(&req.id)?.pids().await;
        let processes = processes.into_iter().map(|(pid, _)| ProcessInfo {
            pid,
            ..Default::default()
        });
        Ok(PidsResponse {
            processes: processes.collect(),
            ..Default::default()
        })
    }

    async fn kill(&self, _: &TtrpcContext, req: KillRequest) -> Result<Empty> {
        let task = self.pod.task(&req.id)?;
        task.kill(&req.exec_id, req.signal, req.all).await?;
        Ok(Empty::default())
    }

    async fn close_io(&self, _: &TtrpcContext, req: CloseIORequest) -> Result<Empty> {
        let process = self.process(&req.id, &req.exec_id)?;
        if req.stdin {
            process.close_stdin().await;
        }
        Ok(Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, req: WaitRequest) -> Result<WaitResponse> {
        let exit = self.process(&req.id, &req.exec_id)?.exit().wait().await;
        Ok(WaitResponse {
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn stats(&self, _: &TtrpcContext, req: StatsRequest) -> Result<StatsResponse> {
        let task = self.pod.task(&req.id)?;
        let is_v2 = || matches!(Hierarchies::detect(), Hierarchies::V2(_));
        let metrics = match &task.cgroup {
            Some(cgroup) => stats::metrics(Some(cgroup), cgroup.is_v2()),
            None => stats::metrics(None, is_v2()),
        };
        Ok(StatsResponse {
            stats: MessageField::some(metrics),
            ..Default::default()
        })
    }

    async fn connect(&self, _: &TtrpcContext, req: ConnectRequest) -> Result<ConnectResponse> {
        let task_pid = match self.pod.task(&req.id) {
            Ok(task) => task.process("")?.status().await.pid,
            // containerd connects before it creates the task, too.
            Err(_) => std::process::id(),
        };
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> Result<Empty> {
        self.pod.shutdown();
        Ok(Empty::default())
    }

    async fn pause(&self, _: &TtrpcContext, req: PauseRequest) -> Result<Empty> {
        self.pod.task(&req.id)?.pause().await?;
        Ok(Empty::default())
    }

    async fn resume(&self, _: &TtrpcContext, req: ResumeRequest) -> Result<Empty> {
        self.pod.task(&req.id)?.resume().await?;
        Ok(Empty::default())
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> Result<Empty> {
        unsupported("checkpoint (a micro-VM's state cannot be moved to another process)")
    }

    async fn exec(&self, _: &TtrpcContext, req: ExecProcessRequest) -> Result<Empty> {
        // The value is JSON whatever its type is called (containerd `typeurl`).
        let spec = req.spec.as_ref().map(|any| any.value.as_slice());
        let process = serde_json::from_slice(spec.unwrap_or_default())
            .map_err(|e| TaskError::ExecSpec(e.to_string()))?;
        let exec = Exec {
            exec_id: req.exec_id,
            process,
            io: Names {
                stdin: req.stdin,
                stdout: req.stdout,
                stderr: req.stderr,
            },
            terminal: req.terminal,
        };
        self.pod.exec(&req.id, exec).await?;
        Ok(Empty::default())
    }

    async fn resize_pty(&self, _: &TtrpcContext, req: ResizePtyRequest) -> Result<Empty> {
        let process = self.process(&req.id, &req.exec_id)?;
        process.resize(req.width, req.height).await?;
        Ok(Empty::default())
    }

    async fn update(&self, _: &TtrpcContext, req: UpdateTaskRequest) -> Result<Empty> {
        // JSON, as exec's.
        let resources = req.resources.as_ref().map(|any| any.value.as_slice());
        let resources = serde_json::from_slice(resources.unwrap_or_default())
            .map_err(|e| TaskError::Resources(e.to_string()))?;
        self.pod.task(&req.id)?.update(resources).await?;
        Ok(Empty::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create::Context;
    use crate::events::Publisher;

    #[tokio::test(flavor = "current_thread")]
    async fn both_versions_offer_every_call() {
        let events = Publisher::start("/nonexistent", "test");
        let pod = Pod::new(Context {
            address: String::new(),
            namespace: "test".into(),
            events,
            network: std::sync::Arc::default(),
        });
        let services = services(&pod);
        for name in NAMES {
            assert_eq!(services[name].methods.len(), 17, "{name}");
        }
    }
}
