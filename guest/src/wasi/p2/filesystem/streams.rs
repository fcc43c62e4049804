//! Streams over files. An operation on a file is done when it returns: they are always ready.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use mote_abi::fs::{Type, open};
use wasmtime::component::Resource;

use super::error::{Answer, ErrorCode};
use super::{Descriptor, Open, descriptor, release};
use crate::runtime::size;
use crate::vm::ring::{Errno, Ring};
use crate::wasi::Host;
use crate::wasi::errno::EIO;
use crate::wasi::files::Files;
use crate::wasi::p2::Cx;
use crate::wasi::p2::io::{InputStream, OutputStream, StreamFailure};

/// Bytes that a write takes.
pub(in crate::wasi::p2) const WRITE_MAX: u64 = 1 << 20;

/// Reads a file from a position on.
pub(in crate::wasi::p2) struct FileInput {
    open: Arc<Open>,
    position: u64,
    ended: bool,
}

impl FileInput {
    /// Up to `len` bytes. The end and an error close the stream.
    pub(in crate::wasi::p2) fn read(
        &mut self,
        files: &mut Files,
        ring: &mut Ring,
        len: usize,
    ) -> Result<Vec<u8>, StreamFailure> {
        if self.ended {
            return Err(StreamFailure::Closed);
        }
        let len = len.min(size(descriptor::READ_MAX));
        match files.read_vec(ring, self.open.target, len, self.position) {
            Ok(data) if data.is_empty() => {
                self.ended = true;
                Err(StreamFailure::Closed)
            }
            Ok(data) => {
                self.position = self.position.saturating_add(data.len() as u64);
                Ok(data)
            }
            Err(errno) => {
                self.ended = true;
                Err(errno.into())
            }
        }
    }

    /// The program has dropped the stream.
    pub(in crate::wasi::p2) fn dropped(self, host: &mut Host) -> wasmtime::Result<()> {
        release(host, self.open)
    }
}

/// Writes a file from a position on, or at its end.
pub(in crate::wasi::p2) struct FileOutput {
    open: Arc<Open>,
    /// Where the next write goes, or `None` for the file's end.
    position: Option<u64>,
    failed: bool,
}

impl FileOutput {
    /// Bytes that a write takes.
    pub(in crate::wasi::p2) const fn permit(&self) -> Result<u64, StreamFailure> {
        if self.failed {
            Err(StreamFailure::Closed)
        } else {
            Ok(WRITE_MAX)
        }
    }

    /// Writes all of `data`. An error, which may be an earlier write's, closes the stream.
    pub(in crate::wasi::p2) fn write(
        &mut self,
        files: &mut Files,
        ring: &mut Ring,
        data: &[u8],
    ) -> Result<(), StreamFailure> {
        self.permit()?;
        self.write_all(files, ring, data)
            .map_err(|errno| self.fail(errno))
    }

    /// Closes the stream for an error that the program is told.
    fn fail(&mut self, errno: Errno) -> StreamFailure {
        self.failed = true;
        self.open.told.fetch_add(1, Ordering::Relaxed);
        errno.into()
    }

    fn write_all(&mut self, files: &mut Files, ring: &mut Ring, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            let written = match &mut self.position {
                Some(position) => {
                    let written = files.write(ring, self.open.target, data, *position)?;
                    *position = position.saturating_add(written as u64);
                    written
                }
                None => files.append(ring, self.open.target, data)?.0,
            };
            data = match data.get(written..) {
                Some(rest) if written > 0 => rest,
                _ => return Err(EIO),
            };
        }
        Ok(())
    }

    /// What was written is on its way to the host, in order. An error that is known closes the stream.
    pub(in crate::wasi::p2) fn flush(
        &mut self,
        files: &mut Files,
        ring: &mut Ring,
    ) -> Result<(), StreamFailure> {
        self.permit()?;
        files
            .check(ring, self.open.target.handle)
            .map_err(|errno| self.fail(errno))
    }

    /// The program has dropped the stream.
    pub(in crate::wasi::p2) fn dropped(self, host: &mut Host) -> wasmtime::Result<()> {
        release(host, self.open)
    }
}

type This = Resource<Descriptor>;

pub(super) fn read_via_stream(mut cx: Cx<'_>, (this, offset): (This, u64)) -> Answer<Resource<InputStream>> {
    let host = cx.data_mut();
    let open = descriptor::open(host, &this)?;
    if open.target.kind == Type::Directory {
        return Ok((Err(ErrorCode::IsDirectory),));
    }
    let stream = InputStream::File(FileInput {
        open,
        position: offset,
        ended: false,
    });
    Ok((Ok(host.table.push(stream)?),))
}

fn output(mut cx: Cx<'_>, this: &This, position: Option<u64>) -> Answer<Resource<OutputStream>> {
    let host = cx.data_mut();
    let open = descriptor::open(host, this)?;
    if open.target.kind == Type::Directory || open.flags & open::WRITE == 0 {
        return Ok((Err(ErrorCode::BadDescriptor),));
    }
    let stream = OutputStream::File(FileOutput {
        open,
        position,
        failed: false,
    });
    Ok((Ok(host.table.push(stream)?),))
}

pub(super) fn write_via_stream(cx: Cx<'_>, (this, offset): (This, u64)) -> Answer<Resource<OutputStream>> {
    output(cx, &this, Some(offset))
}

pub(super) fn append_via_stream(cx: Cx<'_>, (this,): (This,)) -> Answer<Resource<OutputStream>> {
    output(cx, &this, None)
}
