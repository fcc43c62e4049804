//! What a task call can fail with, and the ttrpc status that says so.

use std::path::PathBuf;

use containerd_shim_protos::ttrpc::{self, Code};

use crate::cgroup::CgroupError;
use crate::image::ImageError;
use crate::mounts::MountError;
use crate::sandbox::FileError;
use crate::spec::SpecError;
use crate::state::{Phase, StateError};
use crate::stdio::StdioError;
use crate::sysctl::SysctlError;
use crate::vm::VmError;
use crate::volumes::VolumeError;

/// A failed task call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error(transparent)]
    Stdio(#[from] StdioError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("saving the state of task {id} in {bundle}: {source}")]
    Record {
        id: String,
        bundle: PathBuf,
        source: std::io::Error,
    },
    #[error("task {0:?} does not exist")]
    NoTask(String),
    #[error("task {0:?} exists already")]
    Exists(String),
    #[error("task {0:?} is still being created")]
    Creating(String),
    #[error("process {exec_id:?} of task {id:?} does not exist")]
    NoProcess { id: String, exec_id: String },
    #[error("task {id:?} is {}, and exec needs one that runs", .phase.name())]
    NotRunning { id: String, phase: Phase },
    #[error("{0:?} serves HTTP requests; exec runs commands")]
    ExecServes(String),
    #[error("exec without the process to run: {0}")]
    ExecSpec(String),
    #[error("the limits are not understood: {0}")]
    Resources(String),
    #[error("task {0:?} has no cgroup (linux.cgroupsPath) by which it could be paused")]
    NoCgroup(String),
    #[error("process {0:?} has no terminal")]
    NoTerminal(String),
    #[error("signal {0} does not exist")]
    Signal(u32),
    #[error("sending signal {signal} to process {pid}: {source}")]
    Kill {
        signal: u32,
        pid: u32,
        source: std::io::Error,
    },
    #[error("the sandbox's configuration cannot be read: {0}")]
    SandboxConfig(String),
    #[error("{0} is not supported by the mote runtime")]
    Unsupported(&'static str),
    #[error("the create request asks to restore from a checkpoint, which the mote runtime cannot do")]
    Restore,
    #[error("the shim failed while it worked on task {0:?}; its log tells more")]
    Panic(String),
}

impl TaskError {
    fn code(&self) -> Code {
        match self {
            TaskError::Spec(_) | TaskError::Image(_) | TaskError::Stdio(_) => Code::INVALID_ARGUMENT,
            TaskError::Signal(_) | TaskError::Restore | TaskError::ExecServes(_) => Code::INVALID_ARGUMENT,
            TaskError::ExecSpec(_) | TaskError::Resources(_) | TaskError::SandboxConfig(_) => {
                Code::INVALID_ARGUMENT
            }
            TaskError::NotRunning { .. } | TaskError::NoCgroup(_) => Code::FAILED_PRECONDITION,
            TaskError::NoTerminal(_) | TaskError::Sysctl(_) => Code::FAILED_PRECONDITION,
            TaskError::Vm(error) if error.is_refusal() => Code::INVALID_ARGUMENT,
            TaskError::Vm(_) => Code::FAILED_PRECONDITION,
            TaskError::State(StateError::Finished) => Code::NOT_FOUND,
            TaskError::State(_) | TaskError::Creating(_) => Code::FAILED_PRECONDITION,
            TaskError::NoTask(_) | TaskError::NoProcess { .. } => Code::NOT_FOUND,
            TaskError::Exists(_) => Code::ALREADY_EXISTS,
            TaskError::Unsupported(_) => Code::UNIMPLEMENTED,
            TaskError::Mount(_)
            | TaskError::Volume(_)
            | TaskError::File(_)
            | TaskError::Cgroup(_)
            | TaskError::Record { .. }
            | TaskError::Kill { .. }
            | TaskError::Panic(_) => Code::INTERNAL,
        }
    }
}

impl From<TaskError> for ttrpc::Error {
    fn from(error: TaskError) -> ttrpc::Error {
        ttrpc::Error::RpcStatus(ttrpc::get_status(error.code(), error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(error: TaskError) -> (Code, String) {
        match ttrpc::Error::from(error) {
            ttrpc::Error::RpcStatus(status) => (status.code(), status.message),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn codes_that_containerd_acts_on() {
        let finished = status(StateError::Finished.into());
        assert_eq!(finished, (Code::NOT_FOUND, "process already finished".into()));
        assert_eq!(status(TaskError::NoTask("a".into())).0, Code::NOT_FOUND);
        assert_eq!(status(TaskError::Unsupported("pause")).0, Code::UNIMPLEMENTED);
        // containerd 2.x takes UNIMPLEMENTED from Create for a shim of an older version and asks again.
        assert_eq!(status(TaskError::Restore).0, Code::INVALID_ARGUMENT);
    }
}
