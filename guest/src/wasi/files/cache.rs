//! Reading ahead: small reads of a file one behind the other are served from one large one.
//!
//! What was read ahead is given for a hundredth of a second at most, so that what others write to the file shows, and
//! never after the program itself has changed the file.

use alloc::vec;
use alloc::vec::Vec;

use mote_abi::ring::{Submission, op};

use super::identity::{Identity, identity, with_stat};
use crate::runtime;
use crate::vm::clock;
use crate::vm::ring::{Errno, Ring};

/// What is known about the reads of one handle.
pub(super) struct Cache {
    handle: u64,
    /// Where the last read ended.
    next: u64,
    /// Reads that began where the one before had ended.
    streak: u32,
    /// The file, once something was read ahead.
    identity: Option<Identity>,
    /// Bytes of the file from `start` on; `len` of them are good.
    buffer: Vec<u8>,
    start: u64,
    len: usize,
    /// CLOCK_MONOTONIC of the large read.
    filled_at: u64,
}

impl Cache {
    /// Bytes of the first large read and of the largest: each is twice the one before.
    const FIRST: usize = 128 << 10;
    const LARGEST: usize = 1 << 20;
    /// Reads in a row that start reading ahead.
    const STREAK: u32 = 2;
    /// How long what was read ahead is good, in nanoseconds.
    const AGE_MAX: u64 = 10_000_000;

    pub(super) const fn new(handle: u64) -> Cache {
        Cache {
            handle,
            next: 0,
            streak: 0,
            identity: None,
            buffer: Vec::new(),
            start: 0,
            len: 0,
            filled_at: 0,
        }
    }

    pub(super) const fn handle(&self) -> u64 {
        self.handle
    }

    /// Drops what was read ahead, of this file or of any.
    pub(super) fn forget(&mut self, identity: Option<Identity>) {
        if identity.is_none() || self.identity.is_none() || identity == self.identity {
            self.len = 0;
        }
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
        let from = offset.checked_sub(self.start).map_or(usize::MAX, runtime::size);
        if from >= self.len || clock::monotonic_ns().saturating_sub(self.filled_at) > Self::AGE_MAX {
            return &[];
        }
        &self.buffer[from..self.len]
    }

    fn fill(&mut self, ring: &mut Ring, offset: u64) -> Result<(), Errno> {
        let size = (self.buffer.len() * 2).clamp(Self::FIRST, Self::LARGEST);
        if self.buffer.len() < size {
            self.buffer = vec![0; size];
        }
        self.len = 0;
        let request = Submission {
            op: op::READ_AT,
            handle: self.handle,
            address: self.buffer.as_mut_ptr() as u64,
            len: size as u64,
            offset,
            ..Submission::default()
        };
        let len = if self.identity.is_none() {
            let (len, stat) = with_stat(ring, request);
            self.identity = stat.ok().map(|stat| identity(&stat));
            len?
        } else {
            ring.request(request)?
        };
        self.start = offset;
        self.len = runtime::size(len).min(size);
        self.filled_at = clock::monotonic_ns();
        Ok(())
    }
}
