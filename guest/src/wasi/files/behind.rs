//! Writing behind: a small write that continues the one before is submitted and not waited for.
//!
//! The VMM serves submissions in their order, so whatever the program does next comes after it. Its error is told by
//! the next operation on the same handle that tells errors of writing: a write, a sync, a change of size, the close.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use mote_abi::ring::{Submission, op};

use crate::vm::ring::{Errno, Ring, Token};

/// Writes under way.
#[derive(Default)]
pub(super) struct Behind {
    writes: VecDeque<Write>,
    /// Bytes of them.
    bytes: usize,
    /// First error of a handle's writes, until it is told.
    failed: BTreeMap<u64, Errno>,
    /// Handle and end of the last small write.
    last: Option<(u64, u64)>,
}

struct Write {
    token: Token,
    request: Submission,
    data: Vec<u8>,
}

impl Behind {
    /// Largest write that is not waited for.
    const WRITE_MAX: usize = 32 << 10;
    /// Writes and bytes that may be under way; the next one waits for all of them at once.
    const WRITES: usize = 48;
    const BYTES: usize = 512 << 10;

    /// Whether a write may go behind: it is small and continues the last one.
    pub(super) fn wants(&mut self, handle: u64, offset: u64, len: usize) -> bool {
        let continues = self.last == Some((handle, offset));
        self.last = Some((handle, offset.saturating_add(len as u64)));
        continues && len <= Self::WRITE_MAX
    }

    /// Submits a write of `data`, which `request` is to carry.
    pub(super) fn write(&mut self, ring: &mut Ring, mut request: Submission, data: Vec<u8>) {
        if self.writes.len() >= Self::WRITES || self.bytes >= Self::BYTES {
            self.wait(ring);
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
        if self.last.is_some_and(|(last, _)| last == handle) {
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
