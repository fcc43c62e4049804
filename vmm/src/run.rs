//! Runs a VM to its end: the vCPU's exits, the guest's calls, and how it all ended.

use std::os::fd::AsRawFd;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use mote_abi::layout::port;
use mote_abi::ring::{ControlPage, call, end, phase};
use mote_config::{Exit, Reason, Stats, exit};
use vm_memory::Bytes;

use crate::device::clock;
use crate::device::ring::{ProtocolError, control_page};
use crate::device::shared::{Shared, State, Stop};
use crate::machine::{Exit as VcpuExit, KvmMachine, Machine, MachineError};
use crate::memory::SpaceError;

/// Longest message that a guest may leave.
const MESSAGE_MAX: u64 = 64 << 10;
/// Largest request for entropy in one call.
const ENTROPY_MAX: u64 = 1 << 20;
/// Doorbells that exit to this thread before an eventfd takes them over. The eventfd saves nine tenths of a doorbell's
/// price, but to register it, and to give the VM back with it, waits for grace periods of the kernel: milliseconds,
/// which a program of a few lines of output never earns back.
const DOORBELL_EXITS: u32 = 8;
/// How long the last output may take to be written once the guest has ended on its own accord, if nobody reads it:
/// without end, as a process blocks in write(2). It is cut short by a signal.
const FOREVER: Option<Instant> = None;

/// Times of the start that the caller knows, as TSC readings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// From the parent's request to main, in microseconds.
    pub process_us: f64,
    pub main: u64,
    pub first_kvm_call: u64,
}

/// A VM under way.
struct Run<'a> {
    machine: &'a mut KvmMachine,
    shared: &'a Arc<Shared>,
    exits: u64,
    doorbells: u32,
    first_run: u64,
    /// The TSC's rate if guest and host read the same counter, once it was asked for.
    tsc_khz: Option<u64>,
}

/// How the vCPU's loop ended.
enum Outcome {
    Ended {
        code: u64,
        reason: u64,
        message: Option<String>,
    },
    Stopped(Stop),
    OutOfMemory(String),
    Failed(String),
}

impl From<ProtocolError> for Outcome {
    fn from(error: ProtocolError) -> Outcome {
        Outcome::Failed(format!("the guest's runtime broke the protocol: {error}"))
    }
}

/// Runs the VM to its end. `limit` is for the message of a program that ran out of memory.
pub fn run(machine: &mut KvmMachine, shared: &Arc<Shared>, times: Times, name: &str) -> Exit {
    let kicker = machine.kicker();
    shared.lock().kicker = Some(kicker);
    let mut run = Run {
        machine,
        shared,
        exits: 0,
        doorbells: 0,
        first_run: clock::tsc(),
        tsc_khz: None,
    };
    let outcome = run.until_end();
    let stats = run.stats(times);
    run.conclude(outcome, stats, name)
}

impl<'a> Run<'a> {
    fn until_end(&mut self) -> Outcome {
        loop {
            match self.machine.run() {
                Ok(VcpuExit::Call) => {
                    self.exits += 1;
                    if let Some(outcome) = self.serve_call() {
                        return outcome;
                    }
                }
                Ok(VcpuExit::Doorbell) => {
                    self.exits += 1;
                    if let Err(outcome) = self.serve_doorbell() {
                        return outcome;
                    }
                }
                Ok(VcpuExit::Interrupted) => self.exits += 1,
                Ok(VcpuExit::Failed(text)) => return Outcome::Failed(format!("the vCPU stopped: {text}")),
                Err(error) => return Outcome::Failed(error.to_string()),
            }
            if let Some(stop) = self.shared.lock().stop.clone() {
                return Outcome::Stopped(stop);
            }
        }
    }

    /// Serves the first doorbells right here, then lets the I/O thread have them.
    fn serve_doorbell(&mut self) -> Result<(), Outcome> {
        self.doorbells += 1;
        if self.doorbells == DOORBELL_EXITS {
            let event = self.shared.doorbell.as_raw_fd();
            let added = self.machine.add_doorbell(port::DOORBELL, event);
            added.map_err(|error| Outcome::Failed(error.to_string()))?;
        }
        let mut state = self.shared.lock();
        state.serve()?;
        if state.needs_io_thread() {
            self.shared.wake_io();
        }
        Ok(())
    }

    fn serve_call(&mut self) -> Option<Outcome> {
        let shared = self.shared;
        // The guard goes to whoever serves the call: a second lock in here would never come.
        let state = shared.lock();
        let request: [u64; 8] = match self.control(&state, std::mem::offset_of!(ControlPage, call)) {
            Ok(request) => request,
            Err(error) => return Some(error.into()),
        };
        let answer = match request[0] {
            call::WAIT => return self.wait(state, request[1], request[2]),
            call::END => return Some(self.end(state, &request)),
            call::MAP => self.map(state, request[1], request[2]),
            call::UNMAP => self.unmap(state, request[1], request[2]),
            call::CLOCK => self.clock(state),
            call::ENTROPY => entropy(state, request[1], request[2]),
            other => Err(ProtocolError::Call(other).into()),
        };
        // Each of them took the lock over and has let go of it.
        match answer {
            Ok(value) => self.answer(&shared.lock(), value).err().map(Outcome::from),
            Err(outcome) => Some(outcome),
        }
    }

    fn control<T: vm_memory::ByteValued>(&self, state: &State, field: usize) -> Result<T, ProtocolError> {
        let page = control_page(state.space.memory())?;
        page.read_obj(field).map_err(|_| ProtocolError::Unreachable)
    }

    fn answer(&self, state: &State, value: i64) -> Result<(), ProtocolError> {
        let page = control_page(state.space.memory())?;
        let field = std::mem::offset_of!(ControlPage, answer);
        page.write_obj(value, field)
            .map_err(|_| ProtocolError::Unreachable)
    }

    /// Sleeps until there is a completion (that of submission `token`, unless it is 0), the deadline or a stop.
    fn wait(&mut self, mut state: MutexGuard<'a, State>, deadline_ns: u64, token: u64) -> Option<Outcome> {
        let now = clock::now(libc::CLOCK_MONOTONIC);
        // `None` also where the deadline is beyond what the host's clock can count: that is for ever.
        let deadline = (deadline_ns != u64::MAX)
            .then(|| Instant::now().checked_add(Duration::from_nanos(deadline_ns.saturating_sub(now))))
            .flatten();
        loop {
            if state.stop.is_some() {
                return None;
            }
            let there = match state.serve() {
                Ok(unread) if token == 0 => unread,
                Ok(_) => state.server.is_answered(token),
                Err(error) => return Some(error.into()),
            };
            if there || deadline.is_some_and(|d| Instant::now() >= d) {
                if state.needs_io_thread() {
                    self.shared.wake_io();
                }
                return None;
            }
            state = self.shared.sleep(state, deadline);
        }
    }

    fn map(&mut self, mut state: MutexGuard<'_, State>, address: u64, len: u64) -> Result<i64, Outcome> {
        match state.space.map(address, len) {
            Ok(()) => {}
            Err(error @ SpaceError::Limit { .. }) => return Err(Outcome::OutOfMemory(error.to_string())),
            Err(error) => return Err(Outcome::Failed(error.to_string())),
        }
        self.back(&mut state)
            .map_err(|error| Outcome::Failed(error.to_string()))?;
        Ok(0)
    }

    /// Tells the hypervisor of frames that it does not know yet, in ever larger slots.
    fn back(&mut self, state: &mut State) -> Result<(), MachineError> {
        let Some(range) = state.space.unbacked() else {
            return Ok(());
        };
        let total = state.space.memory().len();
        let end = (range.end + range.start)
            .next_multiple_of(mote_abi::LARGE_PAGE_SIZE)
            .min(total);
        let host = state.space.memory().host(range.start, end - range.start);
        let Ok(host) = host else { return Ok(()) };
        // SAFETY: the range is part of the reservation, which the space owns and which outlives the machine; guest
        // memory is only accessed through volatile slices.
        unsafe { self.machine.add_memory(range.start, host, end - range.start)? };
        state.space.set_backed(end);
        Ok(())
    }

    fn unmap(&mut self, mut state: MutexGuard<'_, State>, address: u64, len: u64) -> Result<i64, Outcome> {
        state
            .space
            .unmap(address, len)
            .map_err(|error| Outcome::Failed(error.to_string()))?;
        self.back(&mut state)
            .map_err(|error| Outcome::Failed(error.to_string()))?;
        Ok(0)
    }

    fn clock(&mut self, state: MutexGuard<'_, State>) -> Result<i64, Outcome> {
        let khz = self.shared_tsc_khz(&state);
        let page = control_page(state.space.memory())?;
        match clock::write(&page, &clock::read(khz)) {
            Some(()) => Ok(0),
            None => Err(ProtocolError::Unreachable.into()),
        }
    }

    /// The TSC's rate, or 0 if the guest's counter is not the host's: its first time stamp, taken between the first
    /// KVM_RUN and now, tells.
    fn shared_tsc_khz(&mut self, state: &State) -> u64 {
        if let Some(khz) = self.tsc_khz {
            return khz;
        }
        let phases: [u64; 8] = self
            .control(state, std::mem::offset_of!(ControlPage, phases))
            .unwrap_or_default();
        let same = (self.first_run..=clock::tsc()).contains(&phases[phase::ENTRY]);
        let khz = if same { self.machine.tsc_khz() } else { 0 };
        self.tsc_khz = Some(khz);
        khz
    }

    fn end(&mut self, mut state: MutexGuard<'a, State>, request: &[u64; 8]) -> Outcome {
        // The last output goes out before the end is told.
        loop {
            if let Err(error) = state.serve() {
                return error.into();
            }
            if !state.server.has_output() {
                break;
            }
            if let Some(stop) = &state.stop {
                return Outcome::Stopped(stop.clone());
            }
            state = self.shared.sleep(state, FOREVER);
        }
        let [_, code, reason, address, len, ..] = *request;
        Outcome::Ended {
            code,
            reason,
            message: message(&state, address, len),
        }
    }

    fn conclude(&self, outcome: Outcome, stats: Stats, name: &str) -> Exit {
        let say = |text: &str| self.shared.lock().server.write_error(text);
        let exit = |code, reason, message: Option<String>| Exit {
            code,
            reason,
            message,
            stats: stats.clone(),
        };
        match outcome {
            Outcome::Ended {
                code,
                reason: end::EXITED,
                ..
            } => exit(low_byte(code), Reason::Exited, None),
            Outcome::Ended {
                code,
                reason: end::TRAP,
                message,
            } => exit(low_byte(code), Reason::Trap, message),
            Outcome::Ended { message, .. } => {
                let text = message.unwrap_or_else(|| "the guest's runtime ended without a word".into());
                say(&format!("mote: {name}: {text}\n"));
                exit(exit::INTERNAL, Reason::Internal, Some(text))
            }
            Outcome::Stopped(Stop::Signal(signal)) => {
                let code = u8::try_from(128 + signal).unwrap_or(exit::INTERNAL);
                exit(code, Reason::Signal, Some(format!("ended by signal {signal}")))
            }
            Outcome::Stopped(Stop::Timeout) => {
                let text = "wasm trap: interrupt: the program ran longer than its timeout allows";
                say(&format!("Error: {text}\n"));
                exit(exit::TRAP, Reason::Trap, Some(text.into()))
            }
            Outcome::Stopped(Stop::Protocol(error)) => {
                say(&format!(
                    "mote: {name}: the guest's runtime broke the protocol: {error}\n"
                ));
                exit(exit::INTERNAL, Reason::Internal, Some(error.to_string()))
            }
            Outcome::OutOfMemory(text) => {
                say(&format!(
                    "mote: {name}: out of memory: {text}; raise the memory limit\n"
                ));
                exit(
                    exit::OOM,
                    Reason::OutOfMemory,
                    Some(format!("out of memory: {text}")),
                )
            }
            Outcome::Failed(text) => {
                say(&format!("mote: {name}: {text}\n"));
                exit(exit::INTERNAL, Reason::Internal, Some(text))
            }
        }
    }

    fn stats(&mut self, times: Times) -> Stats {
        let shared = Arc::clone(self.shared);
        let state = shared.lock();
        let khz = self.shared_tsc_khz(&state);
        let phases: [u64; 8] = self
            .control(&state, std::mem::offset_of!(ControlPage, phases))
            .unwrap_or_default();
        // A phase that was not reached, or a counter that is not the host's, gives 0.
        let us = |from: u64, to: u64| {
            if khz == 0 || from == 0 || to < from {
                0.0
            } else {
                round((to - from) as f64 * 1e3 / khz as f64)
            }
        };
        Stats {
            process_us: round(times.process_us),
            prepare_us: us(times.main, times.first_kvm_call),
            vm_us: us(times.first_kvm_call, self.first_run),
            entry_us: us(self.first_run, phases[phase::ENTRY]),
            runtime_us: us(phases[phase::ENTRY], phases[phase::RUNTIME]),
            code_us: us(phases[phase::RUNTIME], phases[phase::CODE]),
            instantiate_us: us(phases[phase::CODE], phases[phase::MAIN]),
            cold_start_us: us(times.first_kvm_call, phases[phase::MAIN]),
            run_us: us(phases[phase::MAIN], phases[phase::EXIT]),
            exits: self.exits,
            insn_emulation: self.machine.emulated_instructions(),
            memory_peak: state.space.peak(),
        }
    }
}

fn round(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "masked to eight bits, as a process's exit status is"
)]
fn low_byte(code: u64) -> u8 {
    (code & 0xff) as u8
}

/// The text that the guest left, cut to size; what is not UTF-8 is replaced.
fn message(state: &State, address: u64, len: u64) -> Option<String> {
    if len == 0 {
        return None;
    }
    let parts = state.space.resolve(address, len.min(MESSAGE_MAX), false).ok()?;
    let mut bytes = Vec::new();
    for part in parts {
        let mut chunk = vec![0; part.len()];
        part.copy_to(&mut chunk);
        bytes.extend(chunk);
    }
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn entropy(state: MutexGuard<'_, State>, address: u64, len: u64) -> Result<i64, Outcome> {
    if len > ENTROPY_MAX {
        return Ok(-i64::from(libc::EINVAL));
    }
    let Ok(parts) = state.space.resolve(address, len, true) else {
        return Ok(-i64::from(libc::EFAULT));
    };
    for part in parts {
        let mut bytes = vec![0_u8; part.len()];
        // SAFETY: the buffer is valid for its length.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if usize::try_from(got) != Ok(bytes.len()) {
            return Ok(-i64::from(libc::EIO));
        }
        part.copy_from(&bytes);
    }
    Ok(0)
}
