//! Reading and writing descriptors.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use mote_abi::fs::{Type, open};
use wasmtime::Caller;

use super::fds::{Fd, File};
use super::{Answer, Failure, errno, fail, memory};
use crate::runtime::size;
use crate::wasi::files::{self, Part};
use crate::wasi::{Host, Stdio};

type Cx<'a, 'b> = &'a mut Caller<'b, Host>;

/// Most bytes that one call writes if they come in several parts: they are put together first.
const GATHER_MAX: usize = 256 << 10;

/// The parts of a `ciovec_array` that have bytes, as one. A large first part is taken alone, which the program has to
/// expect.
fn gather(memory: &[u8], iovs: u32, count: u32) -> Result<Cow<'_, [u8]>, Failure> {
    let mut whole = Cow::Borrowed(&[][..]);
    for i in 0..count {
        let (at, len) = memory::vector(memory, iovs, i)?;
        let part = memory::bytes(memory, at, len)?;
        if part.is_empty() {
            continue;
        }
        if whole.is_empty() {
            whole = Cow::Borrowed(part);
        } else if whole.len() + part.len() > GATHER_MAX {
            break;
        } else {
            whole.to_mut().extend_from_slice(part);
        }
    }
    Ok(whole)
}

pub(super) fn fd_write(caller: Cx<'_, '_>, fd: u32, iovs: u32, count: u32, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let written = {
        let data = gather(memory, iovs, count)?;
        match host.fds.get(fd)? {
            Fd::Stdio(0) | Fd::Directory(_) => return fail(errno::BADF),
            Fd::Stdio(number) => {
                host.stdio.write(&mut host.ring, *number, &data)?;
                data.len()
            }
            Fd::File(_) => {
                let (written, end) = write_file(host, fd, &data, None)?;
                host.fds.file(fd)?.position = end;
                written
            }
        }
    };
    memory::write_u32(memory, out, length(written)?)
}

pub(super) fn fd_pwrite(caller: Cx<'_, '_>, fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let written = {
        let data = gather(memory, iovs, count)?;
        match host.fds.get(fd)? {
            Fd::Stdio(0) | Fd::Directory(_) => return fail(errno::BADF),
            Fd::Stdio(_) => return fail(errno::SPIPE),
            Fd::File(_) => write_file(host, fd, &data, Some(offset))?.0,
        }
    };
    memory::write_u32(memory, out, length(written)?)
}

/// Writes at an offset or at the descriptor's position: how many bytes, and where the position is behind them.
fn write_file(host: &mut Host, fd: u32, data: &[u8], offset: Option<u64>) -> Result<(usize, u64), Failure> {
    let Host { fds, files, ring, .. } = host;
    let file = fds.file(fd)?;
    if file.flags & open::WRITE == 0 {
        return Err(Failure::Errno(errno::BADF));
    }
    // An offset counts for nothing where writes go to the end, as with pwrite(2) of Linux.
    if file.append && file.target.kind == Type::RegularFile {
        return Ok(files.append(ring, file.target, data)?);
    }
    let position = offset.unwrap_or(file.position);
    let written = files.write(ring, file.target, data, position)?;
    let end = position
        .checked_add(written as u64)
        .ok_or(Failure::Errno(errno::OVERFLOW))?;
    Ok((written, end))
}

pub(super) fn fd_read(caller: Cx<'_, '_>, fd: u32, iovs: u32, count: u32, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let read = match host.fds.get(fd)? {
        Fd::Stdio(0) => read_stdin(&mut host.stdio, &mut host.ring, memory, iovs, count)?,
        Fd::Stdio(_) | Fd::Directory(_) => return fail(errno::BADF),
        Fd::File(file) => {
            let read = read_file(
                &mut host.files,
                &mut host.ring,
                memory,
                file,
                file.position,
                (iovs, count),
            )?;
            file.position = file
                .position
                .checked_add(read as u64)
                .ok_or(Failure::Errno(errno::OVERFLOW))?;
            read
        }
    };
    memory::write_u32(memory, out, length(read)?)
}

pub(super) fn fd_pread(caller: Cx<'_, '_>, fd: u32, iovs: u32, count: u32, offset: u64, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let read = match host.fds.get(fd)? {
        Fd::Stdio(0) => return fail(errno::SPIPE),
        Fd::Stdio(_) | Fd::Directory(_) => return fail(errno::BADF),
        Fd::File(file) => read_file(
            &mut host.files,
            &mut host.ring,
            memory,
            file,
            offset,
            (iovs, count),
        )?,
    };
    memory::write_u32(memory, out, length(read)?)
}

/// The first part with room is filled with what is there; like read(2) this waits only for the first byte.
fn read_stdin(
    stdio: &mut Stdio,
    ring: &mut crate::vm::ring::Ring,
    memory: &mut [u8],
    iovs: u32,
    count: u32,
) -> Result<usize, Failure> {
    for i in 0..count {
        let (at, len) = memory::vector(memory, iovs, i)?;
        let place = memory::bytes_mut(memory, at, len)?;
        if !place.is_empty() {
            let data = stdio.input.read_blocking(ring, place.len())?;
            place[..data.len()].copy_from_slice(data);
            return Ok(data.len());
        }
    }
    Ok(0)
}

/// Reads into the parts of an `iovec_array`.
fn read_file(
    files: &mut files::Files,
    ring: &mut crate::vm::ring::Ring,
    memory: &mut [u8],
    file: &File,
    offset: u64,
    (iovs, count): (u32, u32),
) -> Result<usize, Failure> {
    if file.flags & open::READ == 0 {
        return Err(Failure::Errno(errno::BADF));
    }
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for i in 0..count {
        let (at, len) = memory::vector(memory, iovs, i)?;
        memory::bytes(memory, at, len)?;
        if len > 0 {
            parts.push((at, len));
        }
    }
    match parts[..] {
        [] => Ok(0),
        [(at, len)] => {
            let place = memory::bytes_mut(memory, at, len)?;
            Ok(files.read(ring, file.target, place, offset)?)
        }
        _ => {
            let base = memory.as_mut_ptr() as u64;
            let parts: Vec<Part> = parts
                .iter()
                .map(|(at, len)| Part {
                    address: base + u64::from(*at),
                    len: u64::from(*len),
                })
                .collect();
            Ok(size(files.read_parts(ring, file.target, &parts, offset)?))
        }
    }
}

/// A number of bytes as the program's 32 bits have it.
fn length(len: usize) -> Result<u32, Failure> {
    u32::try_from(len).map_err(|_| Failure::Errno(errno::OVERFLOW))
}
