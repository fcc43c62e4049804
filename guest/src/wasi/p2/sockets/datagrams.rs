//! `wasi:sockets/udp`: the streams of datagrams.

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use mote_abi::net::ready;
use mote_abi::ring::{Submission, op};
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};
use wasmtime::{Result, bail};

use super::network::{SocketAddress, is_remote};
use super::udp::UdpSocket;
use super::{Answer, ErrorCode, Pollable};
use crate::vm::ring::{Errno, Ring, Token};
use crate::wasi::Host;
use crate::wasi::p2::Cx;
use crate::wasi::p2::io::{Pollable as AnyPollable, new_child_pollable};
use crate::wasi::sockets::{ADDRESS_LEN, from_bytes, to_bytes};

/// Most datagrams of one call.
const DATAGRAMS_MAX: usize = 16;
/// Bytes after which one call receives no more.
const RECEIVE_MAX: usize = 64 << 10;
/// Largest datagram: the length field of UDP has 16 bits. (RFC 768)
const DATAGRAM_MAX: usize = 65535;
/// Linux's EAGAIN.
const EAGAIN: Errno = 11;

/// `wasi:sockets/udp.incoming-datagram-stream`.
pub(super) struct Incoming {
    /// The socket's number in the table.
    socket: u32,
    receiving: Option<Token>,
    /// Where the next datagram is received: an address, then the data. Not there until the first.
    buffer: Vec<u8>,
    next: Option<Answer<(Vec<u8>, SocketAddr)>>,
}

/// `wasi:sockets/udp.outgoing-datagram-stream`.
pub(super) struct Outgoing {
    /// The socket's number in the table.
    socket: u32,
    /// Datagrams that the last `check-send` permitted.
    permitted: usize,
    /// The socket had no room; it is waited for.
    waiting: Option<Token>,
}

/// `wasi:sockets/udp.incoming-datagram`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct IncomingDatagram {
    data: Vec<u8>,
    #[component(name = "remote-address")]
    remote_address: SocketAddress,
}

/// `wasi:sockets/udp.outgoing-datagram`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct OutgoingDatagram {
    data: Vec<u8>,
    #[component(name = "remote-address")]
    remote_address: Option<SocketAddress>,
}

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[method]incoming-datagram-stream.receive" => at.func_wrap(name, receive)?,
        "[method]incoming-datagram-stream.subscribe" => {
            at.func_wrap(name, |cx: Cx<'_>, (s,): (Resource<Incoming>,)| {
                new_child_pollable(cx, AnyPollable::Socket(Pollable::Incoming(s.rep())), &s)
            })?;
        }
        "[method]outgoing-datagram-stream.check-send" => at.func_wrap(name, check_send)?,
        "[method]outgoing-datagram-stream.send" => at.func_wrap(name, send)?,
        "[method]outgoing-datagram-stream.subscribe" => {
            at.func_wrap(name, |cx: Cx<'_>, (s,): (Resource<Outgoing>,)| {
                new_child_pollable(cx, AnyPollable::Socket(Pollable::Outgoing(s.rep())), &s)
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

impl Incoming {
    pub(super) fn new(socket: u32) -> Incoming {
        Incoming {
            socket,
            receiving: None,
            buffer: Vec::new(),
            next: None,
        }
    }

    /// Whether there is a datagram, or an error. Asks for one if need be.
    fn poll(&mut self, ring: &mut Ring, handle: u64, remote: Option<&SocketAddr>) -> bool {
        while self.next.is_none() {
            let token = match self.receiving {
                Some(token) => token,
                None => self.start(ring, handle),
            };
            let Some(result) = ring.take(token) else {
                return false;
            };
            self.receiving = None;
            let Ok(len) = usize::try_from(result) else {
                self.next = Some(Err(ErrorCode::from_errno(-result)));
                break;
            };
            let from = from_bytes(&self.buffer);
            // The kernel does not take back what had come from others before it was connected.
            if remote.is_none_or(|remote| remote.ip() == from.ip() && remote.port() == from.port()) {
                let data = self.buffer.get(ADDRESS_LEN..ADDRESS_LEN + len).unwrap_or(&[]);
                self.next = Some(Ok((data.to_vec(), from)));
            }
        }
        true
    }

    /// As [`Self::poll`], and if nothing was asked for yet, the VMM looks for a datagram at once.
    fn poll_now(&mut self, ring: &mut Ring, handle: u64, remote: Option<&SocketAddr>) -> bool {
        let asked = self.receiving.is_some();
        let found = self.poll(ring, handle, remote);
        if found || asked {
            return found;
        }
        ring.serve();
        self.poll(ring, handle, remote)
    }

    fn start(&mut self, ring: &mut Ring, handle: u64) -> Token {
        if self.buffer.is_empty() {
            self.buffer = vec![0; ADDRESS_LEN + DATAGRAM_MAX];
        }
        let sender = self.buffer.as_mut_ptr() as u64;
        let token = ring.submit(Submission {
            op: op::RECEIVE_FROM,
            handle,
            address: sender + ADDRESS_LEN as u64,
            len: DATAGRAM_MAX as u64,
            offset: sender,
            ..Submission::default()
        });
        self.receiving = Some(token);
        token
    }
}

impl Outgoing {
    pub(super) const fn new(socket: u32) -> Outgoing {
        Outgoing {
            socket,
            permitted: 0,
            waiting: None,
        }
    }

    /// Whether the socket has room, as far as is known.
    fn poll(&mut self, ring: &mut Ring) -> bool {
        if let Some(token) = self.waiting
            && ring.take(token).is_some()
        {
            self.waiting = None;
        }
        self.waiting.is_none()
    }

    fn wait_for_room(&mut self, ring: &mut Ring, handle: u64) {
        self.waiting = Some(ring.submit(Submission {
            op: op::POLL,
            handle,
            extra: [ready::WRITE, 0],
            ..Submission::default()
        }));
    }
}

fn socket(number: u32) -> Resource<UdpSocket> {
    Resource::new_borrow(number)
}

/// The program has dropped the stream, before its socket.
pub(super) fn incoming_dropped(host: &mut Host, stream: Incoming) -> Result<()> {
    if let Some(token) = stream.receiving {
        host.ring.cancel(token, stream.buffer);
    }
    stream_dropped(host, stream.socket)
}

/// As [`incoming_dropped`].
pub(super) fn outgoing_dropped(host: &mut Host, stream: Outgoing) -> Result<()> {
    if let Some(token) = stream.waiting {
        host.ring.cancel(token, Vec::new());
    }
    stream_dropped(host, stream.socket)
}

fn stream_dropped(host: &mut Host, number: u32) -> Result<()> {
    let socket = host.table.get_mut(&socket(number))?;
    socket.streams = socket.streams.saturating_sub(1);
    Ok(())
}

/// Whether `receive` has something to say.
pub(super) fn can_receive(host: &mut Host, this: &Resource<Incoming>) -> Result<bool> {
    let number = host.table.get(this)?.socket;
    let UdpSocket { handle, remote, .. } = *host.table.get(&socket(number))?;
    Ok(host
        .table
        .get_mut(this)?
        .poll(&mut host.ring, handle, remote.as_ref()))
}

/// Whether `check-send` would not answer 0.
pub(super) fn can_send(host: &mut Host, this: &Resource<Outgoing>) -> Result<bool> {
    Ok(host.table.get_mut(this)?.poll(&mut host.ring))
}

fn receive(
    mut cx: Cx<'_>,
    (this, most): (Resource<Incoming>, u64),
) -> Result<(Answer<Vec<IncomingDatagram>>,)> {
    let host = cx.data_mut();
    let number = host.table.get(&this)?.socket;
    let UdpSocket { handle, remote, .. } = *host.table.get(&socket(number))?;
    let stream = host.table.get_mut(&this)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(DATAGRAMS_MAX);
    let mut datagrams = Vec::new();
    let mut bytes = 0;
    while datagrams.len() < most
        && bytes < RECEIVE_MAX
        && stream.poll_now(&mut host.ring, handle, remote.as_ref())
    {
        match stream.next.take() {
            Some(Ok((data, from))) => {
                bytes += 1 + data.len();
                datagrams.push(IncomingDatagram {
                    data,
                    remote_address: from.into(),
                });
            }
            // What was received comes first; the error is told next time.
            Some(Err(error)) if !datagrams.is_empty() => {
                stream.next = Some(Err(error));
                break;
            }
            Some(Err(error)) => return Ok((Err(error),)),
            None => break,
        }
    }
    host.ring.kick();
    Ok((Ok(datagrams),))
}

fn check_send(mut cx: Cx<'_>, (this,): (Resource<Outgoing>,)) -> Result<(Answer<u64>,)> {
    let host = cx.data_mut();
    let stream = host.table.get_mut(&this)?;
    stream.permitted = if stream.poll(&mut host.ring) {
        DATAGRAMS_MAX
    } else {
        0
    };
    host.ring.kick();
    Ok((Ok(stream.permitted as u64),))
}

fn send(
    mut cx: Cx<'_>,
    (this, datagrams): (Resource<Outgoing>, Vec<OutgoingDatagram>),
) -> Result<(Answer<u64>,)> {
    let host = cx.data_mut();
    let stream = host.table.get_mut(&this)?;
    if datagrams.is_empty() {
        return Ok((Ok(0),));
    }
    if datagrams.len() > stream.permitted {
        bail!("unpermitted: argument exceeds permitted size");
    }
    // Each send has to be permitted anew. (wasi:sockets/udp)
    stream.permitted = 0;
    let number = stream.socket;
    let mut sent = 0;
    for datagram in datagrams {
        let socket = host.table.get(&socket(number))?;
        match send_one(&mut host.ring, socket, &datagram) {
            Ok(()) => sent += 1,
            // If one was sent, there is no error. (wasi:sockets/udp)
            Err(_) if sent > 0 => break,
            Err(ErrorCode::WouldBlock) => {
                let handle = socket.handle;
                host.table.get_mut(&this)?.wait_for_room(&mut host.ring, handle);
                break;
            }
            Err(error) => return Ok((Err(error),)),
        }
    }
    Ok((Ok(sent),))
}

fn send_one(ring: &mut Ring, socket: &UdpSocket, datagram: &OutgoingDatagram) -> Answer<()> {
    if datagram.data.len() > DATAGRAM_MAX {
        return Err(ErrorCode::DatagramTooLarge);
    }
    let to = datagram.remote_address.map(SocketAddr::from);
    let address = match (to, socket.remote) {
        (Some(to), _) if !is_remote(&to) || !socket.family.fits(&to) => {
            return Err(ErrorCode::InvalidArgument);
        }
        (Some(to), Some(remote)) if to != remote => return Err(ErrorCode::InvalidArgument),
        (None, None) => return Err(ErrorCode::InvalidArgument),
        // The kernel knows the peer.
        (_, Some(_)) => None,
        (Some(to), None) => Some(to_bytes(&to)),
    };
    let request = Submission {
        op: op::SEND_TO,
        handle: socket.handle,
        address: datagram.data.as_ptr() as u64,
        len: datagram.data.len() as u64,
        offset: address.as_ref().map_or(0, |bytes| bytes.as_ptr() as u64),
        ..Submission::default()
    };
    match ring.request(request) {
        Ok(_) => Ok(()),
        Err(EAGAIN) => Err(ErrorCode::WouldBlock),
        Err(errno) => Err(ErrorCode::from_errno(errno)),
    }
}
