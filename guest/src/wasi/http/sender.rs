//! The sending half of an exchange.

use alloc::vec::Vec;

use mote_abi::ring::{Submission, op};

use super::frames::Frames;
use crate::vm::ring::{Ring, Token};

/// Bytes that may wait or be under way.
pub(super) const QUEUE_MAX: usize = 256 << 10;

/// Frames go out in the order in which they are queued, one write at a time.
pub(super) struct Sender {
    handle: u64,
    pub(super) queue: Frames,
    writing: Option<(Token, Vec<u8>)>,
    /// Nobody reads: the front has gone, or has no use for the rest.
    broken: bool,
}

impl Sender {
    pub(super) const fn new(handle: u64, queue: Frames) -> Sender {
        Sender {
            handle,
            queue,
            writing: None,
            broken: false,
        }
    }

    /// Submits what waits, if nothing is under way.
    pub(super) fn pump(&mut self, ring: &mut Ring) {
        if let Some((token, data)) = self.writing.take() {
            match ring.take(token) {
                None => self.writing = Some((token, data)),
                Some(result) => self.broken |= usize::try_from(result) != Ok(data.len()),
            }
        }
        if self.broken {
            self.queue.take();
        } else if self.writing.is_none() && !self.queue.bytes.is_empty() {
            let data = self.queue.take();
            let token = ring.submit(Submission {
                op: op::WRITE,
                handle: self.handle,
                address: data.as_ptr() as u64,
                len: data.len() as u64,
                ..Submission::default()
            });
            self.writing = Some((token, data));
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that may be queued at this moment.
    pub(super) fn room(&self) -> usize {
        let under_way = self.writing.as_ref().map_or(0, |(_, data)| data.len());
        QUEUE_MAX.saturating_sub(under_way + self.queue.bytes.len())
    }

    /// Whether all is written, or never will be.
    pub(super) fn is_idle(&self) -> bool {
        self.writing.is_none() && self.queue.bytes.is_empty()
    }

    /// Gives up what waits. What is under way ends with the handle.
    pub(super) fn abandon(&mut self, ring: &mut Ring) {
        self.queue.take();
        self.broken = true;
        if let Some((token, data)) = self.writing.take() {
            ring.abandon(token, data);
        }
    }
}
