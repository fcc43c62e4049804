//! A process that was started: signals to it, and its end.

use std::{
    ffi::{c_int, c_void},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// A started process that nobody has waited for yet.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: libc::pid_t,
    /// Readable when the process has ended; a signal sent through it reaches this process or none.
    pub(crate) pidfd: OwnedFd,
}

/// Sends `signal` to the process behind `pidfd`.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed and means what kill(2) would send.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<c_void>(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Queues `signal` with a value for the process behind `pidfd`, as sigqueue(3) does.
pub(crate) fn queue_signal(pidfd: BorrowedFd<'_>, signal: i32, value: u64) -> io::Result<()> {
    // SAFETY: a plain structure, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    info.si_signo = signal;
    info.si_code = libc::SI_QUEUE;
    // The value stands behind the sender's process and user, which nobody asks for. (asm-generic/siginfo.h, `_rt`)
    const VALUE: usize = 24;
    const { assert!(VALUE + size_of::<u64>() <= size_of::<libc::siginfo_t>()) };
    // SAFETY: the place is inside of the structure, as asserted.
    unsafe {
        (&raw mut info)
            .byte_add(VALUE)
            .cast::<u64>()
            .write_unaligned(value)
    };
    // SAFETY: the structure outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            &raw const info,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(i32),
    Killed(i32),
    /// Somebody else waited for it.
    Unknown,
}

impl Child {
    /// Waits for the end.
    pub(crate) fn wait(&self) -> io::Result<Status> {
        let mut status = 0;
        loop {
            // SAFETY: pointer to a local.
            if unsafe { libc::waitpid(self.pid, &mut status, 0) } == self.pid {
                break;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ECHILD) => {
                    // A process-wide reaper was faster, or children are ignored: the pidfd still tells the end.
                    poll_readable(self.pidfd.as_fd(), -1)?;
                    return Ok(Status::Unknown);
                }
                _ => return Err(error),
            }
        }
        Ok(if libc::WIFSIGNALED(status) {
            Status::Killed(libc::WTERMSIG(status))
        } else {
            Status::Exited(libc::WEXITSTATUS(status))
        })
    }
}

/// Waits until `fd` is readable or `timeout_ms` have passed (-1: for ever); whether it is readable.
pub(crate) fn poll_readable(fd: BorrowedFd<'_>, timeout_ms: c_int) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        // SAFETY: pointer to one local entry.
        let n = unsafe { libc::poll(&mut poll, 1, timeout_ms) };
        if n >= 0 {
            return Ok(n > 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
