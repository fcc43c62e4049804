//! Frames that wait to be sent.

use alloc::vec::Vec;

use mote_abi::http::{Failure, FrameHead, PAYLOAD_MAX, ResponseHead, TooLong, encode_fields, frame};

use super::fields::List;

/// Frames in the order in which they go out.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) bytes: Vec<u8>,
    /// Where the head of the last frame stands, if it is a BODY that more can be added to.
    open: Option<usize>,
    /// The body's end is among them, or was.
    ended: bool,
}

impl Frames {
    /// Adds bytes of the body, to the last frame if they fit into it.
    pub(super) fn body(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let at = self.open.unwrap_or(self.bytes.len());
            if self.open.is_none() {
                self.bytes.extend_from_slice(&[0; FrameHead::LEN]);
                self.open = Some(at);
            }
            let filled = self.bytes.len() - at - FrameHead::LEN;
            let part = data.len().min(PAYLOAD_MAX as usize - filled);
            let (now, later) = data.split_at(part);
            self.bytes.extend_from_slice(now);
            data = later;
            let len = filled + part;
            let head = FrameHead {
                kind: frame::BODY,
                len: u32::try_from(len).unwrap_or(PAYLOAD_MAX),
            };
            self.bytes[at..][..FrameHead::LEN].copy_from_slice(&head.to_bytes());
            if len == PAYLOAD_MAX as usize {
                self.open = None;
            }
        }
    }

    pub(super) fn response(&mut self, head: &ResponseHead) -> Result<(), TooLong> {
        self.open = None;
        head.encode(&mut self.bytes)
    }

    /// The end of the body, with trailers if there are any.
    pub(super) fn end(&mut self, trailers: Option<&List>) -> Result<(), TooLong> {
        self.open = None;
        match trailers {
            Some(list) => encode_fields(list, &mut self.bytes)?,
            None => self.bytes.extend_from_slice(&FrameHead::END.to_bytes()),
        }
        self.ended = true;
        Ok(())
    }

    /// Whether the message has its end.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The exchange is over, and the stream is for the next.
    pub(super) fn idle(&mut self) {
        self.bytes.extend_from_slice(&FrameHead::IDLE.to_bytes());
    }

    pub(super) fn failed(&mut self, failure: &Failure) {
        self.open = None;
        failure.encode(&mut self.bytes);
    }

    /// Adds what another one has.
    pub(super) fn append(&mut self, other: Frames) {
        self.ended |= other.ended;
        self.open = other.open.map(|at| self.bytes.len() + at);
        if self.bytes.is_empty() {
            self.bytes = other.bytes;
        } else {
            self.bytes.extend_from_slice(&other.bytes);
        }
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.open = None;
        core::mem::take(&mut self.bytes)
    }
}
