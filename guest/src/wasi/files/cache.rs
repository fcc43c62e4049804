//! Reading ahead: small reads of a file one behind the other are served from one large one.
//!
//! What was read ahead is given for a hundredth of a second at most, so that what others write to the file shows, and
//! never after the program itself has changed any file.

use alloc::vec;
use alloc::vec::Vec;

use mote_abi::ring::{Submission, op};

use crate::runtime::size;
use crate::vm::clock;
use crate::vm::ring::{Errno, Ring};

/// What is known about the reads of one handle.
pub(super) struct Cache {
    handle: u64,
    /// Where the last read ended.
    next: u64,
    /// Reads that began where the one before had ended.
    streak: u32,
    /// Bytes of the file from `start` on; `len` of them are good.
    buffer: Vec<u8>,
    start: u64,
    len: usize,
    /// CLOCK_MONOTONIC of the large read.
    filled_at: u64,
}

impl Cache {
    /// Bytes of a large read.
    const SIZE: usize = 256 << 10;
    /// Reads in a row that start reading ahead.
    const STREAK: u32 = 2;
    /// How long what was read ahead is good, in nanoseconds.
    const AGE_MAX: u64 = 10_000_000;

    pub(super) const fn new(handle: u64) -> Cache {
        Cache {
            handle,
            next: 0,
            streak: 0,
            buffer: Vec::new(),
            start: 0,
            len: 0,
            filled_at: 0,
        }
    }

    pub(super) const fn handle(&self) -> u64 {
        self.handle
    }

    /// Drops what was read ahead.
    pub(super) const fn forget(&mut self) {
        self.len = 0;
    }

    /// Notes a read that went past the cache.
    pub(super) fn passed(&mut self, offset: u64, len: u64) {
        self.streak = if offset == self.next {
            self.streak.saturating_add(1)
        } else {
            0
        };
        self.next = offset.saturating_add(len);
    }

    /// Whether a read at `offset` is to be served from here.
    pub(super) fn wants(&mut self, offset: u64) -> bool {
        if offset == self.next && self.streak >= Self::STREAK {
            return true;
        }
        if offset != self.next {
            self.streak = 0;
            self.len = 0;
        }
        false
    }

    /// Reads from `offset` on until `place` is full or the file ends. A copy costs less than leaving the VM.
    pub(super) fn read(&mut self, ring: &mut Ring, place: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let mut done = 0;
        while done < place.len() {
            let at = offset + done as u64;
            let mut there = self.at(at);
            if there.is_empty() {
                if let Err(errno) = self.fill(ring, at) {
                    if done == 0 {
                        return Err(errno);
                    }
                    break;
                }
                there = self.at(at);
                if there.is_empty() {
                    break;
                }
            }
            let part = there.len().min(place.len() - done);
            place[done..done + part].copy_from_slice(&there[..part]);
            done += part;
        }
        self.next = offset + done as u64;
        Ok(done)
    }

    /// What is there from `offset` on.
    fn at(&self, offset: u64) -> &[u8] {
        let from = offset.checked_sub(self.start).map_or(usize::MAX, size);
        if from >= self.len || clock::monotonic_ns().saturating_sub(self.filled_at) > Self::AGE_MAX {
            return &[];
        }
        &self.buffer[from..self.len]
    }

    fn fill(&mut self, ring: &mut Ring, offset: u64) -> Result<(), Errno> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; Self::SIZE];
        }
        self.len = 0;
        let len = ring.request(Submission {
            op: op::READ_AT,
            handle: self.handle,
            address: self.buffer.as_mut_ptr() as u64,
            len: Self::SIZE as u64,
            offset,
            ..Submission::default()
        })?;
        self.start = offset;
        self.len = size(len).min(Self::SIZE);
        self.filled_at = clock::monotonic_ns();
        Ok(())
    }
}
