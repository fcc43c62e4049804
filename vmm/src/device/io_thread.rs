//! The I/O thread: waits for doorbells, descriptors, signals and the timeout while the vCPU runs.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mote_config::signal::MEMORY_LIMIT;
use vmm_sys_util::eventfd::EventFd;

use super::ring::{ProtocolError, set_looking};
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
    /// Set while the vCPU thread sleeps.
    pub awaited: Option<Awaited>,
}

/// What the vCPU thread sleeps for, beside a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Any completion that the guest has not read.
    Completion,
    /// The completion of the submission with this token.
    Answer(u64),
    /// All output has been written.
    Output,
}

impl State {
    /// Serves the rings: whether what is awaited is there.
    ///
    /// # Errors
    /// [`ProtocolError`] ends the VM.
    pub fn serve(&mut self, awaited: Option<Awaited>) -> Result<bool, ProtocolError> {
        let unread = self.server.serve(&self.space)?;
        Ok(match awaited {
            None => false,
            Some(Awaited::Completion) => unread,
            Some(Awaited::Answer(token)) => self.server.is_answered(token),
            Some(Awaited::Output) => !self.server.has_output(),
        })
    }
}

/// The state with its lock, and what wakes either thread.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    /// Signalled when what the vCPU thread sleeps for is there, or the VM is to stop.
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

    /// Has the vCPU thread sleep until `deadline`, or until what it waits for is there or may be.
    pub fn wait<'g>(
        &self,
        mut guard: MutexGuard<'g, State>,
        awaited: Awaited,
        deadline: Option<Instant>,
    ) -> MutexGuard<'g, State> {
        guard.awaited = Some(awaited);
        let left = deadline.map_or(Duration::MAX, |d| d.saturating_duration_since(Instant::now()));
        let mut guard = if left == Duration::MAX {
            self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
        } else {
            let woken = self.changed.wait_timeout(guard, left);
            woken.unwrap_or_else(PoisonError::into_inner).0
        };
        guard.awaited = None;
        guard
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

/// How long after it has woken the guest the thread looks at the submission ring without being told. A guest that has
/// answered a request by then and waits for the next has rung no doorbell, each of which would have woken the thread. A
/// guest that goes on for longer is looked at then, and rings from there on.
const LOOK: Duration = Duration::from_millis(4);

fn watch(shared: &Shared, signals: &OwnedFd, mut end: Option<Instant>) {
    let entry = |fd: RawFd, events| libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let mut heard = false;
    let mut look: Option<Instant> = None;
    loop {
        let mut state = shared.lock();
        if heard {
            state.server.hear();
        }
        let served = look_and_serve(&mut state, &mut look);
        if let Err(error) = &served {
            stop(shared, &mut state, Stop::Protocol(error.clone()));
        }
        let stopped = state.stop.is_some();
        // poll(2) passes over negative descriptors.
        let front = state.server.front().unwrap_or(-1);
        let mut list = vec![
            entry(shared.doorbell.as_raw_fd(), libc::POLLIN),
            entry(signals.as_raw_fd(), libc::POLLIN),
            entry(front, libc::POLLIN),
        ];
        list.extend(
            state
                .server
                .waiting_for()
                .into_iter()
                .map(|(fd, events)| entry(fd, events)),
        );
        drop(state);
        // Behind the lock, which the vCPU thread needs as soon as it is awake.
        if served == Ok(true) {
            shared.changed.notify_all();
        }

        let wait = match end.filter(|_| !stopped).into_iter().chain(look).min() {
            Some(next) => millis(next.saturating_duration_since(Instant::now())),
            None => -1,
        };
        // SAFETY: the list is valid for its length.
        unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, wait) };

        if list[0].revents != 0 {
            let _ = shared.doorbell.read();
        }
        heard = list[2].revents != 0;
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

/// Serves the rings: whether what the vCPU thread sleeps for is there. `look` is until when no doorbell is needed.
fn look_and_serve(state: &mut State, look: &mut Option<Instant>) -> Result<bool, ProtocolError> {
    let awaited = state.awaited;
    // Whoever sleeps submits nothing.
    if look.is_some_and(|until| awaited.is_some() || until <= Instant::now()) {
        *look = None;
        set_looking(state.space.memory(), false)?;
    }
    let woken = state.serve(awaited)?;
    if woken {
        *look = Some(Instant::now() + LOOK);
        set_looking(state.space.memory(), true)?;
    }
    Ok(woken)
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
