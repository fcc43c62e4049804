//! Writing behind: in a burst of small writes, each of which continues the one before, a write is submitted and not
//! waited for.
//!
//! The VMM serves submissions in their order, so whatever the program does next comes after it. Its error is told by
//! the next operation on the same handle that tells errors of writing: a write, a sync, a change of size, the close;
//! and if there is none, by the program's end.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use mote_abi::ring::{Submission, op};

use crate::vm::clock;
use crate::vm::ring::{Errno, Ring, Token};

/// Writes under way.
#[derive(Default)]
pub(super) struct Behind {
    writes: VecDeque<Write>,
    /// Bytes of them.
    bytes: usize,
    /// First error of a handle's writes, until it is told.
    failed: BTreeMap<u64, Errno>,
    last: Option<Last>,
}

/// The last write.
struct Last {
    handle: u64,
    /// Where it ended.
    end: u64,
    /// CLOCK_MONOTONIC.
    time: u64,
}

struct Write {
    token: Token,
    request: Submission,
    data: Vec<u8>,
}

impl Behind {
    /// Largest write that is not waited for.
    const WRITE_MAX: usize = 128 << 10;
    /// Writes and bytes that may be under way; the next one waits for all of them at once.
    const WRITES: usize = 48;
    const BYTES: usize = 1 << 20;
    /// Nanoseconds between two writes of a burst. Who writes less often shows it to others at once.
    const PAUSE_MAX: u64 = 1_000_000;

    /// Whether a write may go behind: it is small and continues the last one.
    pub(super) fn wants(&mut self, handle: u64, offset: u64, len: usize) -> bool {
        let time = clock::monotonic_ns();
        let continues = self.last.as_ref().is_some_and(|last| {
            last.handle == handle && last.end == offset && time.saturating_sub(last.time) < Self::PAUSE_MAX
        });
        self.last = Some(Last {
            handle,
            end: offset.saturating_add(len as u64),
            time,
        });
        continues && len <= Self::WRITE_MAX
    }

    /// Notes that the write which [`Self::wants`] did not take is done: the next may follow it.
    pub(super) fn written(&mut self) {
        if let Some(last) = &mut self.last {
            last.time = clock::monotonic_ns();
        }
    }

    /// The first error that nobody was told of.
    pub(super) fn untold(&mut self, ring: &mut Ring) -> Option<Errno> {
        self.wait(ring);
        self.failed.pop_first().map(|(_, errno)| errno)
    }

    /// Submits a write of `data`, which `request` is to carry.
    pub(super) fn write(&mut self, ring: &mut Ring, mut request: Submission, data: Vec<u8>) {
        if self.writes.len() >= Self::WRITES || self.bytes >= Self::BYTES {
            self.wait(ring);
            self.written();
        }
        request.address = data.as_ptr() as u64;
        request.len = data.len() as u64;
        self.bytes += data.len();
        let token = ring.submit(request);
        self.writes.push_back(Write { token, request, data });
    }

    /// Takes the results that are there.
    fn reap(&mut self, ring: &mut Ring) {
        while let Some(first) = self.writes.front() {
            let Some(result) = ring.take(first.token) else {
                return;
            };
            if let Some(write) = self.writes.pop_front() {
                self.finish(ring, &write, result);
            }
        }
    }

    /// Waits for all.
    pub(super) fn wait(&mut self, ring: &mut Ring) {
        while let Some(write) = self.writes.pop_front() {
            let result = ring.wait_for(write.token);
            self.finish(ring, &write, result);
        }
    }

    /// The error of an earlier write to `handle`, if one is known.
    pub(super) fn check(&mut self, ring: &mut Ring, handle: u64) -> Result<(), Errno> {
        self.reap(ring);
        self.failed.remove(&handle).map_or(Ok(()), Err)
    }

    /// Waits for the writes to `handle`; the error of one.
    pub(super) fn settle(&mut self, ring: &mut Ring, handle: u64) -> Result<(), Errno> {
        if self.writes.iter().any(|write| write.request.handle == handle) {
            self.wait(ring);
        }
        if self.last.as_ref().is_some_and(|last| last.handle == handle) {
            self.last = None;
        }
        self.check(ring, handle)
    }

    fn finish(&mut self, ring: &mut Ring, write: &Write, result: i64) {
        self.bytes -= write.data.len();
        let handle = write.request.handle;
        let mut done = match u64::try_from(result) {
            Ok(done) => done,
            Err(_) => {
                self.failed.entry(handle).or_insert(-result);
                return;
            }
        };
        // What could not be written says why when it is tried again.
        while done < write.request.len {
            let rest = Submission {
                op: op::WRITE_AT,
                address: write.request.address + done,
                len: write.request.len - done,
                offset: write.request.offset.saturating_add(done),
                ..write.request
            };
            match ring.request(rest) {
                Ok(0) => return,
                Ok(more) => done += more,
                Err(errno) => {
                    self.failed.entry(handle).or_insert(errno);
                    return;
                }
            }
        }
    }
}
