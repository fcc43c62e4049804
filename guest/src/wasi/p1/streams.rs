//! Descriptor calls on the standard streams.

use alloc::vec::Vec;

use wasmtime::Caller;

use super::{Answer, Failure, errno, fail, memory};
use crate::wasi::Host;

/// File types. (witx `filetype`)
const CHARACTER_DEVICE: u8 = 2;
const UNKNOWN: u8 = 0;

/// Rights. (witx `rights`)
const FD_READ: u64 = 1 << 1;
const FD_WRITE: u64 = 1 << 6;
const POLL_FD_READWRITE: u64 = 1 << 27;

fn is_open(host: &Host, fd: u32) -> bool {
    host.open.get(fd as usize).copied().unwrap_or(false)
}

fn open(caller: &Caller<'_, Host>, fd: u32) -> Answer {
    if is_open(caller.data(), fd) {
        Ok(())
    } else {
        fail(errno::BADF)
    }
}

/// The number that WASI 0.1 has for a Linux errno of a stream.
fn from_linux(linux: i64) -> Failure {
    const EPIPE: i64 = 32;
    const EBADF: i64 = 9;
    Failure::Errno(match linux {
        EPIPE => errno::PIPE,
        EBADF => errno::BADF,
        _ => errno::IO,
    })
}

pub(super) fn fd_write(caller: &mut Caller<'_, Host>, fd: u32, iovs: u32, count: u32, out: u32) -> Answer {
    open(caller, fd)?;
    if fd == 0 {
        return fail(errno::BADF);
    }
    let (memory, host) = memory::split(caller)?;
    let mut written = 0_u32;
    if count == 1 {
        let (at, len) = memory::vector(memory, iovs, 0)?;
        host.stdio
            .write(&mut host.ring, fd, memory::bytes(memory, at, len)?)
            .map_err(from_linux)?;
        written = len;
    } else {
        // One write, so that lines of several parts are not torn apart.
        let mut whole = Vec::new();
        for i in 0..count {
            let (at, len) = memory::vector(memory, iovs, i)?;
            whole.extend_from_slice(memory::bytes(memory, at, len)?);
            written = written.checked_add(len).ok_or(Failure::Errno(errno::INVAL))?;
        }
        host.stdio.write(&mut host.ring, fd, &whole).map_err(from_linux)?;
    }
    memory::write(memory, out, &written.to_le_bytes())
}

pub(super) fn fd_read(caller: &mut Caller<'_, Host>, fd: u32, iovs: u32, count: u32, out: u32) -> Answer {
    open(caller, fd)?;
    if fd != 0 {
        return fail(errno::BADF);
    }
    let (memory, host) = memory::split(caller)?;
    let mut read = 0_u32;
    // The first part with room is filled with what is there; like read(2) this waits only for the first byte.
    for i in 0..count {
        let (at, len) = memory::vector(memory, iovs, i)?;
        let place = memory::bytes_mut(memory, at, len)?;
        if place.is_empty() {
            continue;
        }
        let data = host
            .stdio
            .input
            .read_blocking(&mut host.ring, place.len())
            .map_err(from_linux)?;
        place[..data.len()].copy_from_slice(data);
        read = u32::try_from(data.len()).unwrap_or(len);
        break;
    }
    memory::write(memory, out, &read.to_le_bytes())
}

pub(super) fn fd_pwrite(caller: &mut Caller<'_, Host>, fd: u32, _: u32, _: u32, _: u64, _: u32) -> Answer {
    open(caller, fd)?;
    fail(errno::SPIPE)
}

pub(super) fn fd_pread(caller: &mut Caller<'_, Host>, fd: u32, _: u32, _: u32, _: u64, _: u32) -> Answer {
    open(caller, fd)?;
    fail(errno::SPIPE)
}

pub(super) fn fd_close(caller: &mut Caller<'_, Host>, fd: u32) -> Answer {
    open(caller, fd)?;
    caller.data_mut().flush();
    caller.data_mut().open[fd as usize] = false;
    Ok(())
}

pub(super) fn fd_seek(caller: &mut Caller<'_, Host>, fd: u32, _: i64, _: u32, _: u32) -> Answer {
    open(caller, fd)?;
    fail(errno::SPIPE)
}

pub(super) fn fd_tell(caller: &mut Caller<'_, Host>, fd: u32, _: u32) -> Answer {
    open(caller, fd)?;
    fail(errno::SPIPE)
}

fn file_type(host: &Host, fd: u32) -> u8 {
    if host.stdio.is_terminal(fd) {
        CHARACTER_DEVICE
    } else {
        UNKNOWN
    }
}

pub(super) fn fd_fdstat_get(caller: &mut Caller<'_, Host>, fd: u32, out: u32) -> Answer {
    open(caller, fd)?;
    let (memory, host) = memory::split(caller)?;
    let rights = POLL_FD_READWRITE | if fd == 0 { FD_READ } else { FD_WRITE };
    // struct fdstat: filetype u8, flags u16 at 2, rights_base u64 at 8, rights_inheriting u64 at 16.
    let mut stat = [0; 24];
    stat[0] = file_type(host, fd);
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    memory::write(memory, out, &stat)
}

pub(super) fn fd_fdstat_set_flags(caller: &mut Caller<'_, Host>, fd: u32, _flags: u32) -> Answer {
    open(caller, fd)?;
    fail(errno::BADF)
}

pub(super) fn fd_fdstat_set_rights(caller: &mut Caller<'_, Host>, fd: u32, _: u64, _: u64) -> Answer {
    open(caller, fd)?;
    fail(errno::NOTSUP)
}

pub(super) fn fd_filestat_get(caller: &mut Caller<'_, Host>, fd: u32, out: u32) -> Answer {
    open(caller, fd)?;
    let (memory, host) = memory::split(caller)?;
    // struct filestat: dev u64, ino u64, filetype u8 at 16, nlink u64 at 24, size, atim, mtim, ctim.
    let mut stat = [0; 64];
    stat[16] = file_type(host, fd);
    memory::write(memory, out, &stat)
}

pub(super) fn fd_sync(caller: &mut Caller<'_, Host>, fd: u32) -> Answer {
    open(caller, fd)?;
    caller.data_mut().flush();
    fail(errno::INVAL)
}

pub(super) fn fd_renumber(caller: &mut Caller<'_, Host>, from: u32, to: u32) -> Answer {
    open(caller, from)?;
    open(caller, to)?;
    fail(errno::NOTSUP)
}
