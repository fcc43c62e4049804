//! The program's linear memory, as the calls' pointers address it.
//!
//! A pointer that is out of bounds, or not aligned for what it points to, is a trap. (WASI witx-docs, "Pointers")

use wasmtime::{Caller, Extern, Memory};

use super::{Answer, Failure, errno};
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

fn out_of_bounds(at: u32, len: usize) -> Failure {
    Failure::End(wasmtime::format_err!(
        "pointer out of bounds: {len} bytes at {at:#x}"
    ))
}

fn aligned(at: u32, align: u32) -> Answer {
    if at.is_multiple_of(align) {
        Ok(())
    } else {
        Err(Failure::End(wasmtime::format_err!(
            "pointer not aligned: {at:#x} to {align} bytes"
        )))
    }
}

/// `len` bytes at `at`.
pub(super) fn bytes(memory: &[u8], at: u32, len: u32) -> Result<&[u8], Failure> {
    let start = at as usize;
    memory
        .get(start..start + len as usize)
        .ok_or_else(|| out_of_bounds(at, len as usize))
}

/// `len` bytes at `at`, to write.
pub(super) fn bytes_mut(memory: &mut [u8], at: u32, len: u32) -> Result<&mut [u8], Failure> {
    let start = at as usize;
    memory
        .get_mut(start..start + len as usize)
        .ok_or_else(|| out_of_bounds(at, len as usize))
}

/// A text of `len` bytes at `at`.
pub(super) fn text(memory: &[u8], at: u32, len: u32) -> Result<&str, Failure> {
    core::str::from_utf8(bytes(memory, at, len)?).map_err(|_| Failure::Errno(errno::ILSEQ))
}

/// A value of `N` bytes at `at`.
pub(super) fn read<const N: usize>(memory: &[u8], at: u32, align: u32) -> Result<[u8; N], Failure> {
    aligned(at, align)?;
    memory
        .get(at as usize..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .ok_or_else(|| out_of_bounds(at, N))
}

/// Puts a value to `at`.
pub(super) fn write(memory: &mut [u8], at: u32, align: u32, value: &[u8]) -> Answer {
    aligned(at, align)?;
    let start = at as usize;
    memory
        .get_mut(start..start + value.len())
        .ok_or_else(|| out_of_bounds(at, value.len()))?
        .copy_from_slice(value);
    Ok(())
}

/// Puts a `u32` to `at`.
pub(super) fn write_u32(memory: &mut [u8], at: u32, value: u32) -> Answer {
    write(memory, at, 4, &value.to_le_bytes())
}

/// Puts a `u64` to `at`.
pub(super) fn write_u64(memory: &mut [u8], at: u32, value: u64) -> Answer {
    write(memory, at, 8, &value.to_le_bytes())
}

/// Entry `index` of an array of (pointer, length) pairs: `iovec` and `ciovec`.
pub(super) fn vector(memory: &[u8], array: u32, index: u32) -> Result<(u32, u32), Failure> {
    let at = index
        .checked_mul(8)
        .and_then(|offset| array.checked_add(offset))
        .ok_or_else(|| out_of_bounds(array, 8))?;
    let [a, b, c, d, e, f, g, h] = read(memory, at, 4)?;
    Ok((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
}
