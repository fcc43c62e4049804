//! The I/O thread: waits for doorbells, descriptors, signals and the timeout while the vCPU runs. While the vCPU thread
//! sleeps, that one waits for descriptors by itself: what it waits for then wakes nobody else.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mote_config::signal::MEMORY_LIMIT;

use super::poll::entry;
use super::ring::{ProtocolError, set_looking};
use super::server::Wait;
use super::shared::{Shared, State, Stop};

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

/// How long the thread waits until it looks at the submission ring without being told. A guest that has answered a request
/// by then and waits for the next has rung no doorbell, each of which would have woken the thread.
const LOOK: Duration = Duration::from_millis(4);

fn watch(shared: &Shared, signals: &OwnedFd, mut end: Option<Instant>) {
    let mut rung = false;
    let mut look: Option<Instant> = None;
    loop {
        let mut state = shared.lock();
        let waits = attend(&mut state, &mut look, rung).unwrap_or_else(|error| {
            stop(shared, &mut state, Stop::Protocol(error));
            Vec::new()
        });
        let stopped = state.stop.is_some();
        drop(state);
        let own = [shared.doorbell.as_raw_fd(), signals.as_raw_fd()].map(|fd| Wait {
            fd,
            events: libc::POLLIN,
        });
        let mut list: Vec<libc::pollfd> = own.into_iter().chain(waits).map(entry).collect();
        let wait = match end.filter(|_| !stopped).into_iter().chain(look).min() {
            Some(next) => millis(next.saturating_duration_since(Instant::now())),
            None => -1,
        };
        // SAFETY: the list is valid for its length.
        unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, wait) };

        rung = list[0].revents != 0;
        if rung {
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

/// Serves the rings if the guest runs: the descriptors to wait for. `look` is when to come back without being told.
///
/// A guest that submits, or sleeps for short, is looked at from time to time, and need not ring. One that does neither
/// while it runs is watched: the thread waits for its descriptors and its doorbell. One that sleeps is left alone.
fn attend(state: &mut State, look: &mut Option<Instant>, rung: bool) -> Result<Vec<Wait>, ProtocolError> {
    let slept = std::mem::take(&mut state.slept);
    let taken = state.server.taken();
    if !state.asleep {
        state.serve()?;
    }
    let busy = state.server.taken() != taken || slept && (rung || state.looking);
    if busy {
        *look = Some(Instant::now() + LOOK);
    } else if look.is_some_and(|until| until <= Instant::now()) {
        *look = None;
    }
    if state.looking != look.is_some() {
        state.looking = look.is_some();
        set_looking(state.space.memory(), state.looking)?;
        if !state.looking && !state.asleep {
            // What was submitted before the guest could know.
            state.serve()?;
        }
    }
    Ok(if state.asleep {
        state.server.leave_alone();
        Vec::new()
    } else {
        state.server.watch()
    })
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
    shared.wake_vcpu();
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

#[cfg(test)]
mod tests;
