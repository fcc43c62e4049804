//! The receiving half of an exchange.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mote_abi::http::{Failure, FrameHead, RequestHead, ResponseHead, decode_fields, error_code, frame};

use super::fields::List;
use crate::vm::ring::Ring;
use crate::wasi::streams::Input;

/// The first frame of a message.
pub(crate) enum Head {
    Request(RequestHead),
    Response(ResponseHead),
}

/// Takes frames apart as they come.
pub(super) struct Receiver {
    input: Input,
    state: State,
    /// The frame that is being received, as far as it is here. Of a BODY, its head alone.
    gathered: Vec<u8>,
    /// What is left of a BODY's payload.
    body: usize,
    head: Option<Head>,
}

enum State {
    /// The head is not here yet.
    Head,
    /// The body goes on.
    Body,
    /// All is here. Trailers are taken once.
    Ended(Option<List>),
    /// Nothing more will come.
    Failed(Failure),
}

/// Why a read of the body has nothing.
pub(crate) enum Stop {
    Ended,
    Failed(Failure),
}

impl Receiver {
    pub(super) fn new(input: Input) -> Receiver {
        Receiver {
            input,
            state: State::Head,
            gathered: Vec::new(),
            body: 0,
            head: None,
        }
    }

    /// The head, once: `None` if it is not here yet.
    pub(super) fn head(&mut self, ring: &mut Ring) -> Result<Option<Head>, Failure> {
        self.advance(ring);
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        match &self.state {
            State::Failed(failure) => Err(failure.clone()),
            _ => Ok(None),
        }
    }

    /// Whether [`Self::head`] has an answer.
    pub(super) fn has_head(&mut self, ring: &mut Ring) -> bool {
        self.advance(ring);
        !matches!(self.state, State::Head)
    }

    /// Up to `len` bytes of the body that are here: `None` if none are yet.
    pub(super) fn read(&mut self, ring: &mut Ring, len: usize) -> Result<Option<Vec<u8>>, Stop> {
        if !self.readable(ring) {
            return Ok(None);
        }
        match &self.state {
            State::Ended(_) => Err(Stop::Ended),
            State::Failed(failure) => Err(Stop::Failed(failure.clone())),
            _ => match self.take_input(ring, len.min(self.body)) {
                Ok(data) => {
                    self.body -= data.len();
                    Ok(Some(data))
                }
                Err(failure) => Err(Stop::Failed(failure)),
            },
        }
    }

    /// Whether [`Self::read`] would have an answer. Starts what it takes.
    pub(super) fn readable(&mut self, ring: &mut Ring) -> bool {
        self.advance(ring);
        match self.state {
            State::Ended(_) | State::Failed(_) => true,
            _ => self.body > 0 && self.input.readable(ring),
        }
    }

    /// What came behind the body, once it is here; what is left of the body is passed over.
    pub(super) fn trailers(&mut self, ring: &mut Ring) -> Result<Option<Option<List>>, Failure> {
        if !self.is_complete(ring) {
            return Ok(None);
        }
        match &mut self.state {
            State::Failed(failure) => Err(failure.clone()),
            State::Ended(trailers) => Ok(Some(trailers.take())),
            _ => Ok(None),
        }
    }

    /// Whether [`Self::trailers`] has an answer.
    pub(super) fn is_complete(&mut self, ring: &mut Ring) -> bool {
        while let Ok(Some(_)) = self.read(ring, usize::MAX) {}
        matches!(self.state, State::Ended(_) | State::Failed(_))
    }

    /// Whether all that the other side sends has been received, and no read is under way.
    pub(super) fn is_spent(&mut self, ring: &mut Ring) -> bool {
        // The end often comes along with the head, and a program that wants no body has not looked for it.
        self.advance_by(ring, |input, _| input.has_data());
        matches!(self.state, State::Ended(_)) && !self.input.has_data() && !self.input.is_reading()
    }

    /// Takes back a read that may be under way.
    pub(super) fn stop(&mut self, ring: &mut Ring) {
        self.input.stop(ring);
    }

    /// Goes on until there are bytes of the body, or nothing at all.
    fn advance(&mut self, ring: &mut Ring) {
        self.advance_by(ring, Input::readable);
    }

    /// Goes on as long as there is more to take.
    fn advance_by(&mut self, ring: &mut Ring, more: impl Fn(&mut Input, &mut Ring) -> bool) {
        while matches!(self.state, State::Head | State::Body) && self.body == 0 {
            let wanted = match self.frame_len() {
                Ok(len) => len,
                Err(error) => {
                    self.fail(error_code::HTTP_PROTOCOL_ERROR, error);
                    return;
                }
            };
            if self.gathered.len() == wanted {
                self.take_frame();
            } else if !more(&mut self.input, ring) {
                return;
            } else if let Ok(data) = self.take_input(ring, wanted - self.gathered.len()) {
                self.gathered.extend_from_slice(&data);
            }
        }
    }

    /// Bytes that are gathered of the present frame.
    fn frame_len(&self) -> Result<usize, String> {
        match self.gathered.first_chunk() {
            None => Ok(FrameHead::LEN),
            Some(head) => match FrameHead::from_bytes(*head) {
                Ok(head) if head.kind == frame::BODY => Ok(FrameHead::LEN),
                Ok(head) => Ok(FrameHead::LEN + head.len as usize),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// Up to `len` bytes of a readable stream.
    fn take_input(&mut self, ring: &mut Ring, len: usize) -> Result<Vec<u8>, Failure> {
        match self.input.read(ring, len) {
            Ok(Some(data)) if !data.is_empty() => Ok(data.to_vec()),
            // The front has gone without a word.
            _ => Err(self.fail(error_code::CONNECTION_TERMINATED, String::new())),
        }
    }

    /// The whole frame is gathered.
    fn take_frame(&mut self) {
        let frame = core::mem::take(&mut self.gathered);
        let Some((head, payload)) = frame.split_first_chunk() else {
            return;
        };
        let result = FrameHead::from_bytes(*head).and_then(|head| {
            let begun = matches!(self.state, State::Body);
            match head.kind {
                frame::REQUEST if !begun => {
                    self.head = Some(Head::Request(RequestHead::decode(payload)?));
                    self.state = State::Body;
                }
                frame::RESPONSE if !begun => {
                    self.head = Some(Head::Response(ResponseHead::decode(payload)?));
                    self.state = State::Body;
                }
                frame::BODY if begun => self.body = head.len as usize,
                frame::END if begun => self.state = State::Ended(None),
                frame::TRAILERS if begun => self.state = State::Ended(Some(decode_fields(payload)?)),
                frame::FAILED => self.state = State::Failed(Failure::decode(payload)?),
                _ => return Ok(false),
            }
            Ok(true)
        });
        match result {
            Ok(true) => {}
            Ok(false) => {
                let text = "a frame that is not expected here".into();
                self.fail(error_code::HTTP_PROTOCOL_ERROR, text);
            }
            Err(error) => {
                self.fail(error_code::HTTP_PROTOCOL_ERROR, error.to_string());
            }
        }
    }

    /// Nothing more is received.
    fn fail(&mut self, code: u32, text: String) -> Failure {
        let failure = Failure { code, text };
        self.body = 0;
        self.state = State::Failed(failure.clone());
        failure
    }
}
