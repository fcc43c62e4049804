//! Serves submissions: tries each at once, parks what would block, tries again when its descriptor is ready.
//!
//! Nothing in here waits for somebody else to act, so the vCPU thread and the I/O thread may both serve, under one
//! lock.

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use mote_abi::ring::{SUBMISSIONS, Submission, op};

pub(super) use super::answer::Wait;
use super::answer::{Attempt, Errno, Request};
use super::files::Directory;
use super::joined::{self, Joined};
use super::objects::{Object, Objects};
use super::ring::{ProtocolError, Ring};
use super::sockets::{self, Network};
use super::stream::{Progress, Stream};
use super::{files, poll, transfer, zero};
use crate::memory::Space;
use crate::memory::touched::Touched;

/// A submission that could not be finished yet.
#[derive(Debug)]
struct Parked {
    request: Request,
    /// `None` while an earlier one on the same handle has to go first.
    wait: Option<Wait>,
}

/// The rings and what their submissions reach.
#[derive(Debug)]
pub struct Server {
    ring: Ring,
    objects: Objects,
    network: Network,
    touched: Option<Touched>,
    /// In the order of their submission. The ring bounds their number.
    parked: Vec<Parked>,
    /// What the I/O thread waits for: [`Server::waits`] of some earlier time.
    watched: Vec<Wait>,
    /// A descriptor that the I/O thread may be waiting for was closed. The kernel holds on to what is behind it until
    /// poll(2) returns.
    stale: bool,
}

/// Which submissions on one handle keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    In,
    Out,
}

fn direction(submission: &Submission) -> Option<Direction> {
    match submission.op {
        // What was written before goes out first.
        op::SHUTDOWN | op::CLOSE if submission.extra[0] != 0 => Some(Direction::Out),
        op::READ | op::READ_AT | op::ACCEPT | op::RECEIVE_FROM => Some(Direction::In),
        op::WRITE | op::WRITE_AT | op::CONNECT | op::SEND_TO => Some(Direction::Out),
        _ => None,
    }
}

/// The queue that a submission stands in, if any.
fn queue(submission: &Submission) -> Option<(u64, Direction)> {
    direction(submission).map(|direction| (submission.handle, direction))
}

impl Server {
    /// A server for the program's standard input, output and error.
    #[must_use]
    pub fn new(streams: [Stream; 3]) -> Server {
        Server {
            ring: Ring::default(),
            objects: Objects::new(streams),
            network: Network::default(),
            touched: None,
            parked: Vec::new(),
            watched: Vec::new(),
            stale: false,
        }
    }

    /// Lets the program use the network.
    pub fn grant(&mut self, network: Network) {
        self.network = network;
    }

    /// Has untouched memory stay so when the guest wants it zeroed.
    pub fn know_touched(&mut self, touched: Touched) {
        self.touched = Some(touched);
    }

    /// Grants a directory. To be called before the guest runs: the first gets [`mote_abi::ring::FIRST_PREOPEN`], the
    /// others follow.
    ///
    /// # Errors
    /// EMFILE if there are more than handles.
    pub fn preopen(&mut self, directory: Directory) -> Result<u64, Errno> {
        self.objects.insert(Object::Directory(directory))
    }

    /// Serves all that can be served now. Whether the guest has completions to read.
    ///
    /// # Errors
    /// [`ProtocolError`] ends the VM.
    pub fn serve(&mut self, space: &Space) -> Result<bool, ProtocolError> {
        self.retry(space)?;
        // No more than fit into the ring at once: a guest that keeps adding to it does not keep this thread.
        let mut joined = Joined::default();
        for _ in 0..SUBMISSIONS {
            let Some(submission) = self.ring.take(space.memory())? else {
                break;
            };
            if !joined.takes(&self.objects, &submission) {
                self.submit_joined(space, &mut joined)?;
                if !joined.takes(&self.objects, &submission) {
                    self.submit(space, Request { submission, done: 0 })?;
                }
            }
        }
        self.submit_joined(space, &mut joined)?;
        // One submission may have taken in what another waits for.
        if self.network.has_answers() {
            self.retry(space)?;
        }
        Ok(self.ring.unread(space.memory())? > 0)
    }

    /// Whether no submission with this token is parked.
    #[must_use]
    pub fn is_answered(&self, token: u64) -> bool {
        !self.parked.iter().any(|p| p.request.submission.token == token)
    }

    /// Whether output of the program is still to be written.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.parked
            .iter()
            .any(|p| p.request.submission.op == op::WRITE && p.request.submission.handle <= 2)
    }

    /// How many submissions were taken so far, with wrap-around.
    pub(super) fn taken(&self) -> u32 {
        self.ring.taken()
    }

    /// What parked submissions wait for, each descriptor once, in the order of their numbers.
    pub(super) fn waits(&self) -> Vec<Wait> {
        let mut waits: Vec<Wait> = self.parked.iter().filter_map(|p| p.wait).collect();
        waits.sort_unstable_by_key(|wait| wait.fd);
        waits.dedup_by(|again, first| {
            let same = again.fd == first.fd;
            if same {
                first.events |= again.events;
            }
            same
        });
        waits
    }

    /// [`Self::waits`], which the I/O thread waits for from now on.
    pub fn watch(&mut self) -> Vec<Wait> {
        self.stale = false;
        self.watched = self.waits();
        self.watched.clone()
    }

    /// The I/O thread waits for none of them.
    pub(super) fn leave_alone(&mut self) {
        self.stale = false;
        self.watched.clear();
    }

    /// Whether the I/O thread waits for something that was closed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether the I/O thread waits for all that parked submissions wait for.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        let watched = |wait: &Wait| {
            let known = self.watched_events(wait.fd);
            known.is_some_and(|known| known & wait.events == wait.events)
        };
        self.parked.iter().filter_map(|p| p.wait.as_ref()).all(watched)
    }

    /// What the I/O thread waits for of a descriptor, if it does at all.
    fn watched_events(&self, fd: RawFd) -> Option<libc::c_short> {
        let found = self.watched.binary_search_by_key(&fd, |wait| wait.fd).ok()?;
        Some(self.watched[found].events)
    }

    /// Writes a text of the VMM's own to the program's standard error, as far as it does not block.
    pub fn write_error(&mut self, text: &str) {
        let Ok(stream) = self.objects.standard(2) else {
            return;
        };
        let mut bytes = text.as_bytes().to_vec();
        let mut rest = vm_memory::VolatileSlice::from(bytes.as_mut_slice());
        while let Progress::Bytes(n) = stream.write(&rest) {
            match rest.offset(n) {
                Ok(left) if !left.is_empty() => rest = left,
                _ => return,
            }
        }
    }

    fn submit(&mut self, space: &Space, mut request: Request) -> Result<(), ProtocolError> {
        let Submission {
            op: operation,
            token,
            handle,
            extra,
            ..
        } = request.submission;
        match operation {
            op::CANCEL => {
                if let Some(index) = self
                    .parked
                    .iter()
                    .position(|p| p.request.submission.token == extra[0])
                {
                    self.cancel(space, index)?;
                    self.retry(space)?;
                }
                self.ring.answer(space.memory(), token, 0)
            }
            // What comes later on the same handle waits its turn.
            _ if self.is_behind(&request.submission) => {
                self.parked.push(Parked { request, wait: None });
                Ok(())
            }
            op::CLOSE => {
                let result = self.close(space, handle)?;
                self.ring.answer(space.memory(), token, result)
            }
            _ => match self.attempt(space, &mut request)? {
                Attempt::Done(result) => self.ring.answer(space.memory(), token, result),
                Attempt::Wait(wait) => {
                    let wait = Some(wait);
                    self.parked.push(Parked { request, wait });
                    Ok(())
                }
            },
        }
    }

    /// Serves writes that can go out together. What does not go at once is served as if each had come alone.
    fn submit_joined(&mut self, space: &Space, joined: &mut Joined) -> Result<(), ProtocolError> {
        let writes = joined.take();
        let mut written = match writes.as_slice() {
            [first, _, ..] if !self.is_behind(first) => joined::write(&mut self.objects, space, &writes),
            _ => 0,
        };
        for submission in writes {
            let done = written.min(submission.len);
            written -= done;
            self.submit(space, Request { submission, done })?;
        }
        Ok(())
    }

    /// Whether an earlier submission on the same handle has to go first.
    fn is_behind(&self, submission: &Submission) -> bool {
        let place = queue(submission);
        place.is_some() && self.parked.iter().any(|p| queue(&p.request.submission) == place)
    }

    /// Hands a submission to whoever serves its operation.
    fn attempt(&mut self, space: &Space, request: &mut Request) -> Result<Attempt, ProtocolError> {
        let objects = &mut self.objects;
        Ok(match request.submission.op {
            op::READ | op::WRITE => transfer::serve(objects, space, request),
            op::POLL => poll::serve(objects, &request.submission),
            op::ZERO => zero::serve(self.touched.as_ref(), space, &request.submission),
            other if sockets::serves(other) => sockets::serve(&mut self.network, objects, space, request),
            other => match files::serve(objects, space, request) {
                Some(attempt) => attempt,
                None => return Err(ProtocolError::Operation(other)),
            },
        })
    }

    /// Tries again what is parked and ready, and what has become the first of its queue.
    fn retry(&mut self, space: &Space) -> Result<(), ProtocolError> {
        if self.parked.is_empty() {
            return Ok(());
        }
        let ready = poll::ready(self.parked.iter().map(|p| p.wait));
        let waits_here = |parked: &Parked| Network::waits_here(&parked.request.submission);
        if self
            .parked
            .iter()
            .zip(&ready)
            .any(|(parked, ready)| *ready && waits_here(parked))
        {
            self.network.receive();
        }
        let mut blocked: BTreeSet<(u64, Direction)> = BTreeSet::new();
        let mut kept = Vec::new();
        let mut closing = Vec::new();
        for (mut parked, ready) in std::mem::take(&mut self.parked).into_iter().zip(ready) {
            let place = queue(&parked.request.submission);
            let behind = place.is_some_and(|place| blocked.contains(&place));
            // What these wait for has been received above.
            let ready = ready || waits_here(&parked);
            if !behind && parked.request.submission.op == op::CLOSE {
                closing.push(parked.request.submission);
                blocked.extend(place);
                continue;
            }
            if !behind && (ready || parked.wait.is_none()) {
                match self.attempt(space, &mut parked.request)? {
                    Attempt::Done(result) => {
                        self.ring
                            .answer(space.memory(), parked.request.submission.token, result)?;
                        continue;
                    }
                    Attempt::Wait(wait) => parked.wait = Some(wait),
                }
            }
            blocked.extend(place);
            kept.push(parked);
        }
        self.parked = kept;
        for Submission { token, handle, .. } in closing {
            let result = self.close(space, handle)?;
            self.ring.answer(space.memory(), token, result)?;
        }
        Ok(())
    }

    fn cancel(&mut self, space: &Space, index: usize) -> Result<(), ProtocolError> {
        let parked = self.parked.remove(index);
        self.network.forget(&parked.request);
        let result = -i64::from(libc::ECANCELED);
        self.ring
            .answer(space.memory(), parked.request.submission.token, result)
    }

    fn close(&mut self, space: &Space, handle: u64) -> Result<i64, ProtocolError> {
        let fd = match self.objects.descriptor(handle) {
            Ok(fd) => fd,
            Err(Errno(errno)) => return Ok(-i64::from(errno)),
        };
        while let Some(index) = self
            .parked
            .iter()
            .position(|p| p.request.submission.handle == handle)
        {
            self.cancel(space, index)?;
        }
        self.stale |= self.watched_events(fd).is_some();
        Ok(match self.objects.remove(handle) {
            Ok(_closed) => 0,
            Err(Errno(errno)) => -i64::from(errno),
        })
    }
}

#[cfg(test)]
mod tests;
