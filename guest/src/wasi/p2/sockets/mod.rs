//! `wasi:sockets`.
//!
//! As the wasmtime command has it: binding and listening are done by the time that `start-*` returns, connecting,
//! accepting and looking up go on beside the program.

mod connection;
mod datagrams;
mod lookup;
mod network;
mod options;
mod tcp;
mod udp;

use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource};

use super::{Cx, owned, owned_by};
use crate::wasi::Host;
pub(super) use connection::{input_dropped, output_dropped, permit, read, readable, writable, write};
use network::{ErrorCode, Network};

/// What most functions here answer with.
type Answer<T> = core::result::Result<T, ErrorCode>;

/// Whether a grant was given.
fn granted(host: &Host, grant: u32) -> Answer<()> {
    if host.grants & grant == 0 {
        return Err(ErrorCode::AccessDenied);
    }
    Ok(())
}

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, interface: &str, name: &str) -> Result<bool> {
    match (interface, name) {
        ("wasi:sockets/instance-network", "instance-network") => {
            at.func_wrap(name, |mut cx: Cx<'_>, (): ()| {
                Ok((cx.data_mut().table.push(Network)?,))
            })?;
        }
        ("wasi:sockets/tcp-create-socket", "create-tcp-socket") => at.func_wrap(name, tcp::create)?,
        ("wasi:sockets/udp-create-socket", "create-udp-socket") => at.func_wrap(name, udp::create)?,
        ("wasi:sockets/ip-name-lookup", _) => return lookup::function(at, name),
        ("wasi:sockets/tcp", _) => return tcp::function(at, name),
        ("wasi:sockets/udp", _) => return Ok(udp::function(at, name)? || datagrams::function(at, name)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Defines a resource. Whether it is one of these interfaces'.
pub(super) fn resource(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "network" => owned::<Network>(at, name)?,
        "tcp-socket" => owned_by(at, name, tcp::dropped)?,
        "udp-socket" => owned_by(at, name, udp::dropped)?,
        "incoming-datagram-stream" => owned_by(at, name, datagrams::incoming_dropped)?,
        "outgoing-datagram-stream" => owned_by(at, name, datagrams::outgoing_dropped)?,
        "resolve-address-stream" => owned_by(at, name, lookup::dropped)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What a pollable of these interfaces waits for, by the number of its parent in the table.
#[derive(Clone, Copy)]
pub(super) enum Pollable {
    Tcp(u32),
    Incoming(u32),
    Outgoing(u32),
    Lookup(u32),
}

/// Whether it is ready, and when it has to be looked at again at the latest. Submits what it takes to become so.
pub(super) fn is_ready(host: &mut Host, pollable: Pollable) -> Result<(bool, u64)> {
    let ready = match pollable {
        Pollable::Tcp(socket) => tcp::is_ready(host, &Resource::new_borrow(socket))?,
        Pollable::Incoming(stream) => datagrams::can_receive(host, &Resource::new_borrow(stream))?,
        Pollable::Outgoing(stream) => datagrams::can_send(host, &Resource::new_borrow(stream))?,
        Pollable::Lookup(stream) => return lookup::is_ready(host, &Resource::new_borrow(stream)),
    };
    Ok((ready, u64::MAX))
}
