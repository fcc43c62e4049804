//! What the vCPU thread and the I/O thread work on, under one lock, and how each is woken.

use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, ptr};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::poll::entry;
use super::ring::ProtocolError;
use super::server::{Server, Wait};
use crate::machine::Kicker;
use crate::memory::Space;

/// Why the VM is to stop, as found by the I/O thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A signal that asks the process to end.
    Signal(i32),
    /// The time that the program was given is over.
    Timeout,
    /// The guest broke the protocol.
    Protocol(ProtocolError),
}

/// What both threads work on.
#[derive(Debug)]
pub struct State {
    pub space: Space,
    pub server: Server,
    pub stop: Option<Stop>,
    /// Set once the vCPU exists.
    pub kicker: Option<Kicker>,
    /// The vCPU thread sleeps: it waits for descriptors and serves by itself.
    pub(super) asleep: bool,
    /// It has slept since the I/O thread saw to it last.
    pub(super) slept: bool,
    /// The I/O thread will look at the rings before long, and the guest has been told so.
    pub(super) looking: bool,
}

impl State {
    /// The state of a VM that has not run yet.
    #[must_use]
    pub fn new(space: Space, server: Server) -> State {
        State {
            space,
            server,
            stop: None,
            kicker: None,
            asleep: false,
            slept: false,
            looking: false,
        }
    }

    /// Serves the rings: whether the guest has completions to read.
    ///
    /// # Errors
    /// [`ProtocolError`] ends the VM.
    pub fn serve(&mut self) -> Result<bool, ProtocolError> {
        self.server.serve(&self.space)
    }

    /// Whether the I/O thread has to be woken as the guest runs on.
    #[must_use]
    pub fn needs_io_thread(&self) -> bool {
        self.server.is_stale() || !self.looking && !self.server.is_watched()
    }
}

/// The state with its lock, and what wakes either thread.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    /// Rung by the guest, and by the vCPU thread when there is something new to wait for.
    pub doorbell: EventFd,
    /// Rung when the VM is to stop.
    stop: EventFd,
}

impl Shared {
    /// Takes over the state.
    ///
    /// # Errors
    /// The kernel's refusal of a descriptor.
    pub fn new(state: State, doorbell: EventFd) -> io::Result<Shared> {
        Ok(Shared {
            state: Mutex::new(state),
            doorbell,
            stop: EventFd::new(libc::EFD_CLOEXEC | EFD_NONBLOCK)?,
        })
    }

    /// The state. A panic of the other thread does not make it less true.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the vCPU thread sleep until `deadline`, until something that a submission waits for has come about, or until the
    /// VM is to stop. It may wake for nothing.
    pub fn sleep<'s>(
        &'s self,
        mut guard: MutexGuard<'s, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'s, State> {
        let stop = Wait {
            fd: self.stop.as_raw_fd(),
            events: libc::POLLIN,
        };
        let mut list = vec![entry(stop)];
        list.extend(guard.server.waits().into_iter().map(entry));
        guard.asleep = true;
        guard.slept = true;
        drop(guard);
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            libc::timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: libc::c_long::from(left.subsec_nanos()),
            }
        });
        let left = left.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the list is valid for its length, the time for as long as the call takes.
        unsafe { libc::ppoll(list.as_mut_ptr(), list.len() as libc::nfds_t, left, ptr::null()) };
        let mut guard = self.lock();
        guard.asleep = false;
        guard
    }

    /// Makes the I/O thread look at the state again.
    pub fn wake_io(&self) {
        // The counter cannot overflow: the I/O thread resets it, and 2^64 rings are out of reach.
        let _ = self.doorbell.write(1);
    }

    /// Wakes the vCPU thread for good: the VM is to stop.
    pub(super) fn wake_vcpu(&self) {
        let _ = self.stop.write(1);
    }
}
