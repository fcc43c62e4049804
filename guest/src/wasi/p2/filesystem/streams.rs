//! Streams over files. An operation on a file is done when it returns: they are always ready.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mote_abi::fs::{Type, open};
use wasmtime::component::Resource;

use super::error::{Answer, ErrorCode};
use super::{Descriptor, Open, descriptor, release};
use crate::runtime::size;
use crate::vm::ring::{Errno, Ring};
use crate::wasi::Host;
use crate::wasi::errno::EIO;
use crate::wasi::files::{Files, Place};
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
    pub(in crate::wasi::p2) fn dropped(self, host: &mut Host) {
        release(host, self.open);
    }
}

/// Writes a file from a position on, or at its end.
pub(in crate::wasi::p2) struct FileOutput {
    open: Arc<Open>,
    place: Place,
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
        self.write_all(files, ring, data).map_err(|errno| {
            self.failed = true;
            errno.into()
        })
    }

    fn write_all(&mut self, files: &mut Files, ring: &mut Ring, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            let written = files.write(ring, self.open.target, data, self.place)?;
            if let Place::At(position) = &mut self.place {
                *position = position.saturating_add(written as u64);
            }
            data = match data.get(written..) {
                Some(rest) if written > 0 => rest,
                _ => return Err(EIO),
            };
        }
        Ok(())
    }

    /// Waits until what was written is with the host.
    pub(in crate::wasi::p2) fn flush(
        &mut self,
        files: &mut Files,
        ring: &mut Ring,
    ) -> Result<(), StreamFailure> {
        self.permit()?;
        files.settle(ring, self.open.target.handle).map_err(|errno| {
            self.failed = true;
            errno.into()
        })
    }

    /// The program has dropped the stream.
    pub(in crate::wasi::p2) fn dropped(self, host: &mut Host) {
        release(host, self.open);
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

fn output(mut cx: Cx<'_>, this: &This, place: Place) -> Answer<Resource<OutputStream>> {
    let host = cx.data_mut();
    let open = descriptor::open(host, this)?;
    if open.target.kind == Type::Directory || open.flags & open::WRITE == 0 {
        return Ok((Err(ErrorCode::BadDescriptor),));
    }
    let stream = OutputStream::File(FileOutput {
        open,
        place,
        failed: false,
    });
    Ok((Ok(host.table.push(stream)?),))
}

pub(super) fn write_via_stream(cx: Cx<'_>, (this, offset): (This, u64)) -> Answer<Resource<OutputStream>> {
    output(cx, &this, Place::At(offset))
}

pub(super) fn append_via_stream(cx: Cx<'_>, (this,): (This,)) -> Answer<Resource<OutputStream>> {
    output(cx, &this, Place::End)
}
