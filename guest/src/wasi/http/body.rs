//! Bodies that the program writes. They can be written before it is known where they go.

use mote_abi::http::{Failure, TooLong, error_code};

use super::ExchangeId;
use super::fields::List;
use super::frames::Frames;

/// A body that the program writes.
pub(super) struct Body {
    pub(super) place: Place,
    /// The length that the message's head gives to it.
    expected: Option<u64>,
    written: u64,
    /// Nothing is written to it any more.
    pub(super) finished: bool,
}

/// Where what is written goes.
pub(super) enum Place {
    /// The message that it belongs to is not sent yet.
    Waiting(Frames),
    Sent(ExchangeId),
    /// The message will never be sent.
    Gone,
}

/// Why a body was not written or finished.
pub(crate) enum BodyError {
    /// Nobody reads it.
    Closed,
    /// It has not the length that its message's head says; so many bytes were written.
    Size(u64),
    /// The trailers do not fit into a frame.
    TooLong(TooLong),
}

/// How a body ends.
pub(super) enum End {
    Finished(Option<List>),
    /// It was dropped before it was finished.
    Dropped,
}

impl Body {
    pub(super) fn new(expected: Option<u64>) -> Body {
        Body {
            place: Place::Waiting(Frames::default()),
            expected,
            written: 0,
            finished: false,
        }
    }

    /// Counts bytes that are to be written.
    pub(super) fn count(&mut self, len: usize) -> Result<(), BodyError> {
        self.written += len as u64;
        match self.expected {
            Some(expected) if self.written > expected => Err(BodyError::Size(self.written)),
            _ => Ok(()),
        }
    }

    /// Whether as much was written as was said before.
    pub(super) fn check(&self) -> Result<(), BodyError> {
        match self.expected {
            Some(expected) if self.written != expected => Err(BodyError::Size(self.written)),
            _ => Ok(()),
        }
    }
}

impl End {
    /// Adds the frame of the end.
    pub(super) fn put(self, frames: &mut Frames) -> Result<(), BodyError> {
        match self {
            End::Finished(trailers) => frames.end(trailers.as_ref()).map_err(|error| {
                frames.failed(&cut_off());
                BodyError::TooLong(error)
            }),
            End::Dropped => {
                frames.failed(&cut_off());
                Ok(())
            }
        }
    }
}

/// What the other side is told of a body that has no end.
fn cut_off() -> Failure {
    Failure {
        code: error_code::HTTP_PROTOCOL_ERROR,
        text: "the program did not finish the body".into(),
    }
}
