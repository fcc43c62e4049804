//! HTTP exchanges with the front, and the bodies that the program writes. (`mote_abi::http`)
//!
//! Each exchange is one stream of frames in both directions. What the program writes is queued, and goes out when it
//! flushes, waits or ends: [`Http::pump`] goes before every wait.

mod body;
mod fields;
mod frames;
mod receiver;
mod sender;
mod target;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use mote_abi::http::{Failure, RequestHead, ResponseHead, TooLong};
use mote_abi::ring::{Submission, op};

use crate::vm::ring::{Errno, Ring};
use crate::wasi::streams::Input;
pub(crate) use body::BodyError;
use body::{Body, End, Place};
pub(crate) use fields::{Fields, FieldsError, List};
use frames::Frames;
use receiver::Receiver;
pub(crate) use receiver::{Head, Stop};
use sender::Sender;
pub(crate) use target::{valid_authority, valid_method, valid_path, valid_scheme, without_fragment};

/// Names an exchange. An id is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExchangeId(u64);

/// Names a body that the program writes. An id is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BodyId(u64);

/// All exchanges of the program.
pub(crate) struct Http {
    exchanges: BTreeMap<ExchangeId, Exchange>,
    bodies: BTreeMap<BodyId, Body>,
    /// What is still under way of exchanges that have ended. Nobody asks for it, and their handles close behind it.
    leaving: Vec<Sender>,
    /// The handle on which the next request of the front comes.
    kept: Option<u64>,
    next_id: u64,
}

struct Exchange {
    handle: u64,
    /// A response, or a failure in its place, is queued.
    answered: bool,
    sender: Sender,
    receiver: Receiver,
}

impl Exchange {
    fn new(handle: u64, queue: Frames, input: Input) -> Exchange {
        Exchange {
            handle,
            answered: false,
            sender: Sender::new(handle, queue),
            receiver: Receiver::new(input),
        }
    }

    fn close(mut self, ring: &mut Ring) {
        self.receiver.stop(ring);
        self.sender.abandon(ring);
        ring.detach(Submission {
            op: op::CLOSE,
            handle: self.handle,
            ..Submission::default()
        });
    }
}

impl Http {
    /// Exchanges that may leave at the same time; then the oldest is waited for.
    const LEAVING_MAX: usize = 16;

    pub(crate) const fn new() -> Http {
        Http {
            exchanges: BTreeMap::new(),
            bodies: BTreeMap::new(),
            leaving: Vec::new(),
            kept: None,
            next_id: 0,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// An exchange that the front has begun, with what is here of it.
    pub(crate) fn accepted(&mut self, handle: u64, input: Input) -> ExchangeId {
        let id = ExchangeId(self.id());
        self.exchanges
            .insert(id, Exchange::new(handle, Frames::default(), input));
        id
    }

    /// Begins an exchange: sends a request whose body, if it has any, the program writes before and after this.
    pub(crate) fn request(
        &mut self,
        ring: &mut Ring,
        head: &RequestHead,
        body: Option<BodyId>,
    ) -> Result<ExchangeId, RequestError> {
        let mut queue = Frames::default();
        head.encode(&mut queue.bytes).map_err(RequestError::TooLong)?;
        let handle = ring
            .request(Submission {
                op: op::HTTP_REQUEST,
                ..Submission::default()
            })
            .map_err(RequestError::Errno)?;
        let id = ExchangeId(self.id());
        self.send_body(id, &mut queue, body);
        self.exchanges
            .insert(id, Exchange::new(handle, queue, Input::new(handle)));
        self.kick(ring, id);
        Ok(id)
    }

    /// Answers an exchange, with a body as for [`Self::request`]. Does nothing if the exchange has gone.
    pub(crate) fn respond(
        &mut self,
        id: ExchangeId,
        head: &ResponseHead,
        body: Option<BodyId>,
    ) -> Result<(), TooLong> {
        let mut queue = Frames::default();
        queue.response(head)?;
        self.send_body(id, &mut queue, body);
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.answered = true;
            exchange.sender.queue.append(queue);
        }
        Ok(())
    }

    /// Tells the front, instead of a response, that there will be none.
    pub(crate) fn fail(&mut self, id: ExchangeId, failure: &Failure) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.answered = true;
            exchange.sender.queue.failed(failure);
        }
    }

    /// Whether the exchange has a response or a failure.
    pub(crate) fn is_answered(&self, id: ExchangeId) -> bool {
        self.exchanges.get(&id).is_some_and(|exchange| exchange.answered)
    }

    /// Sends what was written of a body, and all that will be.
    fn send_body(&mut self, exchange: ExchangeId, queue: &mut Frames, body: Option<BodyId>) {
        let Some((id, body)) = body.and_then(|id| Some((id, self.bodies.get_mut(&id)?))) else {
            // A fixed frame always fits.
            let _ = queue.end(None);
            return;
        };
        if let Place::Waiting(frames) = core::mem::replace(&mut body.place, Place::Sent(exchange)) {
            queue.append(frames);
        }
        if body.finished {
            self.bodies.remove(&id);
        }
    }

    /// The head of what the other side sends, once: `None` if it is not here yet.
    pub(crate) fn head(&mut self, ring: &mut Ring, id: ExchangeId) -> Result<Option<Head>, Failure> {
        self.received(ring, id, Ok(None), Receiver::head)
    }

    /// Whether [`Self::head`] has an answer.
    pub(crate) fn has_head(&mut self, ring: &mut Ring, id: ExchangeId) -> bool {
        self.received(ring, id, true, Receiver::has_head)
    }

    /// Up to `len` bytes of the body that the other side sends: `None` if none are here yet.
    pub(crate) fn read(
        &mut self,
        ring: &mut Ring,
        id: ExchangeId,
        len: usize,
    ) -> Result<Option<Vec<u8>>, Stop> {
        self.received(ring, id, Err(Stop::Ended), |receiver, ring| {
            receiver.read(ring, len)
        })
    }

    /// Whether [`Self::read`] has an answer.
    pub(crate) fn readable(&mut self, ring: &mut Ring, id: ExchangeId) -> bool {
        self.received(ring, id, true, Receiver::readable)
    }

    /// The trailers that the other side sends, if it sends any: `None` if its body has not ended yet.
    pub(crate) fn trailers(
        &mut self,
        ring: &mut Ring,
        id: ExchangeId,
    ) -> Result<Option<Option<List>>, Failure> {
        self.received(ring, id, Ok(Some(None)), Receiver::trailers)
    }

    /// Whether [`Self::trailers`] has an answer.
    pub(crate) fn is_complete(&mut self, ring: &mut Ring, id: ExchangeId) -> bool {
        self.received(ring, id, true, Receiver::is_complete)
    }

    fn received<T>(
        &mut self,
        ring: &mut Ring,
        id: ExchangeId,
        gone: T,
        ask: impl FnOnce(&mut Receiver, &mut Ring) -> T,
    ) -> T {
        match self.exchanges.get_mut(&id) {
            Some(exchange) => ask(&mut exchange.receiver, ring),
            None => gone,
        }
    }

    /// A body that the program will write, with the length that its message's head gives to it.
    pub(crate) fn body(&mut self, expected: Option<u64>) -> BodyId {
        let id = BodyId(self.id());
        self.bodies.insert(id, Body::new(expected));
        id
    }

    /// Bytes of the body that can be written without waiting.
    pub(crate) fn permit(&mut self, ring: &mut Ring, id: BodyId) -> Result<usize, BodyError> {
        let Some(Body { place, .. }) = self.bodies.get(&id) else {
            return Err(BodyError::Closed);
        };
        match place {
            Place::Waiting(frames) => Ok(sender::QUEUE_MAX.saturating_sub(frames.bytes.len())),
            Place::Gone => Err(BodyError::Closed),
            Place::Sent(exchange) => match self.exchanges.get_mut(exchange) {
                None => Err(BodyError::Closed),
                Some(Exchange { sender, .. }) => {
                    if sender.room() == 0 {
                        sender.pump(ring);
                    }
                    if sender.is_broken() {
                        Err(BodyError::Closed)
                    } else {
                        Ok(sender.room())
                    }
                }
            },
        }
    }

    /// Writes bytes of the body, whether there is room or not.
    pub(crate) fn write(&mut self, ring: &mut Ring, id: BodyId, data: &[u8]) -> Result<(), BodyError> {
        let body = self.bodies.get_mut(&id).ok_or(BodyError::Closed)?;
        body.count(data.len())?;
        match &mut body.place {
            Place::Waiting(frames) => frames.body(data),
            Place::Gone => return Err(BodyError::Closed),
            Place::Sent(exchange) => match self.exchanges.get_mut(exchange) {
                Some(Exchange { sender, .. }) => {
                    sender.queue.body(data);
                    if sender.queue.bytes.len() >= sender::QUEUE_MAX / 4 {
                        sender.pump(ring);
                        ring.kick();
                    }
                }
                None => return Err(BodyError::Closed),
            },
        }
        Ok(())
    }

    /// Has what was written go out.
    pub(crate) fn flush(&mut self, ring: &mut Ring, id: BodyId) {
        if let Some(Body {
            place: Place::Sent(exchange),
            ..
        }) = self.bodies.get(&id)
        {
            let exchange = *exchange;
            self.kick(ring, exchange);
        }
    }

    fn kick(&mut self, ring: &mut Ring, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.sender.pump(ring);
            ring.kick();
        }
    }

    /// The program has finished the body.
    pub(crate) fn finish(
        &mut self,
        ring: &mut Ring,
        id: BodyId,
        trailers: Option<List>,
    ) -> Result<(), BodyError> {
        match self.bodies.get(&id).map(Body::check) {
            Some(Ok(())) => self.end_body(ring, id, End::Finished(trailers)),
            Some(Err(error)) => {
                self.end_body(ring, id, End::Dropped)?;
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// The program has dropped the body.
    pub(crate) fn abort(&mut self, ring: &mut Ring, id: BodyId) {
        // The frame that is sent always fits.
        let _ = self.end_body(ring, id, End::Dropped);
    }

    fn end_body(&mut self, ring: &mut Ring, id: BodyId, end: End) -> Result<(), BodyError> {
        let Some(body) = self.bodies.get_mut(&id) else {
            return Ok(());
        };
        body.finished = true;
        let exchange = match &mut body.place {
            Place::Waiting(frames) => return end.put(frames),
            Place::Sent(exchange) => Some(*exchange),
            Place::Gone => None,
        };
        self.bodies.remove(&id);
        match exchange.and_then(|id| Some((id, self.exchanges.get_mut(&id)?))) {
            Some((id, exchange)) => {
                let result = end.put(&mut exchange.sender.queue);
                self.kick(ring, id);
                result
            }
            None => Ok(()),
        }
    }

    /// The program has dropped the message that the body belongs to, unsent.
    pub(crate) fn forget(&mut self, id: BodyId) {
        if let Some(body) = self.bodies.get_mut(&id) {
            body.place = Place::Gone;
            if body.finished {
                self.bodies.remove(&id);
            }
        }
    }

    /// Ends an exchange at once, with what is under way.
    pub(crate) fn close(&mut self, ring: &mut Ring, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.remove(&id) {
            exchange.close(ring);
        }
    }

    /// The handle on which the next request of the front comes, if it is to come on one that is open.
    pub(crate) fn kept(&self) -> Option<u64> {
        self.kept
    }

    /// The same, which is the caller's from then on.
    pub(crate) fn take_kept(&mut self) -> Option<u64> {
        self.kept.take()
    }

    /// Ends all exchanges and bodies of an instance that has gone. What the answered one still has to send goes out with
    /// the next call; a body that the program left open ends, well if the program did. If all has gone well the handle is
    /// kept for the next exchange, otherwise it closes behind what is sent.
    pub(crate) fn leave(&mut self, ring: &mut Ring, answered: ExchangeId, well: bool) {
        for body in core::mem::take(&mut self.bodies).into_values() {
            if matches!(body.place, Place::Sent(id) if id == answered)
                && let Some(exchange) = self.exchanges.get_mut(&answered)
            {
                let end = match body.check() {
                    Ok(()) if well => End::Finished(None),
                    _ => End::Dropped,
                };
                // Neither has trailers that could be too long.
                let _ = end.put(&mut exchange.sender.queue);
            }
        }
        for (id, mut exchange) in core::mem::take(&mut self.exchanges) {
            if id == answered {
                if well && exchange.receiver.is_spent(ring) && exchange.sender.pass_on(ring) {
                    self.kept = Some(exchange.handle);
                } else {
                    exchange.receiver.stop(ring);
                    exchange.sender.finish(ring);
                }
                self.leaving.push(exchange.sender);
            } else {
                exchange.close(ring);
            }
        }
        self.drain(ring, Self::LEAVING_MAX);
    }

    /// Submits what is queued.
    pub(crate) fn pump(&mut self, ring: &mut Ring) {
        for exchange in self.exchanges.values_mut() {
            exchange.sender.pump(ring);
        }
        self.reap(ring);
    }

    fn reap(&mut self, ring: &mut Ring) {
        self.leaving.retain_mut(|sender| {
            sender.reap(ring);
            !sender.is_idle()
        });
    }

    /// Waits until no more than `most` ended exchanges have something under way.
    pub(crate) fn drain(&mut self, ring: &mut Ring, most: usize) {
        self.reap(ring);
        while self.leaving.len() > most {
            ring.wait(u64::MAX);
            self.reap(ring);
        }
    }
}

/// Why a request was not sent.
pub(crate) enum RequestError {
    TooLong(TooLong),
    Errno(Errno),
}
