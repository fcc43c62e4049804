//! What becomes of a submission: an answer, or something to wait for.

use std::io;
use std::os::fd::RawFd;

use mote_abi::ring::Submission;

/// An error number of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// The error of the system call that has just failed.
    #[must_use]
    pub fn last() -> Errno {
        io::Error::last_os_error().into()
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// A submission under way.
#[derive(Debug)]
pub struct Request {
    pub submission: Submission,
    /// Bytes that have been carried so far.
    pub done: u64,
}

/// What to wait for: a descriptor and the events of poll(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub fd: RawFd,
    pub events: libc::c_short,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The submission's result.
    Done(i64),
    /// Try again when this has come about.
    Wait(Wait),
}

impl From<Errno> for Attempt {
    fn from(errno: Errno) -> Attempt {
        Attempt::Done(-i64::from(errno.0))
    }
}

impl From<Result<u64, Errno>> for Attempt {
    fn from(result: Result<u64, Errno>) -> Attempt {
        match result {
            // Values are lengths, handles and bits, all far below 2^63.
            Ok(value) => i64::try_from(value).map_or(Errno(libc::EOVERFLOW).into(), Attempt::Done),
            Err(errno) => errno.into(),
        }
    }
}
