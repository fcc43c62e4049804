//! CRI, version 1, as the kubelet speaks it: gRPC over containerd's socket.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::containerd::Containerd;

pub mod log;
pub mod messages;
pub mod stream;

use messages::*;

/// A client. Calls block; many threads may use one.
#[derive(Clone, Debug)]
pub struct Cri {
    channel: Channel,
}

impl Cri {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(daemon: &Containerd) -> Result<Cri> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", daemon.socket().display()))?
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(120));
        let channel = runtime().block_on(endpoint.connect()).context("CRI")?;
        Ok(Cri { channel })
    }

    /// Calls a method of the runtime service; the types of request and response go with its name.
    fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        runtime().block_on(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let path = http::uri::PathAndQuery::from_static(method);
            let codec = ProstCodec::<Q, A>::default();
            Ok(grpc.unary(Request::new(request), path, codec).await?.into_inner())
        })
    }
}

/// Defines a blocking method for each remote one.
macro_rules! methods {
    ($service:literal: $($name:ident = $remote:literal: $request:ty => $response:ty;)*) => {
        impl Cri {
            $(
                #[doc = concat!("`", $remote, "`.")]
                ///
                /// # Errors
                /// The runtime's.
                pub fn $name(&self, request: $request) -> Result<$response, Status> {
                    self.call(concat!("/runtime.v1.", $service, "/", $remote), request)
                }
            )*
        }
    };
}

methods! {
    "ImageService":
    image_status = "ImageStatus": ImageStatusRequest => ImageStatusResponse;
}

methods! {
    "RuntimeService":
    version = "Version": VersionRequest => VersionResponse;
    status = "Status": StatusRequest => StatusResponse;
    run_pod_sandbox = "RunPodSandbox": RunPodSandboxRequest => PodSandboxId;
    stop_pod_sandbox = "StopPodSandbox": PodSandboxId => Empty;
    remove_pod_sandbox = "RemovePodSandbox": PodSandboxId => Empty;
    pod_sandbox_status = "PodSandboxStatus": PodSandboxId => PodSandboxStatusResponse;
    list_pod_sandbox = "ListPodSandbox": Empty => ListPodSandboxResponse;
    create_container = "CreateContainer": CreateContainerRequest => ContainerId;
    start_container = "StartContainer": ContainerId => Empty;
    stop_container = "StopContainer": StopContainerRequest => Empty;
    remove_container = "RemoveContainer": ContainerId => Empty;
    exec_sync = "ExecSync": ExecSyncRequest => ExecSyncResponse;
    exec = "Exec": ExecRequest => StreamUrl;
    attach = "Attach": AttachRequest => StreamUrl;
    container_stats = "ContainerStats": ContainerId => ContainerStatsResponse;
    list_container_stats = "ListContainerStats": ListContainerStatsRequest => ListContainerStatsResponse;
    pod_sandbox_stats = "PodSandboxStats": PodSandboxId => PodSandboxStatsResponse;
    checkpoint_container = "CheckpointContainer": CheckpointContainerRequest => Empty;
    update_container_resources = "UpdateContainerResources": UpdateContainerResourcesRequest => Empty;
    container_status = "ContainerStatus": ContainerId => ContainerStatusResponse;
    list_containers = "ListContainers": Empty => ListContainersResponse;
}

/// One set of threads for the I/O of all clients.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        match built {
            Ok(runtime) => runtime,
            Err(error) => panic!("no I/O threads: {error}"),
        }
    })
}
