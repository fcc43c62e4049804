//! Messages between containerd and its shims, with the fields that the tests use: `BootstrapParams` (containerd
//! `api/runtime/bootstrap/v1`), the task service (`api/runtime/task/v3`) and the sandbox service
//! (`api/runtime/sandbox/v1`).

use prost::Message;

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// What containerd 2.3 and later write to the stdin of `start`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BootstrapParams {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// 0 is info, -4 debug.
    #[prost(int32, tag = "3")]
    pub log_level: i32,
    #[prost(string, tag = "4")]
    pub containerd_version: String,
    #[prost(string, tag = "5")]
    pub containerd_ttrpc_address: String,
    #[prost(string, tag = "6")]
    pub containerd_grpc_address: String,
    #[prost(string, tag = "7")]
    pub containerd_binary: String,
    #[prost(message, repeated, tag = "8")]
    pub extensions: Vec<Extension>,
    #[prost(string, optional, tag = "9")]
    pub socket_dir: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Extension {
    #[prost(message, optional, tag = "1")]
    pub value: Option<Any>,
}

/// What `start` answers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BootstrapResult {
    #[prost(int32, tag = "1")]
    pub version: i32,
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(string, tag = "3")]
    pub protocol: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateTaskRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(string, tag = "6")]
    pub stdout: String,
    #[prost(string, tag = "7")]
    pub stderr: String,
    #[prost(string, tag = "8")]
    pub checkpoint: String,
}

/// Of Start, Delete, State, Pids, Connect and Wait, and of all calls of the sandbox service but Create.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Id {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Of CreateTask and StartTask.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PidResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct KillRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint32, tag = "3")]
    pub signal: u32,
    #[prost(bool, tag = "4")]
    pub all: bool,
}

/// Of Wait and WaitSandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WaitResponse {
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
}

/// Of Delete, and what the action `delete` writes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    #[prost(uint32, tag = "2")]
    pub exit_status: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConnectResponse {
    #[prost(uint32, tag = "1")]
    pub shim_pid: u32,
    #[prost(uint32, tag = "2")]
    pub task_pid: u32,
    #[prost(string, tag = "3")]
    pub version: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateSandboxRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(string, tag = "2")]
    pub bundle_path: String,
    #[prost(message, optional, tag = "4")]
    pub options: Option<Any>,
    #[prost(string, tag = "5")]
    pub netns_path: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StartSandboxResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    #[prost(message, optional, tag = "2")]
    pub created_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PlatformResponse {
    #[prost(message, optional, tag = "1")]
    pub platform: Option<Platform>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Platform {
    #[prost(string, tag = "1")]
    pub os: String,
    #[prost(string, tag = "2")]
    pub architecture: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SandboxStatusResponse {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(string, tag = "3")]
    pub state: String,
    #[prost(message, optional, tag = "5")]
    pub created_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SandboxMetricsResponse {
    #[prost(message, optional, tag = "1")]
    pub metrics: Option<Metric>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Metric {
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(message, optional, tag = "3")]
    pub data: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Empty {}

/// Of containerd's events service, which the shim calls.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ForwardRequest {
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<Envelope>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Envelope {
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub topic: String,
}
