//! Arguments, environment, clocks, random, exit.

use wasmtime::Caller;

use super::{Answer, Failure, errno, fail, memory};
use crate::vm::clock;
use crate::wasi::{Exit, Host};

/// Clock identifiers. (witx `clockid`)
pub(super) const REALTIME: u32 = 0;
pub(super) const MONOTONIC: u32 = 1;

/// A length as the program's 32 bits have it.
fn length(len: usize) -> Result<u32, Failure> {
    u32::try_from(len).map_err(|_| Failure::Errno(errno::OVERFLOW))
}

/// Pointers to zero-terminated strings into `pointers`, the strings into `buffer`.
fn put_strings(caller: &mut Caller<'_, Host>, env: bool, pointers: u32, buffer: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let list = if env { &host.env } else { &host.args };
    let (mut slot, mut at) = (pointers, buffer);
    for text in list {
        memory::write_u32(memory, slot, at)?;
        memory::write(memory, at, 1, text.as_bytes())?;
        at = at.wrapping_add(length(text.len())?);
        memory::write(memory, at, 1, &[0])?;
        at = at.wrapping_add(1);
        slot = slot.wrapping_add(4);
    }
    Ok(())
}

fn put_sizes(caller: &mut Caller<'_, Host>, env: bool, count: u32, size: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let list = if env { &host.env } else { &host.args };
    let bytes: usize = list.iter().map(|text| text.len() + 1).sum();
    memory::write_u32(memory, count, length(list.len())?)?;
    memory::write_u32(memory, size, length(bytes)?)
}

pub(super) fn args_get(caller: &mut Caller<'_, Host>, argv: u32, buffer: u32) -> Answer {
    put_strings(caller, false, argv, buffer)
}

pub(super) fn args_sizes_get(caller: &mut Caller<'_, Host>, count: u32, size: u32) -> Answer {
    put_sizes(caller, false, count, size)
}

pub(super) fn environ_get(caller: &mut Caller<'_, Host>, environ: u32, buffer: u32) -> Answer {
    put_strings(caller, true, environ, buffer)
}

pub(super) fn environ_sizes_get(caller: &mut Caller<'_, Host>, count: u32, size: u32) -> Answer {
    put_sizes(caller, true, count, size)
}

/// Nanoseconds on the clock `id`. CPU-time clocks are not offered, as in wasmtime.
pub(super) fn now(id: u32) -> Option<u64> {
    match id {
        REALTIME => Some(clock::realtime_ns()),
        MONOTONIC => Some(clock::monotonic_ns()),
        _ => None,
    }
}

pub(super) fn clock_res_get(caller: &mut Caller<'_, Host>, id: u32, out: u32) -> Answer {
    match id {
        REALTIME | MONOTONIC => memory::write_u64(memory::split(caller)?.0, out, 1),
        2 | 3 => fail(errno::BADF),
        _ => fail(errno::INVAL),
    }
}

pub(super) fn clock_time_get(caller: &mut Caller<'_, Host>, id: u32, _precision: u64, out: u32) -> Answer {
    match now(id) {
        Some(time) => memory::write_u64(memory::split(caller)?.0, out, time),
        None if id <= 3 => fail(errno::BADF),
        None => fail(errno::INVAL),
    }
}

pub(super) fn random_get(caller: &mut Caller<'_, Host>, buffer: u32, len: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    host.entropy.fill(memory::bytes_mut(memory, buffer, len)?)?;
    Ok(())
}

pub(super) fn sched_yield(_: &mut Caller<'_, Host>) -> Answer {
    Ok(())
}

pub(super) fn proc_raise(_: &mut Caller<'_, Host>, _signal: u32) -> Answer {
    fail(errno::NOTSUP)
}

pub(super) fn proc_exit(_: Caller<'_, Host>, code: u32) -> wasmtime::Result<()> {
    // A process has eight bits of exit code; the rest is lost as in exit(3).
    Err(Exit(code.to_le_bytes()[0]).into())
}
