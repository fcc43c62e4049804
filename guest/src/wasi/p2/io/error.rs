//! `wasi:io/error` and the error of streams.

use alloc::format;
use alloc::string::String;

use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, Lower, Resource};

use crate::vm::ring::Errno;
use crate::wasi::Host;
use crate::wasi::errno::EPIPE;
use crate::wasi::p2::Cx;
use crate::wasi::p2::http::ErrorCode;

/// `wasi:io/error.error`.
pub(in crate::wasi::p2) enum IoError {
    /// Of the host's files, sockets and standard streams.
    Errno(Errno),
    Http(ErrorCode),
}

/// `wasi:io/streams.stream-error`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(in crate::wasi::p2) enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

/// What the functions of streams answer with.
pub(super) type Streamed<T> = core::result::Result<T, StreamError>;

/// A failure of a stream, before it is a resource of the program.
pub(in crate::wasi::p2) enum Failure {
    Closed,
    Failed(IoError),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        match errno {
            // The reader has gone, which WASI calls the end of the stream.
            EPIPE => Failure::Closed,
            errno => Failure::Failed(IoError::Errno(errno)),
        }
    }
}

/// The answer for the program.
pub(super) fn streamed<T>(host: &mut Host, result: core::result::Result<T, Failure>) -> Result<Streamed<T>> {
    Ok(match result {
        Ok(value) => Ok(value),
        Err(Failure::Closed) => Err(StreamError::Closed),
        Err(Failure::Failed(error)) => Err(StreamError::LastOperationFailed(host.table.push(error)?)),
    })
}

pub(super) fn to_debug_string(cx: Cx<'_>, (error,): (Resource<IoError>,)) -> Result<(String,)> {
    Ok((match cx.data().table.get(&error)? {
        IoError::Errno(errno) => format!("I/O error {errno} of the host"),
        IoError::Http(code) => format!("ErrorCode::{code:?}"),
    },))
}
