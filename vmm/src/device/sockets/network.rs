//! What the program was granted of the network, and the helpers that hand over its descriptors.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use mote_abi::ring::{ACCEPTED_SHIFT, HTTP_INCOMING, Submission, TRANSFER_MAX, op};
use mote_config::broker::{ANSWER_LEN, Family, Kind, Request as Asked};
use mote_config::front::vm;

use super::super::answer::{Attempt, Errno, Request, Wait};
use super::super::objects::{Object, Objects};
use super::super::stream::{Progress as Read, Stream};
use super::channel::{Channel, Message};
use super::socket::Socket;
use crate::memory::Space;

/// Most incoming HTTP requests that are kept before the guest takes them. The front waits for one to be done before it
/// hands over the next.
const INCOMING_MAX: usize = 64;

/// Which addresses sockets may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// None: no socket is made for it.
    #[default]
    Nothing,
    /// These alone, and none can be bound or listened on: name servers, for a program that may look up names only.
    Only(Vec<SocketAddr>),
    Everything,
}

/// What was granted of the network.
#[derive(Debug, Default)]
pub struct Grants {
    /// What TCP sockets may reach.
    pub tcp: Reach,
    /// What UDP sockets may reach.
    pub udp: Reach,
    /// The broker's socket.
    pub broker: Option<OwnedFd>,
    /// The HTTP front's socket.
    pub front: Option<OwnedFd>,
    /// Outgoing HTTP requests.
    pub http: bool,
    /// Names may be looked up.
    pub name_lookup: bool,
}

/// The network as the server has it.
#[derive(Debug, Default)]
pub struct Network {
    tcp: Reach,
    udp: Reach,
    broker: Option<Channel>,
    front: Option<Channel>,
    http: bool,
    name_lookup: bool,
    incoming: VecDeque<OwnedFd>,
    /// Where datagrams are received; not there until the first.
    pub(super) buffer: Vec<u8>,
}

impl Network {
    /// The network as granted.
    #[must_use]
    pub fn new(grants: Grants) -> Network {
        Network {
            tcp: grants.tcp,
            udp: grants.udp,
            broker: grants.broker.map(Channel::new),
            front: grants.front.map(Channel::new),
            http: grants.http,
            name_lookup: grants.name_lookup,
            incoming: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    fn reach(&self, kind: Kind) -> &Reach {
        match kind {
            Kind::Tcp => &self.tcp,
            Kind::Udp => &self.udp,
        }
    }

    /// Whether an address may be connected to or sent to.
    pub(super) fn may_reach(&self, kind: Kind, address: &SocketAddr) -> Result<(), Errno> {
        let allowed = match self.reach(kind) {
            Reach::Nothing => false,
            Reach::Only(list) => list
                .iter()
                .any(|one| one.ip() == address.ip() && one.port() == address.port()),
            Reach::Everything => true,
        };
        if allowed { Ok(()) } else { Err(Errno(libc::EACCES)) }
    }

    /// Whether sockets may be bound and listen.
    pub(super) fn may_bind(&self, kind: Kind) -> Result<(), Errno> {
        match self.reach(kind) {
            Reach::Everything => Ok(()),
            _ => Err(Errno(libc::EACCES)),
        }
    }

    /// Whether names may be looked up.
    pub(super) fn may_look_up(&self) -> Result<(), Errno> {
        if self.name_lookup {
            Ok(())
        } else {
            Err(Errno(libc::EACCES))
        }
    }

    /// Serves SOCKET: asks the broker, then makes a handle of its answer.
    pub(super) fn socket(&mut self, objects: &mut Objects, request: &mut Request) -> Attempt {
        let asked = match self.asked(&request.submission) {
            Ok(asked) => asked,
            Err(errno) => return errno.into(),
        };
        let Some(broker) = &mut self.broker else {
            return Errno(libc::EACCES).into();
        };
        match exchange(broker, request, &asked.to_bytes()) {
            Progress::Wait(wait) => Attempt::Wait(wait),
            Progress::Answer(Ok(fd)) => {
                let socket = Socket::new(fd, asked.family, asked.kind);
                objects.insert(Object::Socket(socket)).into()
            }
            Progress::Answer(Err(errno)) => errno.into(),
        }
    }

    fn asked(&self, submission: &Submission) -> Result<Asked, Errno> {
        let [family, kind] = submission.extra;
        let kind = Kind::from_raw(kind).ok_or(Errno(libc::EPROTONOSUPPORT))?;
        if *self.reach(kind) == Reach::Nothing {
            return Err(Errno(libc::EACCES));
        }
        let family = Family::from_raw(family).ok_or(Errno(libc::EAFNOSUPPORT))?;
        Ok(Asked { family, kind })
    }

    /// Serves `HTTP_REQUEST`: asks the front for a stream.
    pub(super) fn http_request(&mut self, objects: &mut Objects, request: &mut Request) -> Attempt {
        let Some(front) = self.front.as_mut().filter(|_| self.http) else {
            return Errno(libc::EACCES).into();
        };
        match exchange(front, request, &[vm::OUTGOING]) {
            Progress::Wait(wait) => Attempt::Wait(wait),
            Progress::Answer(answer) => answer
                .and_then(|fd| objects.insert(Object::Stream(Stream::nonblocking(fd))))
                .into(),
        }
    }

    /// Serves ACCEPT on [`HTTP_INCOMING`]. EPIPE once the front has gone.
    pub(super) fn accept(&mut self, objects: &mut Objects, space: &Space, request: &mut Request) -> Attempt {
        let Some(front) = &mut self.front else {
            return Errno(libc::EBADF).into();
        };
        if request.done == 0 {
            match front.tell(&[vm::READY]) {
                Err(Errno(libc::EAGAIN)) => {
                    return Attempt::Wait(Wait {
                        fd: front.fd(),
                        events: libc::POLLOUT,
                    });
                }
                // That the front has gone is answered below.
                Ok(()) | Err(_) => request.done = 1,
            }
        }
        match self.incoming.pop_front() {
            Some(fd) => {
                let mut stream = Stream::nonblocking(fd);
                match begin(&mut stream, space, &request.submission) {
                    Ok(read) => {
                        let handle = objects.insert(Object::Stream(stream));
                        handle.map(|handle| handle | read << ACCEPTED_SHIFT).into()
                    }
                    Err(errno) => errno.into(),
                }
            }
            None if front.ended() => Errno(libc::EPIPE).into(),
            None => Attempt::Wait(Wait {
                fd: front.fd(),
                events: libc::POLLIN,
            }),
        }
    }

    /// Takes in what the helpers have sent.
    pub(in crate::device) fn receive(&mut self) {
        if let Some(broker) = self.broker.as_mut().filter(|broker| broker.is_asked()) {
            while let Some(message) = broker.receive() {
                broker.answer(broker_answer(message));
            }
        }
        let Some(front) = self.front.as_mut() else {
            return;
        };
        while let Some(mut message) = front.receive() {
            let fd = message.fd.take();
            match (message.bytes(), fd) {
                ([vm::INCOMING], Some(fd)) if self.incoming.len() < INCOMING_MAX => {
                    self.incoming.push_back(fd)
                }
                ([vm::OUTGOING], fd) => front.answer(fd.ok_or(Errno(libc::EMFILE))),
                // What is not understood is closed.
                _ => {}
            }
        }
    }

    /// Whether a parked submission can go on, whatever poll(2) says of its descriptor.
    pub(in crate::device) fn has_answers(&self) -> bool {
        let has = |channel: &Option<Channel>| {
            channel
                .as_ref()
                .is_some_and(|channel| channel.has_answers() || (channel.ended() && channel.is_asked()))
        };
        has(&self.broker) || has(&self.front)
    }

    /// Whether this submission waits for one of the helpers.
    pub(in crate::device) fn waits_here(submission: &Submission) -> bool {
        let incoming = submission.op == op::ACCEPT && submission.handle == HTTP_INCOMING;
        incoming || matches!(submission.op, op::SOCKET | op::HTTP_REQUEST)
    }

    /// A parked submission is taken back.
    pub(in crate::device) fn forget(&mut self, request: &Request) {
        let channel = match request.submission.op {
            op::SOCKET => &mut self.broker,
            op::HTTP_REQUEST => &mut self.front,
            _ => return,
        };
        if let Some(channel) = channel.as_mut().filter(|_| request.done != 0) {
            channel.forget(request.done);
        }
    }
}

/// Reads what is there already of a request: the number of bytes. What hinders it is told by a later read.
fn begin(stream: &mut Stream, space: &Space, submission: &Submission) -> Result<u64, Errno> {
    let Submission { address, len, .. } = *submission;
    if len > TRANSFER_MAX {
        return Err(Errno(libc::EINVAL));
    }
    let parts = space.resolve(address, len, true);
    let part = parts.map_err(|_| Errno(libc::EFAULT))?.into_iter().next();
    Ok(match part.map(|mut part| stream.read(&mut part)) {
        Some(Read::Bytes(read)) => read as u64,
        _ => 0,
    })
}

/// What became of a question.
enum Progress {
    Wait(Wait),
    Answer(super::channel::Answer),
}

/// Asks, or looks for the answer: `done` of the request is the ticket.
fn exchange(channel: &mut Channel, request: &mut Request, question: &[u8]) -> Progress {
    let mut wait = Wait {
        fd: channel.fd(),
        events: libc::POLLIN,
    };
    if request.done == 0 {
        match channel.ask(question) {
            Ok(ticket) => request.done = ticket,
            Err(Errno(libc::EAGAIN)) => wait.events = libc::POLLOUT,
            Err(errno) => return Progress::Answer(Err(errno)),
        }
        return Progress::Wait(wait);
    }
    match channel.take(request.done) {
        Some(answer) => Progress::Answer(answer),
        None => Progress::Wait(wait),
    }
}

fn broker_answer(message: Message) -> Result<OwnedFd, Errno> {
    let bytes: Result<[u8; ANSWER_LEN], _> = message.bytes().try_into();
    match (bytes.map(i32::from_le_bytes), message.fd) {
        (Ok(0), Some(fd)) => Ok(fd),
        // The kernel drops a descriptor for which this process has no room. (recvmsg(2), MSG_CTRUNC)
        (Ok(0), None) => Err(Errno(libc::EMFILE)),
        (Ok(errno), _) => Err(Errno(errno)),
        (Err(_), _) => Err(Errno(libc::EPROTO)),
    }
}
