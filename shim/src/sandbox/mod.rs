//! The sandbox service, `containerd.runtime.sandbox.v1.Sandbox`: what containerd 2.x calls instead of making a task for
//! the pod's sandbox, where the runtime's table says `sandboxer = "shim"`.
//!
//! The sandbox is bookkeeping here as well. Its containers come as tasks to the same daemon, which the sandbox's id in
//! their specs leads to.

mod config;
mod files;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, StopSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
};
use containerd_shim_protos::sandbox_async::{Sandbox as SandboxService, create_sandbox};
use containerd_shim_protos::ttrpc::Result;
use containerd_shim_protos::ttrpc::r#async::{Service, TtrpcContext};

use crate::cgroup::{Cgroup, Hierarchies, stats};
use crate::error::TaskError;
use crate::pod::Pod;
use crate::spec::{Mount, Namespace};
use crate::state::{Phase, StateError};
use crate::task::Task;
use crate::time::timestamp;

pub(crate) use config::PodSandboxConfig;
pub(crate) use files::{FileError, write_files};

/// What CRI calls a sandbox that containers can be made in, and one that is none any more. (CRI `api.proto`,
/// PodSandboxState)
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

/// What containerd asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub id: String,
    pub bundle: PathBuf,
    /// The pod's network namespace; empty for the host's.
    pub netns: PathBuf,
    pub config: PodSandboxConfig,
}

/// What a pod's sandbox gives to its containers.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodNetwork {
    /// `None` is the host's.
    pub namespace: Option<Namespace>,
    /// `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`, where their own specs have none.
    pub files: Vec<Mount>,
}

/// The service to register with the ttrpc server.
#[must_use]
pub(crate) fn service(pod: &Arc<Pod>) -> HashMap<String, Service> {
    create_sandbox(Arc::new(Calls {
        pod: Arc::clone(pod),
        created: OnceLock::new(),
    }))
}

struct Calls {
    pod: Arc<Pod>,
    /// A daemon has one sandbox.
    created: OnceLock<Created>,
}

struct Created {
    at: SystemTime,
    /// The pod's cgroup, which the kubelet made.
    cgroup: String,
}

impl Calls {
    /// The sandbox. Nothing else has a sandbox's calls.
    fn sandbox(&self, id: &str) -> std::result::Result<Arc<Task>, TaskError> {
        let task = self.pod.task(id)?;
        if self.created.get().is_none() || !task.is_sandbox() {
            return Err(TaskError::NoTask(id.to_owned()));
        }
        Ok(task)
    }

    fn created_at(&self) -> SystemTime {
        self.created
            .get()
            .map_or(SystemTime::UNIX_EPOCH, |created| created.at)
    }
}

#[async_trait]
impl SandboxService for Calls {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        req: CreateSandboxRequest,
    ) -> Result<CreateSandboxResponse> {
        let config = PodSandboxConfig::from_options(req.options.as_ref())?;
        let cgroup = config.cgroup_parent().to_owned();
        self.pod.create_sandbox(Request {
            id: req.sandbox_id,
            bundle: req.bundle_path.into(),
            netns: req.netns_path.into(),
            config,
        })?;
        let _ = self.created.set(Created {
            at: SystemTime::now(),
            cgroup,
        });
        Ok(CreateSandboxResponse::default())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        req: StartSandboxRequest,
    ) -> Result<StartSandboxResponse> {
        self.sandbox(&req.sandbox_id)?;
        let pid = self.pod.start(&req.sandbox_id, "").await?;
        Ok(StartSandboxResponse {
            pid,
            created_at: MessageField::some(timestamp(self.created_at())),
            ..Default::default()
        })
    }

    /// containerd makes specs and reads metrics by it: those of Linux, which is what the shim understands and counts.
    async fn platform(&self, _: &TtrpcContext, req: PlatformRequest) -> Result<PlatformResponse> {
        self.sandbox(&req.sandbox_id)?;
        let mut response = PlatformResponse::default();
        let platform = response.platform.mut_or_insert_default();
        platform.os = "linux".to_owned();
        platform.architecture = "amd64".to_owned();
        Ok(response)
    }

    async fn stop_sandbox(&self, _: &TtrpcContext, req: StopSandboxRequest) -> Result<StopSandboxResponse> {
        let sandbox = self.sandbox(&req.sandbox_id)?;
        let pod = Arc::clone(&self.pod);
        // Done to its end, whether or not the caller stays for the answer.
        let stopped = tokio::spawn(async move {
            pod.end_containers().await;
            sandbox.kill("", libc::SIGTERM.unsigned_abs(), false).await
        });
        match stopped.await.map_err(|_| TaskError::Panic(req.sandbox_id))? {
            Ok(()) | Err(TaskError::State(StateError::Finished)) => Ok(StopSandboxResponse::default()),
            Err(error) => Err(error.into()),
        }
    }

    async fn wait_sandbox(&self, _: &TtrpcContext, req: WaitSandboxRequest) -> Result<WaitSandboxResponse> {
        let exit = self.sandbox(&req.sandbox_id)?.process("")?.exit().wait().await;
        Ok(WaitSandboxResponse {
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        req: SandboxStatusRequest,
    ) -> Result<SandboxStatusResponse> {
        let status = self.sandbox(&req.sandbox_id)?.process("")?.status().await;
        let state = match status.phase {
            Phase::Running => READY,
            _ => NOT_READY,
        };
        let mut info = HashMap::new();
        if req.verbose {
            let text = serde_json::json!({"pid": status.pid, "processStatus": status.phase.name()});
            info.insert("info".to_owned(), text.to_string());
        }
        Ok(SandboxStatusResponse {
            sandbox_id: req.sandbox_id,
            pid: status.pid,
            state: state.to_owned(),
            info,
            created_at: MessageField::some(timestamp(self.created_at())),
            exited_at: status.exit.map(|exit| timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn ping_sandbox(&self, _: &TtrpcContext, req: PingRequest) -> Result<PingResponse> {
        self.sandbox(&req.sandbox_id)?;
        Ok(PingResponse::default())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        req: ShutdownSandboxRequest,
    ) -> Result<ShutdownSandboxResponse> {
        // Also after a create that failed: the daemon has to leave then, too.
        let pod = Arc::clone(&self.pod);
        let id = req.sandbox_id.clone();
        let gone = tokio::spawn(async move { pod.dismantle(&id).await });
        gone.await.map_err(|_| TaskError::Panic(req.sandbox_id))?;
        Ok(ShutdownSandboxResponse::default())
    }

    /// The figures of the pod's cgroup.
    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        req: SandboxMetricsRequest,
    ) -> Result<SandboxMetricsResponse> {
        self.sandbox(&req.sandbox_id)?;
        let path = self.created.get().map_or("", |created| created.cgroup.as_str());
        let cgroup = Cgroup::named(path).map_err(TaskError::from)?;
        let is_v2 = matches!(Hierarchies::detect(), Hierarchies::V2(_));
        let mut response = SandboxMetricsResponse::default();
        let metrics = response.metrics.mut_or_insert_default();
        metrics.id = req.sandbox_id;
        metrics.timestamp = MessageField::some(timestamp(SystemTime::now()));
        metrics.data = MessageField::some(stats::metrics(cgroup.as_ref(), is_v2));
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
