//! `wasi:sockets/ip-name-lookup`.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use core::net::IpAddr;

use mote_abi::boot::grant;
use mote_resolver::{Failure, Host as Name};
use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource};

use super::network::{Address, Network};
use super::{Answer, ErrorCode, Pollable, granted};
use crate::vm::ring::Ring;
use crate::wasi::p2::Cx;
use crate::wasi::p2::io::{Pollable as AnyPollable, new_child_pollable};
use crate::wasi::sockets::resolver::{self, Progress, Resolution};
use crate::wasi::{Host, errno};

/// `wasi:sockets/ip-name-lookup.resolve-address-stream`.
pub(super) enum Addresses {
    /// `None` only while it is being looked at.
    Pending(Option<Box<Resolution>>),
    Found(VecDeque<IpAddr>),
    Failed(ErrorCode),
}

type This = Resource<Addresses>;

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "resolve-addresses" => at.func_wrap(name, resolve)?,
        "[method]resolve-address-stream.resolve-next-address" => at.func_wrap(name, next)?,
        "[method]resolve-address-stream.subscribe" => at.func_wrap(name, |cx: Cx<'_>, (s,): (This,)| {
            new_child_pollable(cx, AnyPollable::Socket(Pollable::Lookup(s.rep())), &s)
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The program has dropped the stream.
pub(super) fn dropped(host: &mut Host, stream: Addresses) -> Result<()> {
    if let Addresses::Pending(Some(resolution)) = stream {
        resolution.cancel(&mut host.ring);
    }
    Ok(())
}

/// Looks at what has come; whether the lookup has ended, and when it has to be looked at again.
pub(super) fn is_ready(host: &mut Host, this: &This) -> Result<(bool, u64)> {
    let Addresses::Pending(pending) = host.table.get_mut(this)? else {
        return Ok((true, u64::MAX));
    };
    let Some(mut resolution) = pending.take() else {
        return Ok((true, u64::MAX));
    };
    let (state, until) = match resolution.advance(host)? {
        Progress::Wait(until) => (Addresses::Pending(Some(resolution)), Some(until)),
        Progress::Done(result) => (ended(result), None),
    };
    *host.table.get_mut(this)? = state;
    Ok((until.is_none(), until.unwrap_or(u64::MAX)))
}

fn ended(result: core::result::Result<alloc::vec::Vec<IpAddr>, Failure>) -> Addresses {
    match result {
        Ok(found) => Addresses::Found(found.into()),
        Err(Failure::NoName) => Addresses::Failed(ErrorCode::NameUnresolvable),
        Err(Failure::Temporary) => Addresses::Failed(ErrorCode::TemporaryResolverFailure),
        Err(Failure::Permanent) => Addresses::Failed(ErrorCode::PermanentResolverFailure),
    }
}

fn resolve(mut cx: Cx<'_>, (network, name): (Resource<Network>, String)) -> Result<(Answer<This>,)> {
    let host = cx.data_mut();
    host.table.get(&network)?;
    // Of the errors that the WIT names for lookups this is what a denial comes to, as in wasmtime.
    let name = granted(host, grant::NAME_LOOKUP)
        .map_err(|_| ErrorCode::PermanentResolverFailure)
        .and_then(|()| Name::parse_unicode(&name, |name| to_ascii(&mut host.ring, name)));
    Ok((match name {
        Ok(name) => {
            let resolution = Box::new(Resolution::new(host, &name));
            let this = host.table.push(Addresses::Pending(Some(resolution)))?;
            is_ready(host, &this)?;
            Ok(this)
        }
        Err(error) => Err(error),
    },))
}

fn to_ascii(ring: &mut Ring, name: &[u8]) -> core::result::Result<String, ErrorCode> {
    resolver::to_ascii(ring, name).map_err(|errno| match errno {
        errno::EILSEQ => ErrorCode::InvalidArgument,
        // As of an ASCII name that no server could be asked for.
        errno::ENAMETOOLONG => ErrorCode::NameUnresolvable,
        _ => ErrorCode::PermanentResolverFailure,
    })
}

fn next(mut cx: Cx<'_>, (this,): (This,)) -> Result<(Answer<Option<Address>>,)> {
    let host = cx.data_mut();
    is_ready(host, &this)?;
    Ok((match host.table.get_mut(&this)? {
        Addresses::Pending(_) => Err(ErrorCode::WouldBlock),
        Addresses::Found(found) => Ok(found.pop_front().map(|ip| Address::from(ip.to_canonical()))),
        Addresses::Failed(error) => Err(*error),
    },))
}
