//! SIGTERM and SIGINT, taken between two pieces of work and never in the middle of one.

use std::mem::MaybeUninit;
use std::time::Duration;

/// Signals that end the program, held back from now on. Programs that are started get them as usual
/// ([`release_in_child`]).
#[derive(Debug)]
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    pub(crate) fn hold() -> Signals {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset fills the set that the others then take; none of them can fail on it.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            Signals(set.assume_init())
        }
    }

    /// Waits this long; whether a signal came.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let time = libc::timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        loop {
            // SAFETY: set and time outlive the call; no information is asked for.
            let signal =
                unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const time) };
            if signal > 0 {
                return true;
            }
            if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                return false;
            }
        }
    }
}

/// Gives a program that is about to start an empty mask; for between fork and exec.
pub(crate) fn release_in_child() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set that the other takes; both are async-signal-safe (signal-safety(7)).
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}
