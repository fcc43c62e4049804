//! Short writes in a row on one stream, which go out together: whoever reads a response then wakes once for it.

use mote_abi::ring::{Submission, op};
use vm_memory::VolatileSlice;

use super::guest_data::copy_in;
use super::objects::{Object, Objects};
use super::stream::Progress;
use crate::memory::Space;

/// Most bytes of them all. Longer writes gain nothing and are not worth the copy.
const MOST: u64 = 8 << 10;

/// Writes to the stream of one HTTP exchange, as they came out of the ring.
#[derive(Debug, Default)]
pub(super) struct Joined {
    writes: Vec<Submission>,
    bytes: u64,
}

impl Joined {
    /// Adds a submission, if it can go along.
    pub(super) fn takes(&mut self, objects: &Objects, submission: &Submission) -> bool {
        let fits = submission.op == op::WRITE
            && submission.len <= MOST - self.bytes
            && self
                .writes
                .first()
                .is_none_or(|first| first.handle == submission.handle)
            && matches!(objects.get(submission.handle), Ok(Object::Stream(_)));
        if fits {
            self.bytes += submission.len;
            self.writes.push(*submission);
        }
        fits
    }

    /// Takes them out.
    pub(super) fn take(&mut self) -> Vec<Submission> {
        self.bytes = 0;
        std::mem::take(&mut self.writes)
    }
}

/// Writes as much of these as goes at once, in one system call: the number of bytes. What hinders the rest is found by
/// whoever tries each alone.
pub(super) fn write(objects: &mut Objects, space: &Space, writes: &[Submission]) -> u64 {
    let copies = writes
        .iter()
        .map(|write| copy_in(space, write.address, write.len));
    let mut bytes: Vec<u8> = copies.map_while(Result::ok).flatten().collect();
    let handle = writes.first().map_or(u64::MAX, |write| write.handle);
    let Ok(stream) = objects.stream(handle, true) else {
        return 0;
    };
    match stream.write(&VolatileSlice::from(bytes.as_mut_slice())) {
        Progress::Bytes(written) => written as u64,
        Progress::Blocked | Progress::Failed(_) => 0,
    }
}
