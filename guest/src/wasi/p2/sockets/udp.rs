//! `wasi:sockets/udp.udp-socket`.

use core::net::SocketAddr;

use mote_abi::boot::grant;
use mote_abi::net::kind;
use mote_abi::ring::op;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime::{Result, bail};

use super::datagrams::{Incoming, Outgoing};
use super::network::{Family, Network, SocketAddress, is_remote};
use super::options::SocketOption;
use super::{Answer, ErrorCode, granted};
use crate::vm::ring::Ring;
use crate::wasi::Host;
use crate::wasi::p2::Cx;
use crate::wasi::p2::io::{Pollable, new_child_pollable};
use crate::wasi::sockets::{address, call, call_with, close, open};

/// `wasi:sockets/udp.udp-socket`.
pub(super) struct UdpSocket {
    pub(super) handle: u64,
    pub(super) family: Family,
    bound: bool,
    /// It was bound and `finish-bind` is due.
    binding: bool,
    /// The peer, if it is connected.
    pub(super) remote: Option<SocketAddr>,
    /// Streams that the program has of it.
    pub(super) streams: u32,
}

type This = Resource<UdpSocket>;
type Unit = Result<(Answer<()>,)>;

#[rustfmt::skip]
pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    let Some(method) = name.strip_prefix("[method]udp-socket.") else {
        return Ok(false);
    };
    match method {
        "start-bind" => at.func_wrap(name, start_bind)?,
        "finish-bind" => at.func_wrap(name, finish_bind)?,
        "stream" => at.func_wrap(name, stream)?,
        "local-address" => at.func_wrap(name, local_address)?,
        "remote-address" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| {
            let remote = cx.data().table.get(&s)?.remote;
            Ok((remote.map(SocketAddress::from).ok_or(ErrorCode::InvalidState),))
        })?,
        "address-family" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| Ok((cx.data().table.get(&s)?.family,)))?,
        "unicast-hop-limit" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| {
            Ok((get(cx, &s, SocketOption::HOP_LIMIT)?.and_then(|v| u8::try_from(v).map_err(|_| ErrorCode::NotSupported)),))
        })?,
        "set-unicast-hop-limit" => at.func_wrap(name, |cx: Cx<'_>, (s, n): (This, u8)| set(cx, &s, SocketOption::HOP_LIMIT, u64::from(n)))?,
        "receive-buffer-size" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| Ok((get(cx, &s, SocketOption::RECEIVE_BUFFER)?,)))?,
        "set-receive-buffer-size" => at.func_wrap(name, |cx: Cx<'_>, (s, n): (This, u64)| set(cx, &s, SocketOption::RECEIVE_BUFFER, n))?,
        "send-buffer-size" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| Ok((get(cx, &s, SocketOption::SEND_BUFFER)?,)))?,
        "set-send-buffer-size" => at.func_wrap(name, |cx: Cx<'_>, (s, n): (This, u64)| set(cx, &s, SocketOption::SEND_BUFFER, n))?,
        // No operation of the socket itself has to wait.
        "subscribe" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| new_child_pollable(cx, Pollable::Ready, &s))?,
        _ => return Ok(false),
    }
    Ok(true)
}

impl UdpSocket {
    fn bind(&mut self, ring: &mut Ring, address: &SocketAddr) -> Answer<()> {
        if self.binding {
            return Err(ErrorCode::ConcurrencyConflict);
        }
        if self.bound || self.streams > 0 {
            return Err(ErrorCode::InvalidState);
        }
        if !self.family.fits(address) {
            return Err(ErrorCode::InvalidArgument);
        }
        call_with(ring, op::BIND, self.handle, address).map_err(ErrorCode::from_address)?;
        (self.bound, self.binding) = (true, true);
        Ok(())
    }

    /// Connects to a peer, or to none.
    fn connect(&mut self, ring: &mut Ring, remote: Option<SocketAddr>) -> Answer<()> {
        if !self.bound {
            return Err(ErrorCode::InvalidState);
        }
        match remote {
            Some(remote) => {
                if !self.family.fits(&remote) || !is_remote(&remote) {
                    return Err(ErrorCode::InvalidArgument);
                }
                let result = call_with(ring, op::CONNECT, self.handle, &remote);
                // A failure may have dissolved the last association.
                self.remote = address(ring, op::REMOTE_ADDRESS, self.handle).ok();
                result.map_err(ErrorCode::from_address)
            }
            None if self.remote.take().is_some() => call(ring, op::CONNECT, self.handle, [0; 2])
                .map(drop)
                .map_err(ErrorCode::from_errno),
            None => Ok(()),
        }
    }
}

pub(super) fn create(mut cx: Cx<'_>, (family,): (Family,)) -> Result<(Answer<This>,)> {
    let host = cx.data_mut();
    let made = granted(host, grant::UDP)
        .and_then(|()| open(&mut host.ring, family.number(), kind::UDP).map_err(ErrorCode::from_errno));
    Ok((match made {
        Ok(handle) => Ok(host.table.push(UdpSocket {
            handle,
            family,
            bound: false,
            binding: false,
            remote: None,
            streams: 0,
        })?),
        Err(error) => Err(error),
    },))
}

/// The program has dropped the socket, after its streams.
pub(super) fn dropped(host: &mut Host, socket: UdpSocket) -> Result<()> {
    close(&mut host.ring, socket.handle);
    Ok(())
}

fn start_bind(mut cx: Cx<'_>, (this, network, address): (This, Resource<Network>, SocketAddress)) -> Unit {
    let host = cx.data_mut();
    host.table.get(&network)?;
    let socket = host.table.get_mut(&this)?;
    Ok((socket.bind(&mut host.ring, &address.into()),))
}

fn finish_bind(mut cx: Cx<'_>, (this,): (This,)) -> Unit {
    let socket = cx.data_mut().table.get_mut(&this)?;
    if !core::mem::take(&mut socket.binding) {
        return Ok((Err(ErrorCode::NotInProgress),));
    }
    Ok((Ok(()),))
}

type Streams = (Resource<Incoming>, Resource<Outgoing>);

fn stream(mut cx: Cx<'_>, (this, remote): (This, Option<SocketAddress>)) -> Result<(Answer<Streams>,)> {
    let host = cx.data_mut();
    let socket = host.table.get_mut(&this)?;
    if socket.streams > 0 {
        bail!("UDP streams not dropped yet");
    }
    if let Err(error) = socket.connect(&mut host.ring, remote.map(SocketAddr::from)) {
        return Ok((Err(error),));
    }
    socket.streams = 2;
    let incoming = host.table.push_child(Incoming::new(this.rep()), &this)?;
    let outgoing = host.table.push_child(Outgoing::new(this.rep()), &this)?;
    Ok((Ok((incoming, outgoing)),))
}

fn local_address(mut cx: Cx<'_>, (this,): (This,)) -> Result<(Answer<SocketAddress>,)> {
    let host = cx.data_mut();
    let socket = host.table.get(&this)?;
    if !socket.bound {
        return Ok((Err(ErrorCode::InvalidState),));
    }
    let address = address(&mut host.ring, op::LOCAL_ADDRESS, socket.handle);
    Ok((address.map(SocketAddress::from).map_err(ErrorCode::from_errno),))
}

fn get(mut cx: Cx<'_>, this: &This, option: SocketOption) -> Result<Answer<u64>> {
    let host = cx.data_mut();
    let handle = host.table.get(this)?.handle;
    Ok(option.get(&mut host.ring, handle))
}

fn set(mut cx: Cx<'_>, this: &This, option: SocketOption, value: u64) -> Unit {
    let host = cx.data_mut();
    let handle = host.table.get(this)?.handle;
    Ok((option.set(&mut host.ring, handle, value),))
}
