//! The I/O thread: waits for doorbells, descriptors, signals and the timeout while the vCPU runs.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mote_config::signal::MEMORY_LIMIT;
use vmm_sys_util::eventfd::EventFd;

use super::ring::ProtocolError;
use super::server::Server;
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
}

/// The state with its lock, and what wakes either thread.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    /// Signalled when completions were written or the VM is to stop.
    changed: Condvar,
    /// Rung by the guest, and by the vCPU thread when there is something new to wait for.
    pub doorbell: EventFd,
}

impl Shared {
    /// Takes over the state.
    #[must_use]
    pub fn new(state: State, doorbell: EventFd) -> Shared {
        Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            doorbell,
        }
    }

    /// The state. A panic of the other thread does not make it less true.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change until `deadline`.
    pub fn wait<'g>(&self, guard: MutexGuard<'g, State>, deadline: Option<Instant>) -> MutexGuard<'g, State> {
        let left = deadline.map_or(Duration::MAX, |d| d.saturating_duration_since(Instant::now()));
        if left == Duration::MAX {
            return self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.changed
            .wait_timeout(guard, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Makes the I/O thread look at the state again.
    pub fn wake_io(&self) {
        // The counter cannot overflow: the I/O thread resets it, and 2^64 rings are out of reach.
        let _ = self.doorbell.write(1);
    }
}

/// Signals that ask the process to end.
const ENDING: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// What a signal asks for.
enum Request {
    Stop(i32),
    /// The most guest memory in bytes.
    MemoryLimit(u64),
}

/// Blocks the signals that ask for something in this thread and those it starts, and returns a descriptor that reads them. Installs
/// the empty handler of the signal that interrupts the vCPU.
///
/// # Errors
/// The kernel's refusal.
pub fn take_signals() -> io::Result<OwnedFd> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: an all-zero set and action are valid values, filled below before use; the handler does nothing, so it
    // is async-signal-safe. Without SA_RESTART a pending KVM_RUN returns EINTR.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in ENDING.into_iter().chain([MEMORY_LIMIT]) {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        if libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

/// Starts the thread. It lives as long as the process. It has no name: giving itself one would be a system call that
/// the jail does not allow.
///
/// # Errors
/// The kernel's refusal.
pub fn start(shared: Arc<Shared>, signals: OwnedFd, timeout: Option<Duration>) -> io::Result<()> {
    let end = timeout.map(|t| Instant::now() + t);
    thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || watch(&shared, &signals, end))
        .map(drop)
}

fn watch(shared: &Shared, signals: &OwnedFd, mut end: Option<Instant>) {
    let entry = |fd: RawFd, events| libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    loop {
        let mut state = shared.lock();
        let served = {
            let State { space, server, .. } = &mut *state;
            server.serve(space)
        };
        match served {
            Ok(true) => shared.changed.notify_all(),
            Ok(false) => {}
            Err(error) => stop(shared, &mut state, Stop::Protocol(error)),
        }
        if !state.server.has_output() {
            shared.changed.notify_all();
        }
        let stopped = state.stop.is_some();
        let mut list = vec![
            entry(shared.doorbell.as_raw_fd(), libc::POLLIN),
            entry(signals.as_raw_fd(), libc::POLLIN),
        ];
        list.extend(
            state
                .server
                .waiting_for()
                .into_iter()
                .map(|(fd, events)| entry(fd, events)),
        );
        drop(state);

        let wait = match end.filter(|_| !stopped) {
            Some(end) => millis(end.saturating_duration_since(Instant::now())),
            None => -1,
        };
        // SAFETY: the list is valid for its length.
        unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, wait) };

        if list[0].revents != 0 {
            let _ = shared.doorbell.read();
        }
        if list[1].revents != 0
            && let Some(request) = read_signal(signals)
        {
            let mut state = shared.lock();
            match request {
                Request::Stop(signal) => stop(shared, &mut state, Stop::Signal(signal)),
                Request::MemoryLimit(bytes) => state.space.set_limit(bytes),
            }
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            end = None;
            stop(shared, &mut shared.lock(), Stop::Timeout);
        }
    }
}

/// Milliseconds for poll(2), rounded up so that the deadline has passed when it returns.
fn millis(left: Duration) -> i32 {
    i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}

fn stop(shared: &Shared, state: &mut State, why: Stop) {
    state.stop.get_or_insert(why);
    if let Some(kicker) = &state.kicker {
        kicker.kick();
    }
    shared.changed.notify_all();
}

fn read_signal(signals: &OwnedFd) -> Option<Request> {
    // SAFETY: an all-zero record is a valid value.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    // SAFETY: the record is valid for its size.
    let n = unsafe { libc::read(signals.as_raw_fd(), (&raw mut info).cast(), size_of_val(&info)) };
    if usize::try_from(n) != Ok(size_of_val(&info)) {
        return None;
    }
    match i32::try_from(info.ssi_signo).ok()? {
        MEMORY_LIMIT if info.ssi_code == libc::SI_QUEUE => Some(Request::MemoryLimit(info.ssi_ptr)),
        signal => Some(Request::Stop(signal)),
    }
}
