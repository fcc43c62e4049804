//! Reading: at most one read is under way, and what it brought is kept until it is asked for.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use mote_abi::ring::{Submission, op};

use crate::vm::ring::{Errno, Ring, Token};

/// The reading end of a handle.
pub(crate) struct Input {
    handle: u64,
    /// Not there until the first read.
    buffer: Vec<u8>,
    /// What is left of the last read.
    data: Range<usize>,
    reading: Option<Token>,
    ended: bool,
    failed: Option<Errno>,
}

impl Input {
    /// Bytes of the first read. A read that fills the buffer is followed by one of twice the size.
    pub(crate) const FIRST: usize = 8 << 10;
    /// Bytes of the largest read.
    const MOST: usize = 64 << 10;

    pub(crate) const fn new(handle: u64) -> Input {
        Input {
            handle,
            buffer: Vec::new(),
            data: 0..0,
            reading: None,
            ended: false,
            failed: None,
        }
    }

    /// That of a handle of which `len` bytes have been read into `buffer` already.
    pub(crate) fn begun(handle: u64, buffer: Vec<u8>, len: usize) -> Input {
        let data = 0..len.min(buffer.len());
        Input {
            buffer,
            data,
            ..Input::new(handle)
        }
    }

    /// Takes up to `len` bytes that are there: `None` if none are yet, an empty slice at the end.
    pub(crate) fn read(&mut self, ring: &mut Ring, len: usize) -> Result<Option<&[u8]>, Errno> {
        if !self.readable(ring) {
            ring.kick();
            return Ok(None);
        }
        if let Some(errno) = self.failed.take() {
            return Err(errno);
        }
        let start = self.data.start;
        let end = self.data.end.min(start.saturating_add(len));
        self.data.start = end;
        Ok(Some(&self.buffer[start..end]))
    }

    /// As [`Self::read`], waiting until there is something.
    pub(crate) fn read_blocking(&mut self, ring: &mut Ring, len: usize) -> Result<&[u8], Errno> {
        while !self.readable(ring) {
            ring.wait(u64::MAX);
        }
        Ok(self.read(ring, len)?.unwrap_or(&[]))
    }

    /// Whether a read would not have to wait. Starts one if need be.
    pub(crate) fn readable(&mut self, ring: &mut Ring) -> bool {
        self.poll(ring);
        let ready = !self.data.is_empty() || self.ended || self.failed.is_some();
        if !ready {
            self.start(ring);
        }
        ready
    }

    /// Whether something that was read is left.
    pub(crate) fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// Whether a read is under way.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// As [`Self::readable`]; a read that it starts is tried at once.
    pub(crate) fn readable_now(&mut self, ring: &mut Ring) -> bool {
        let reading = self.reading.is_some();
        if self.readable(ring) {
            return true;
        }
        if reading {
            return false;
        }
        ring.serve();
        self.readable(ring)
    }

    /// Takes back the read that may be under way. The handle stays open.
    pub(crate) fn stop(&mut self, ring: &mut Ring) {
        if let Some(token) = self.reading.take() {
            ring.cancel(token, core::mem::take(&mut self.buffer));
        }
        self.ended = true;
        self.data = 0..0;
    }

    fn start(&mut self, ring: &mut Ring) {
        if self.reading.is_some() {
            return;
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; Self::FIRST];
        } else if self.data.end == self.buffer.len() && self.buffer.len() < Self::MOST {
            self.buffer = vec![0; self.buffer.len() * 2];
        }
        let request = Submission {
            op: op::READ,
            handle: self.handle,
            address: self.buffer.as_mut_ptr() as u64,
            len: self.buffer.len() as u64,
            ..Submission::default()
        };
        self.reading = Some(ring.submit(request));
    }

    fn poll(&mut self, ring: &mut Ring) {
        let Some(result) = self.reading.and_then(|token| ring.take(token)) else {
            return;
        };
        self.reading = None;
        match usize::try_from(result) {
            Ok(0) => self.ended = true,
            Ok(len) => self.data = 0..len.min(self.buffer.len()),
            Err(_) => self.failed = Some(-result),
        }
    }
}
