//! The program's linear memory, as the calls' pointers address it.

use wasmtime::{Caller, Extern, Memory};

use super::{Failure, errno};
use crate::wasi::Host;

/// The memory that WASI 0.1 pointers refer to: the caller's export `memory`.
pub(super) fn of(caller: &mut Caller<'_, Host>) -> Result<Memory, Failure> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(Failure::End(wasmtime::format_err!(
            "the module does not export its memory as `memory`"
        ))),
    }
}

/// The caller's memory and the host state, together.
pub(super) fn split<'c>(caller: &'c mut Caller<'_, Host>) -> Result<(&'c mut [u8], &'c mut Host), Failure> {
    let memory = of(caller)?;
    Ok(memory.data_and_store_mut(caller))
}

pub(super) fn bytes(memory: &[u8], at: u32, len: u32) -> Result<&[u8], Failure> {
    let start = at as usize;
    memory
        .get(start..start + len as usize)
        .ok_or(Failure::Errno(errno::FAULT))
}

pub(super) fn bytes_mut(memory: &mut [u8], at: u32, len: u32) -> Result<&mut [u8], Failure> {
    let start = at as usize;
    memory
        .get_mut(start..start + len as usize)
        .ok_or(Failure::Errno(errno::FAULT))
}

pub(super) fn read<const N: usize>(memory: &[u8], at: u32) -> Result<[u8; N], Failure> {
    let start = at as usize;
    memory
        .get(start..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .ok_or(Failure::Errno(errno::FAULT))
}

pub(super) fn write(memory: &mut [u8], at: u32, value: &[u8]) -> Result<(), Failure> {
    let start = at as usize;
    let place = memory
        .get_mut(start..start + value.len())
        .ok_or(Failure::Errno(errno::FAULT))?;
    place.copy_from_slice(value);
    Ok(())
}

/// Entry `index` of an array of (pointer, length) pairs.
pub(super) fn vector(memory: &[u8], array: u32, index: u32) -> Result<(u32, u32), Failure> {
    let at = index
        .checked_mul(8)
        .and_then(|o| array.checked_add(o))
        .ok_or(Failure::Errno(errno::FAULT))?;
    let pair: [u8; 8] = read(memory, at)?;
    let [a, b, c, d, e, f, g, h] = pair;
    Ok((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
}
