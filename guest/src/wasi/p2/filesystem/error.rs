//! `wasi:filesystem/types.error-code`.

use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, Lower, Resource};

use crate::vm::ring::Errno;
use crate::wasi::p2::Cx;
use crate::wasi::p2::io::IoError;

/// `wasi:filesystem/types.error-code`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum ErrorCode {
    #[component(name = "access")]
    Access,
    #[component(name = "would-block")]
    WouldBlock,
    #[component(name = "already")]
    Already,
    #[component(name = "bad-descriptor")]
    BadDescriptor,
    #[component(name = "busy")]
    Busy,
    #[component(name = "deadlock")]
    Deadlock,
    #[component(name = "quota")]
    Quota,
    #[component(name = "exist")]
    Exist,
    #[component(name = "file-too-large")]
    FileTooLarge,
    #[component(name = "illegal-byte-sequence")]
    IllegalByteSequence,
    #[component(name = "in-progress")]
    InProgress,
    #[component(name = "interrupted")]
    Interrupted,
    #[component(name = "invalid")]
    Invalid,
    #[component(name = "io")]
    Io,
    #[component(name = "is-directory")]
    IsDirectory,
    #[component(name = "loop")]
    Loop,
    #[component(name = "too-many-links")]
    TooManyLinks,
    #[component(name = "message-size")]
    MessageSize,
    #[component(name = "name-too-long")]
    NameTooLong,
    #[component(name = "no-device")]
    NoDevice,
    #[component(name = "no-entry")]
    NoEntry,
    #[component(name = "no-lock")]
    NoLock,
    #[component(name = "insufficient-memory")]
    InsufficientMemory,
    #[component(name = "insufficient-space")]
    InsufficientSpace,
    #[component(name = "not-directory")]
    NotDirectory,
    #[component(name = "not-empty")]
    NotEmpty,
    #[component(name = "not-recoverable")]
    NotRecoverable,
    #[component(name = "unsupported")]
    Unsupported,
    #[component(name = "no-tty")]
    NoTty,
    #[component(name = "no-such-device")]
    NoSuchDevice,
    #[component(name = "overflow")]
    Overflow,
    #[component(name = "not-permitted")]
    NotPermitted,
    #[component(name = "pipe")]
    Pipe,
    #[component(name = "read-only")]
    ReadOnly,
    #[component(name = "invalid-seek")]
    InvalidSeek,
    #[component(name = "text-file-busy")]
    TextFileBusy,
    #[component(name = "cross-device")]
    CrossDevice,
}

/// What the functions of the filesystem answer with.
pub(super) type Answer<T> = Result<(core::result::Result<T, ErrorCode>,)>;

/// Numbers of Linux. (asm-generic/errno-base.h, asm-generic/errno.h)
impl From<Errno> for ErrorCode {
    fn from(linux: Errno) -> ErrorCode {
        match linux {
            1 => ErrorCode::NotPermitted,
            2 => ErrorCode::NoEntry,
            4 => ErrorCode::Interrupted,
            6 => ErrorCode::NoSuchDevice,
            9 => ErrorCode::BadDescriptor,
            11 => ErrorCode::WouldBlock,
            12 => ErrorCode::InsufficientMemory,
            13 => ErrorCode::Access,
            16 => ErrorCode::Busy,
            17 => ErrorCode::Exist,
            18 => ErrorCode::CrossDevice,
            19 => ErrorCode::NoDevice,
            20 => ErrorCode::NotDirectory,
            21 => ErrorCode::IsDirectory,
            22 => ErrorCode::Invalid,
            25 => ErrorCode::NoTty,
            26 => ErrorCode::TextFileBusy,
            27 => ErrorCode::FileTooLarge,
            28 => ErrorCode::InsufficientSpace,
            29 => ErrorCode::InvalidSeek,
            30 => ErrorCode::ReadOnly,
            31 => ErrorCode::TooManyLinks,
            32 => ErrorCode::Pipe,
            35 => ErrorCode::Deadlock,
            36 => ErrorCode::NameTooLong,
            37 => ErrorCode::NoLock,
            38 | 95 => ErrorCode::Unsupported,
            39 => ErrorCode::NotEmpty,
            40 => ErrorCode::Loop,
            75 => ErrorCode::Overflow,
            84 => ErrorCode::IllegalByteSequence,
            90 => ErrorCode::MessageSize,
            114 => ErrorCode::Already,
            115 => ErrorCode::InProgress,
            122 => ErrorCode::Quota,
            131 => ErrorCode::NotRecoverable,
            _ => ErrorCode::Io,
        }
    }
}

pub(super) fn filesystem_error_code(
    cx: Cx<'_>,
    (error,): (Resource<IoError>,),
) -> Result<(Option<ErrorCode>,)> {
    let code = match cx.data().table.get(&error)? {
        IoError::Errno(errno) => Some(ErrorCode::from(*errno)),
        IoError::Http(_) => None,
    };
    Ok((code,))
}
