//! Runs a helper process to its end: bounded in time, and bounded in what it may say.

use std::{
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

use crate::child::{Command, StartError};
use crate::process::{Child, Status, send_signal};

/// What is kept of each stream that a helper writes.
const MOST: usize = 16 << 10;

/// How a helper ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Status,
    pub(crate) timed_out: bool,
    /// Start of what came through the pipe.
    pub(crate) text: String,
}

/// Spawns `command` with a pipe as descriptor `piped` and waits for its end, at most for `limit`.
pub(crate) fn run(mut command: Command<'_>, piped: i32, limit: Duration) -> Result<Ended, StartError> {
    let prepare = |cause| StartError {
        what: "making a pipe",
        cause,
    };
    let (mut read, write) = io::pipe().map_err(prepare)?;
    command.die_with_parent(true);
    let child = command.with_fd(write.as_fd(), piped).spawn()?;
    drop(write);
    nonblocking(read.as_fd()).map_err(prepare)?;
    let deadline = Instant::now().checked_add(limit);
    let mut kept = Vec::new();
    let mut timed_out = false;
    let mut open = true;
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) && !timed_out {
            timed_out = true;
            let _ = send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
        let wait = if timed_out { None } else { left };
        let ended = wait_for(&child, open.then(|| read.as_fd()), wait).map_err(prepare)?;
        open = open && drain(&mut read, &mut kept);
        if ended {
            // What was written before the end is in the pipe by now.
            let _ = open && drain(&mut read, &mut kept);
            break;
        }
    }
    let status = child.wait().map_err(|cause| StartError {
        what: "waiting for it",
        cause,
    })?;
    Ok(Ended {
        status,
        timed_out,
        text: String::from_utf8_lossy(&kept).into_owned(),
    })
}

fn nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers; our end of the pipe is ours alone.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Waits until the child has ended (true), or the pipe or the clock has something to say (false).
fn wait_for(child: &Child, pipe: Option<BorrowedFd<'_>>, limit: Option<Duration>) -> io::Result<bool> {
    let entry = |fd: i32| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // A negative descriptor is skipped. (poll(2))
    let mut fds = [
        entry(child.pidfd.as_raw_fd()),
        entry(pipe.map_or(-1, |p| p.as_raw_fd())),
    ];
    // Rounded up, so that the time is over when poll returns.
    let timeout = limit.map_or(-1, |l| {
        i32::try_from(l.as_millis().saturating_add(1)).unwrap_or(i32::MAX)
    });
    // SAFETY: pointer to two local entries.
    if unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout) } < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok(false)
        } else {
            Err(error)
        };
    }
    Ok(fds[0].revents != 0)
}

/// Reads what is there; whether more may come.
fn drain(read: &mut io::PipeReader, kept: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    loop {
        match read.read(&mut chunk) {
            Ok(0) => return false,
            Ok(n) => {
                let room = MOST - kept.len();
                kept.extend_from_slice(&chunk[..n.min(room)]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// The name of a signal, as far as one is likely here.
pub(crate) fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL, perhaps for want of memory",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU, its limit of processor time",
        libc::SIGXFSZ => "SIGXFSZ, its limit of file size",
        _ => "see signal(7)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sh(script: &str) -> Command<'static> {
        let mut command = Command::new(Path::new("/bin/sh"), "sh").unwrap();
        command.arg("-c").unwrap().arg(script).unwrap();
        command
    }

    #[test]
    fn output_and_exit_code() {
        let ended = run(sh("echo one >&2; exit 3"), 2, Duration::from_secs(10)).unwrap();
        assert_eq!(
            (ended.status, ended.text.as_str(), ended.timed_out),
            (Status::Exited(3), "one\n", false)
        );
    }

    #[test]
    fn too_long_is_killed() {
        let start = Instant::now();
        let ended = run(sh("echo begun; exec sleep 100"), 1, Duration::from_millis(100)).unwrap();
        assert!(ended.timed_out && start.elapsed() < Duration::from_secs(10));
        assert_eq!(ended.status, Status::Killed(libc::SIGKILL));
        assert_eq!(ended.text, "begun\n");
    }

    #[test]
    fn a_flood_is_cut_and_does_not_block() {
        let ended = run(sh("head -c 1000000 /dev/zero"), 1, Duration::from_secs(10)).unwrap();
        assert_eq!((ended.status, ended.text.len()), (Status::Exited(0), MOST));
    }

    #[test]
    fn a_helper_that_closes_its_pipe_is_still_waited_for() {
        let ended = run(sh("exec >&-; sleep 0.2; exit 5"), 1, Duration::from_secs(10)).unwrap();
        assert_eq!(ended.status, Status::Exited(5));
    }
}
