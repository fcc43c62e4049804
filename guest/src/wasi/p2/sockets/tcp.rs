//! `wasi:sockets/tcp`: the states of a socket. The bytes of a connection are in [`super::connection`].

use core::net::SocketAddr;

use mote_abi::boot::grant;
use mote_abi::net::kind;
use mote_abi::ring::{Submission, op};
use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};

use super::connection::Connection;
use super::network::{Family, Network, SocketAddress, is_remote, is_unicast};
use super::options::SocketOption;
use super::{Answer, ErrorCode, Pollable, granted};
use crate::vm::ring::{Errno, Ring, Token};
use crate::wasi::Host;
use crate::wasi::p2::Cx;
use crate::wasi::p2::io::{InputStream, OutputStream, Pollable as AnyPollable, new_child_pollable};
use crate::wasi::sockets::{Connecting, address, call, call_with, close, open};

/// Connections that wait to be accepted, unless the program says otherwise; as the standard library of Rust has it.
const BACKLOG: u64 = 128;
/// Largest backlog that listen(2) takes.
const BACKLOG_MAX: u64 = 0x7fff_ffff;

/// `wasi:sockets/tcp.tcp-socket`.
pub(super) struct TcpSocket {
    handle: u64,
    family: Family,
    state: State,
    /// What was started and not finished.
    operation: Option<Operation>,
    bound: bool,
    backlog: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Bind,
    Connect,
    Listen,
}

enum State {
    /// New, perhaps bound.
    Fresh,
    Connecting(Connecting),
    Connected(Connection),
    Listening(Accepting),
    /// The connection could not be made.
    Closed(ErrorCode),
}

/// The next connection of a socket that listens.
#[derive(Default)]
struct Accepting {
    token: Option<Token>,
    /// Its handle.
    next: Option<core::result::Result<u64, Errno>>,
}

/// `wasi:sockets/tcp.shutdown-type`.
#[derive(Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by lifting")]
enum ShutdownType {
    #[component(name = "receive")]
    Receive,
    #[component(name = "send")]
    Send,
    #[component(name = "both")]
    Both,
}

type This = Resource<TcpSocket>;
type Unit = Result<(Answer<()>,)>;

#[rustfmt::skip]
pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    let Some(method) = name.strip_prefix("[method]tcp-socket.") else {
        return Ok(false);
    };
    match method {
        "start-bind" => at.func_wrap(name, start_bind)?,
        "finish-bind" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| finish(cx, &s, Operation::Bind))?,
        "start-connect" => at.func_wrap(name, start_connect)?,
        "finish-connect" => at.func_wrap(name, finish_connect)?,
        "start-listen" => at.func_wrap(name, start_listen)?,
        "finish-listen" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| finish(cx, &s, Operation::Listen))?,
        "accept" => at.func_wrap(name, accept)?,
        "local-address" => at.func_wrap(name, local_address)?,
        "remote-address" => at.func_wrap(name, remote_address)?,
        "is-listening" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| {
            Ok((matches!(cx.data().table.get(&s)?.state, State::Listening(_)),))
        })?,
        "address-family" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| Ok((cx.data().table.get(&s)?.family,)))?,
        "set-listen-backlog-size" => at.func_wrap(name, set_backlog)?,
        "keep-alive-enabled" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| {
            Ok((get(cx, &s, SocketOption::KEEP_ALIVE)?.map(|v| v != 0),))
        })?,
        "set-keep-alive-enabled" => at.func_wrap(name, |cx: Cx<'_>, (s, on): (This, bool)| {
            set(cx, &s, SocketOption::KEEP_ALIVE, u64::from(on))
        })?,
        "keep-alive-idle-time" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| Ok((get(cx, &s, SocketOption::IDLE_TIME)?,)))?,
        "set-keep-alive-idle-time" => at.func_wrap(name, |cx: Cx<'_>, (s, ns): (This, u64)| set(cx, &s, SocketOption::IDLE_TIME, ns))?,
        "keep-alive-interval" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| Ok((get(cx, &s, SocketOption::INTERVAL)?,)))?,
        "set-keep-alive-interval" => at.func_wrap(name, |cx: Cx<'_>, (s, ns): (This, u64)| set(cx, &s, SocketOption::INTERVAL, ns))?,
        "keep-alive-count" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| {
            Ok((get(cx, &s, SocketOption::COUNT)?.map(|v| u32::try_from(v).unwrap_or(u32::MAX)),))
        })?,
        "set-keep-alive-count" => at.func_wrap(name, |cx: Cx<'_>, (s, n): (This, u32)| set(cx, &s, SocketOption::COUNT, u64::from(n)))?,
        "hop-limit" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| {
            Ok((get(cx, &s, SocketOption::HOP_LIMIT)?.and_then(|v| u8::try_from(v).map_err(|_| ErrorCode::NotSupported)),))
        })?,
        "set-hop-limit" => at.func_wrap(name, |cx: Cx<'_>, (s, n): (This, u8)| set(cx, &s, SocketOption::HOP_LIMIT, u64::from(n)))?,
        "receive-buffer-size" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| Ok((get(cx, &s, SocketOption::RECEIVE_BUFFER)?,)))?,
        "set-receive-buffer-size" => at.func_wrap(name, |cx: Cx<'_>, (s, n): (This, u64)| set(cx, &s, SocketOption::RECEIVE_BUFFER, n))?,
        "send-buffer-size" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| Ok((get(cx, &s, SocketOption::SEND_BUFFER)?,)))?,
        "set-send-buffer-size" => at.func_wrap(name, |cx: Cx<'_>, (s, n): (This, u64)| set(cx, &s, SocketOption::SEND_BUFFER, n))?,
        "subscribe" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| {
            new_child_pollable(cx, AnyPollable::Socket(Pollable::Tcp(s.rep())), &s)
        })?,
        "shutdown" => at.func_wrap(name, shutdown)?,
        _ => return Ok(false),
    }
    Ok(true)
}

impl TcpSocket {
    fn new(handle: u64, family: Family, state: State) -> TcpSocket {
        TcpSocket {
            handle,
            family,
            bound: matches!(state, State::Connected(_)),
            state,
            operation: None,
            backlog: BACKLOG,
        }
    }

    /// The connection, for its streams.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            State::Connected(connection) => Some(connection),
            _ => None,
        }
    }

    fn is_bound(&self) -> bool {
        self.bound || !matches!(self.state, State::Fresh)
    }

    /// The handle, where its options and addresses can be asked for.
    fn open_handle(&self) -> Answer<u64> {
        match &self.state {
            State::Fresh | State::Connected(_) | State::Listening(_) => Ok(self.handle),
            State::Connecting(_) => Err(ErrorCode::InvalidState),
            State::Closed(error) => Err(*error),
        }
    }

    fn bind(&mut self, ring: &mut Ring, address: &SocketAddr) -> Answer<()> {
        if self.operation.is_some() {
            return Err(ErrorCode::ConcurrencyConflict);
        }
        if self.is_bound() {
            return Err(ErrorCode::InvalidState);
        }
        if !is_unicast(address) || !self.family.fits(address) {
            return Err(ErrorCode::InvalidArgument);
        }
        call_with(ring, op::BIND, self.handle, address).map_err(ErrorCode::from_address)?;
        self.bound = true;
        self.operation = Some(Operation::Bind);
        Ok(())
    }

    fn connect(&mut self, ring: &mut Ring, address: &SocketAddr) -> Answer<()> {
        if self.operation.is_some() {
            return Err(ErrorCode::ConcurrencyConflict);
        }
        if !matches!(self.state, State::Fresh) {
            return Err(ErrorCode::InvalidState);
        }
        if !is_unicast(address) || !is_remote(address) || !self.family.fits(address) {
            return Err(ErrorCode::InvalidArgument);
        }
        self.state = State::Connecting(Connecting::start(ring, self.handle, address));
        self.operation = Some(Operation::Connect);
        Ok(())
    }

    /// What became of the connection, `None` as long as it is being made.
    fn poll_connect(&mut self, ring: &mut Ring) -> Option<Answer<()>> {
        if let State::Connecting(connecting) = &self.state {
            self.state = match connecting.poll(ring)? {
                Ok(()) => State::Connected(Connection::new(self.handle)),
                Err(errno) => State::Closed(ErrorCode::from_address(errno)),
            };
        }
        Some(match &self.state {
            State::Connected(_) => Ok(()),
            State::Closed(error) => Err(*error),
            _ => Err(ErrorCode::InvalidState),
        })
    }

    fn listen(&mut self, ring: &mut Ring) -> Answer<()> {
        if self.operation.is_some() {
            return Err(ErrorCode::ConcurrencyConflict);
        }
        if !self.is_bound() || !matches!(self.state, State::Fresh) {
            return Err(ErrorCode::InvalidState);
        }
        call(ring, op::LISTEN, self.handle, [self.backlog, 0]).map_err(ErrorCode::from_errno)?;
        self.state = State::Listening(Accepting::default());
        self.operation = Some(Operation::Listen);
        Ok(())
    }

    fn set_backlog(&mut self, ring: &mut Ring, value: u64) -> Answer<()> {
        if value == 0 {
            return Err(ErrorCode::InvalidArgument);
        }
        let value = value.min(BACKLOG_MAX);
        match &self.state {
            State::Fresh => {}
            State::Listening(_) => {
                call(ring, op::LISTEN, self.handle, [value, 0]).map_err(|_| ErrorCode::NotSupported)?;
            }
            State::Closed(error) => return Err(*error),
            _ => return Err(ErrorCode::InvalidState),
        }
        self.backlog = value;
        Ok(())
    }
}

impl Accepting {
    /// Whether there is a connection, or an error. Asks for one if need be.
    fn poll(&mut self, ring: &mut Ring, handle: u64) -> bool {
        if self.next.is_some() {
            return true;
        }
        let token = *self.token.get_or_insert_with(|| {
            ring.submit(Submission {
                op: op::ACCEPT,
                handle,
                ..Submission::default()
            })
        });
        if let Some(result) = ring.take(token) {
            self.token = None;
            self.next = Some(u64::try_from(result).map_err(|_| -result));
        }
        self.next.is_some()
    }

    /// As [`Self::poll`], and if a connection was not asked for yet, the VMM looks for one at once.
    fn poll_now(&mut self, ring: &mut Ring, handle: u64) -> bool {
        let asked = self.token.is_some();
        let found = self.poll(ring, handle);
        if found || asked {
            return found;
        }
        ring.serve();
        self.poll(ring, handle)
    }
}

pub(super) fn create(mut cx: Cx<'_>, (family,): (Family,)) -> Result<(Answer<This>,)> {
    let host = cx.data_mut();
    let made = granted(host, grant::TCP)
        .and_then(|()| open(&mut host.ring, family.number(), kind::TCP).map_err(ErrorCode::from_errno));
    Ok((match made {
        Ok(handle) => Ok(host.table.push(TcpSocket::new(handle, family, State::Fresh))?),
        Err(error) => Err(error),
    },))
}

/// The program has dropped the socket, after its streams.
pub(super) fn dropped(host: &mut Host, socket: TcpSocket) -> Result<()> {
    match socket.state {
        State::Connecting(connecting) => connecting.cancel(&mut host.ring),
        State::Listening(Accepting { token, next }) => {
            if let Some(token) = token {
                host.ring.discard(token);
            }
            if let Some(Ok(accepted)) = next {
                close(&mut host.ring, accepted);
            }
        }
        _ => {}
    }
    close(&mut host.ring, socket.handle);
    Ok(())
}

/// Whether the socket's operation would not have to wait.
pub(super) fn is_ready(host: &mut Host, this: &This) -> Result<bool> {
    let socket = host.table.get_mut(this)?;
    let handle = socket.handle;
    Ok(match (socket.operation, &mut socket.state) {
        (Some(Operation::Connect), _) => socket.poll_connect(&mut host.ring).is_some(),
        (None, State::Listening(accepting)) => accepting.poll(&mut host.ring, handle),
        _ => true,
    })
}

fn start_bind(mut cx: Cx<'_>, (this, network, address): (This, Resource<Network>, SocketAddress)) -> Unit {
    let host = cx.data_mut();
    host.table.get(&network)?;
    let socket = host.table.get_mut(&this)?;
    Ok((socket.bind(&mut host.ring, &address.into()),))
}

/// `finish-bind` and `finish-listen`: there is nothing left to do.
fn finish(mut cx: Cx<'_>, this: &This, operation: Operation) -> Unit {
    let socket = cx.data_mut().table.get_mut(this)?;
    if socket.operation != Some(operation) {
        return Ok((Err(ErrorCode::NotInProgress),));
    }
    socket.operation = None;
    Ok((Ok(()),))
}

fn start_connect(mut cx: Cx<'_>, (this, network, address): (This, Resource<Network>, SocketAddress)) -> Unit {
    let host = cx.data_mut();
    host.table.get(&network)?;
    let socket = host.table.get_mut(&this)?;
    Ok((socket.connect(&mut host.ring, &address.into()),))
}

type Streams = (Resource<InputStream>, Resource<OutputStream>);

/// The streams of a connection, which the program has to drop before the socket.
fn streams(host: &mut Host, this: &This) -> Result<Streams> {
    let input = host.table.push_child(InputStream::Tcp(this.rep()), this)?;
    let output = host.table.push_child(OutputStream::Tcp(this.rep()), this)?;
    Ok((input, output))
}

fn finish_connect(mut cx: Cx<'_>, (this,): (This,)) -> Result<(Answer<Streams>,)> {
    let host = cx.data_mut();
    let socket = host.table.get_mut(&this)?;
    if socket.operation != Some(Operation::Connect) {
        return Ok((Err(ErrorCode::NotInProgress),));
    }
    let Some(result) = socket.poll_connect(&mut host.ring) else {
        host.ring.kick();
        return Ok((Err(ErrorCode::WouldBlock),));
    };
    socket.operation = None;
    Ok((match result {
        Ok(()) => Ok(streams(host, &this)?),
        Err(error) => Err(error),
    },))
}

fn start_listen(mut cx: Cx<'_>, (this,): (This,)) -> Unit {
    let host = cx.data_mut();
    let socket = host.table.get_mut(&this)?;
    Ok((socket.listen(&mut host.ring),))
}

type Accepted = (This, Resource<InputStream>, Resource<OutputStream>);

fn accept(mut cx: Cx<'_>, (this,): (This,)) -> Result<(Answer<Accepted>,)> {
    let host = cx.data_mut();
    let socket = host.table.get_mut(&this)?;
    let (handle, family) = (socket.handle, socket.family);
    let State::Listening(accepting) = &mut socket.state else {
        return Ok((Err(ErrorCode::InvalidState),));
    };
    if !accepting.poll_now(&mut host.ring, handle) {
        return Ok((Err(ErrorCode::WouldBlock),));
    }
    let handle = match accepting.next.take() {
        Some(Ok(handle)) => handle,
        Some(Err(errno)) => return Ok((Err(ErrorCode::from_accept(errno)),)),
        None => return Ok((Err(ErrorCode::WouldBlock),)),
    };
    let state = State::Connected(Connection::new(handle));
    let accepted = host.table.push(TcpSocket::new(handle, family, state))?;
    let (input, output) = streams(host, &accepted)?;
    Ok((Ok((accepted, input, output)),))
}

fn local_address(mut cx: Cx<'_>, (this,): (This,)) -> Result<(Answer<SocketAddress>,)> {
    let host = cx.data_mut();
    let socket = host.table.get(&this)?;
    let handle = if socket.is_bound() {
        socket.open_handle()
    } else {
        Err(ErrorCode::InvalidState)
    };
    Ok((handle.and_then(|handle| ask(&mut host.ring, op::LOCAL_ADDRESS, handle)),))
}

fn remote_address(mut cx: Cx<'_>, (this,): (This,)) -> Result<(Answer<SocketAddress>,)> {
    let host = cx.data_mut();
    let socket = host.table.get(&this)?;
    let handle = match &socket.state {
        State::Connected(_) => Ok(socket.handle),
        State::Closed(error) => Err(*error),
        _ => Err(ErrorCode::InvalidState),
    };
    Ok((handle.and_then(|handle| ask(&mut host.ring, op::REMOTE_ADDRESS, handle)),))
}

fn ask(ring: &mut Ring, op: u64, handle: u64) -> Answer<SocketAddress> {
    address(ring, op, handle)
        .map(SocketAddress::from)
        .map_err(ErrorCode::from_errno)
}

fn set_backlog(mut cx: Cx<'_>, (this, value): (This, u64)) -> Unit {
    let host = cx.data_mut();
    let socket = host.table.get_mut(&this)?;
    Ok((socket.set_backlog(&mut host.ring, value),))
}

fn get(mut cx: Cx<'_>, this: &This, option: SocketOption) -> Result<Answer<u64>> {
    let host = cx.data_mut();
    let handle = host.table.get(this)?.open_handle();
    Ok(handle.and_then(|handle| option.get(&mut host.ring, handle)))
}

fn set(mut cx: Cx<'_>, this: &This, option: SocketOption, value: u64) -> Unit {
    let host = cx.data_mut();
    let handle = host.table.get(this)?.open_handle();
    let set = option
        .check(value)
        .and(handle)
        .and_then(|handle| option.set(&mut host.ring, handle, value));
    Ok((set,))
}

fn shutdown(mut cx: Cx<'_>, (this, how): (This, ShutdownType)) -> Unit {
    let host = cx.data_mut();
    let Some(connection) = host.table.get_mut(&this)?.connection() else {
        return Ok((Err(ErrorCode::InvalidState),));
    };
    if how != ShutdownType::Send {
        connection.end_receiving(&mut host.ring);
    }
    if how != ShutdownType::Receive {
        connection.end_sending(&mut host.ring);
    }
    host.ring.kick();
    Ok((Ok(()),))
}
