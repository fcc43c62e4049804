//! The sending half of an exchange.

use mote_abi::ring::{Submission, op};

use super::frames::Frames;
use crate::vm::ring::Ring;
use crate::wasi::streams::Output;

/// Bytes that may wait or be under way.
pub(super) const QUEUE_MAX: usize = 256 << 10;

/// Writes that may be under way. What comes meanwhile goes out together.
const WRITES_MAX: usize = 4;

/// Frames go out in the order in which they are queued. Nobody waits for one write to make the next.
pub(super) struct Sender {
    handle: u64,
    pub(super) queue: Frames,
    output: Output,
    /// Nobody reads: the front has gone, or has no use for the rest.
    broken: bool,
}

impl Sender {
    pub(super) const fn new(handle: u64, queue: Frames) -> Sender {
        Sender {
            handle,
            queue,
            output: Output::new(handle),
            broken: false,
        }
    }

    /// Submits what waits, if not too much is under way.
    pub(super) fn pump(&mut self, ring: &mut Ring) {
        self.reap(ring);
        if self.output.under_way().0 < WRITES_MAX {
            self.submit(ring);
        }
    }

    /// Submits all that waits, and has the handle closed once it is written.
    pub(super) fn finish(&mut self, ring: &mut Ring) {
        self.reap(ring);
        self.submit(ring);
        ring.detach(Submission {
            op: op::CLOSE,
            handle: self.handle,
            extra: [1, 0],
            ..Submission::default()
        });
    }

    /// Submits all that waits, and that the stream is for the next exchange: whether it is.
    pub(super) fn pass_on(&mut self, ring: &mut Ring) -> bool {
        self.reap(ring);
        let whole = self.queue.is_ended() && !self.broken;
        if whole {
            self.queue.idle();
            self.submit(ring);
        }
        whole
    }

    fn submit(&mut self, ring: &mut Ring) {
        let data = self.queue.take();
        if !self.broken && !data.is_empty() {
            self.output.submit(ring, data);
        }
    }

    /// Takes in which writes have ended.
    pub(super) fn reap(&mut self, ring: &mut Ring) {
        self.broken |= self.output.check(ring).is_err();
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that may be queued at this moment.
    pub(super) fn room(&self) -> usize {
        QUEUE_MAX.saturating_sub(self.output.under_way().1 + self.queue.bytes.len())
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.output.under_way().0 == 0
    }

    /// Gives up what waits. What is under way ends with the handle.
    pub(super) fn abandon(&mut self, ring: &mut Ring) {
        self.queue.take();
        self.broken = true;
        self.output.abandon(ring);
    }
}
