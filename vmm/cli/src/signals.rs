//! Hands SIGINT and SIGTERM on to the VM, and stays alive to report how it ended.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use mote_launch::Killer;

/// The signals that end a program politely.
const FORWARDED: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Signals that are held back since this was made, so that none is lost before there is a VM to get it.
pub(crate) struct Held {
    fd: OwnedFd,
}

impl Held {
    /// Blocks the signals for this thread and all that it starts from now on. (`mote-vmm` starts with none blocked.)
    pub(crate) fn new() -> io::Result<Held> {
        // SAFETY: a signal set is plain integers, for which zero is a valid value.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: pointers to a local.
        let fd = unsafe {
            libc::sigemptyset(&mut set);
            for signal in FORWARDED {
                libc::sigaddset(&mut set, signal);
            }
            if libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, &set, libc::SFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Held { fd })
    }

    /// Hands every signal on to the VM until it has ended; a second SIGINT kills it.
    pub(crate) fn forward(self, killer: Killer) {
        std::thread::spawn(move || {
            let mut interrupted = false;
            loop {
                let entry = |fd: i32| libc::pollfd {
                    fd,
                    events: libc::POLLIN,
                    revents: 0,
                };
                let mut fds = [entry(self.fd.as_raw_fd()), entry(killer.as_fd().as_raw_fd())];
                // SAFETY: pointer to two local entries.
                if unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) } < 0 {
                    if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                        continue;
                    }
                    return;
                }
                if fds[1].revents != 0 {
                    return;
                }
                if let Some(signal) = self.next() {
                    let again = signal == libc::SIGINT && std::mem::replace(&mut interrupted, true);
                    let signal = if again { libc::SIGKILL } else { signal };
                    let _ = killer.kill(signal);
                }
            }
        });
    }

    /// Calls `act` for every signal, for as long as the process lives.
    pub(crate) fn each(self, mut act: impl FnMut(i32) + Send + 'static) {
        std::thread::spawn(move || {
            while let Some(signal) = self.next() {
                act(signal);
            }
        });
    }

    fn next(&self) -> Option<i32> {
        // SAFETY: the structure is plain integers, for which zero is a valid value.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let len = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the pointer is to a local of `len` bytes.
        let n = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), len) };
        if usize::try_from(n) == Ok(len) {
            i32::try_from(info.ssi_signo).ok()
        } else {
            None
        }
    }
}
