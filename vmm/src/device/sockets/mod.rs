//! Sockets: operations on TCP and UDP sockets, which the broker makes, the streams of HTTP exchanges, which the front
//! hands over, and what names of hosts need of tables.

mod address;
mod channel;
mod name;
mod network;
mod socket;

use mote_abi::ring::{HTTP_INCOMING, Submission, TRANSFER_MAX, op};
use mote_config::broker::Kind;
use vm_memory::Bytes;

use super::answer::{Attempt, Errno, Request, Wait};
use super::objects::{Object, Objects};
use crate::memory::Space;
pub use network::{Grants, Network, Reach};
use socket::Outcome;
pub(crate) use socket::SETTABLE;
pub use socket::Socket;

/// Most bytes of a datagram, headers included: the length fields of UDP, and of IPv4 and IPv6 without jumbograms, have
/// 16 bits. (RFC 768, RFC 8200 3)
const DATAGRAM_MAX: usize = 65535;

/// Whether an operation is served here.
pub(super) fn serves(operation: u64) -> bool {
    (op::SOCKET..=op::NAME_TO_ASCII).contains(&operation)
}

/// Serves a socket operation.
pub(super) fn serve(
    network: &mut Network,
    objects: &mut Objects,
    space: &Space,
    request: &mut Request,
) -> Attempt {
    match request.submission.op {
        op::SOCKET => network.socket(objects, request),
        op::HTTP_REQUEST => network.http_request(objects, request),
        op::ACCEPT if request.submission.handle == HTTP_INCOMING => network.accept(objects, space, request),
        op::ACCEPT => accept(objects, space, &request.submission),
        op::CONNECT => connect(network, objects, space, request),
        op::RECEIVE_FROM => receive(network, objects, space, &request.submission),
        op::NAME_TO_ASCII => name::to_ascii(network, space, &request.submission).into(),
        _ => at_once(network, objects, space, &request.submission).into(),
    }
}

fn socket(objects: &Objects, handle: u64) -> Result<&Socket, Errno> {
    match objects.get(handle)? {
        Object::Socket(socket) => Ok(socket),
        _ => Err(Errno(libc::ENOTSOCK)),
    }
}

/// What is answered at once.
fn at_once(
    network: &Network,
    objects: &Objects,
    space: &Space,
    submission: &Submission,
) -> Result<u64, Errno> {
    let Submission { address, extra, .. } = *submission;
    let socket = socket(objects, submission.handle)?;
    match submission.op {
        op::BIND => {
            network.may_bind(socket.kind)?;
            socket.bind(&address::read(space, address, socket.family)?)?;
        }
        op::LISTEN => {
            network.may_bind(socket.kind)?;
            socket.listen(extra[0])?;
        }
        op::LOCAL_ADDRESS => {
            let place = address::place(space, address)?;
            address::write(&place, &socket.local()?);
        }
        op::REMOTE_ADDRESS => {
            let place = address::place(space, address)?;
            address::write(&place, &socket.remote()?);
        }
        op::GET_OPTION => return socket.option(extra[0]),
        op::SET_OPTION => socket.set_option(extra[0], extra[1])?,
        op::SHUTDOWN => socket.shutdown(extra[0])?,
        op::SEND_TO => return send(network, socket, space, submission),
        _ => return Err(Errno(libc::EOPNOTSUPP)),
    }
    Ok(0)
}

fn send(network: &Network, socket: &Socket, space: &Space, submission: &Submission) -> Result<u64, Errno> {
    if socket.kind != Kind::Udp {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let to = match submission.offset {
        // The peer was checked when it was connected to.
        0 => None,
        at => Some(address::read(space, at, socket.family)?),
    };
    if let Some(to) = &to {
        network.may_reach(socket.kind, to)?;
    }
    let len = usize::try_from(submission.len).map_err(|_| Errno(libc::EMSGSIZE))?;
    if len > DATAGRAM_MAX {
        return Err(Errno(libc::EMSGSIZE));
    }
    let mut data = vec![0; len];
    let mut filled = 0;
    for part in space
        .resolve(submission.address, submission.len, false)
        .map_err(|_| Errno(libc::EFAULT))?
    {
        let end = filled + part.len();
        part.read_slice(&mut data[filled..end], 0)
            .map_err(|_| Errno(libc::EFAULT))?;
        filled = end;
    }
    socket.send(&data, to.as_ref())
}

fn wait(socket: &Socket, events: libc::c_short) -> Wait {
    Wait {
        fd: socket.fd(),
        events,
    }
}

/// `done` of the request is 1 once the connection is begun.
fn connect(network: &Network, objects: &Objects, space: &Space, request: &mut Request) -> Attempt {
    let socket = match socket(objects, request.submission.handle) {
        Ok(socket) => socket,
        Err(errno) => return errno.into(),
    };
    let outcome = if request.done == 0 {
        begin(network, socket, space, request.submission.address)
    } else {
        socket.connected()
    };
    match outcome {
        Ok(Outcome::Done(())) => Attempt::Done(0),
        Ok(Outcome::Blocked) => {
            request.done = 1;
            Attempt::Wait(wait(socket, libc::POLLOUT))
        }
        Err(errno) => errno.into(),
    }
}

fn begin(network: &Network, socket: &Socket, space: &Space, at: u64) -> Result<Outcome<()>, Errno> {
    if at == 0 {
        return match socket.kind {
            Kind::Udp => socket.connect(None),
            Kind::Tcp => Err(Errno(libc::EINVAL)),
        };
    }
    let address = address::read(space, at, socket.family)?;
    network.may_reach(socket.kind, &address)?;
    socket.connect(Some(&address))
}

fn accept(objects: &mut Objects, space: &Space, submission: &Submission) -> Attempt {
    match next_connection(objects, space, submission) {
        Ok(Ok(accepted)) => objects.insert(Object::Socket(accepted)).into(),
        Ok(Err(wait)) => Attempt::Wait(wait),
        Err(errno) => errno.into(),
    }
}

/// The next connection, or what to wait for.
fn next_connection(
    objects: &Objects,
    space: &Space,
    submission: &Submission,
) -> Result<Result<Socket, Wait>, Errno> {
    let socket = socket(objects, submission.handle)?;
    let place = match submission.address {
        0 => None,
        at => Some(address::place(space, at)?),
    };
    // Not taken from the queue unless there is room for it.
    objects.check_room()?;
    Ok(match socket.accept()? {
        Outcome::Done((accepted, peer)) => {
            if let Some(place) = &place {
                address::write(place, &peer);
            }
            Ok(accepted)
        }
        Outcome::Blocked => Err(wait(socket, libc::POLLIN)),
    })
}

fn receive(network: &mut Network, objects: &Objects, space: &Space, submission: &Submission) -> Attempt {
    match next_datagram(network, objects, space, submission) {
        Ok(Ok(len)) => Ok(len).into(),
        Ok(Err(wait)) => Attempt::Wait(wait),
        Err(errno) => errno.into(),
    }
}

/// The bytes of the next datagram that fit, or what to wait for.
fn next_datagram(
    network: &mut Network,
    objects: &Objects,
    space: &Space,
    submission: &Submission,
) -> Result<Result<u64, Wait>, Errno> {
    let socket = socket(objects, submission.handle)?;
    if socket.kind != Kind::Udp {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if submission.len > TRANSFER_MAX {
        return Err(Errno(libc::EINVAL));
    }
    let place = address::place(space, submission.offset)?;
    let data = space
        .resolve(submission.address, submission.len, true)
        .map_err(|_| Errno(libc::EFAULT))?;
    let len = usize::try_from(submission.len).unwrap_or(DATAGRAM_MAX);
    network.buffer.resize(DATAGRAM_MAX, 0);
    let (got, sender) = match socket.receive(&mut network.buffer[..len.min(DATAGRAM_MAX)])? {
        Outcome::Done(received) => received,
        Outcome::Blocked => return Ok(Err(wait(socket, libc::POLLIN))),
    };
    let mut rest = &network.buffer[..got];
    for part in data {
        let (first, others) = rest.split_at(part.len().min(rest.len()));
        part.copy_from(first);
        rest = others;
    }
    address::write(&place, &sender);
    Ok(Ok(got as u64))
}

#[cfg(test)]
mod tests;
