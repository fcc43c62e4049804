//! `wasi:io/poll`.

use alloc::vec::Vec;

use wasmtime::component::Resource;
use wasmtime::{Result, bail};

use super::{InputStream, OutputStream, input, output};
use crate::vm::clock;
use crate::vm::ring::Token;
use crate::wasi::Host;
use crate::wasi::p2::{Cx, http, sockets};

/// `wasi:io/poll.pollable`: what has to happen before it is ready. Parents are named by their number in the table;
/// they outlive their pollables, see [`new_child_pollable`].
pub(in crate::wasi::p2) enum Pollable {
    /// Nothing.
    Ready,
    /// CLOCK_MONOTONIC reaches this.
    Deadline(u64),
    /// The answer of a submission is there, or has been taken.
    #[allow(dead_code, reason = "for interfaces whose pollables are submissions")]
    Answer(Token),
    /// A read of the [`InputStream`] would not wait.
    Input(u32),
    /// The [`OutputStream`] takes at least one byte.
    Output(u32),
    /// Something about a socket or a lookup.
    Socket(sockets::Pollable),
    /// The [`FutureIncomingResponse`](http::FutureIncomingResponse) has an answer.
    Response(u32),
    /// The [`FutureTrailers`](http::FutureTrailers) have an answer.
    Trailers(u32),
}

/// A pollable that the program owns.
pub(in crate::wasi::p2) fn new_pollable(mut cx: Cx<'_>, pollable: Pollable) -> Result<(Resource<Pollable>,)> {
    Ok((cx.data_mut().table.push(pollable)?,))
}

/// A pollable of a resource that cannot be dropped before it.
pub(in crate::wasi::p2) fn new_child_pollable<T: Send + 'static>(
    mut cx: Cx<'_>,
    pollable: Pollable,
    parent: &Resource<T>,
) -> Result<(Resource<Pollable>,)> {
    Ok((cx.data_mut().table.push_child(pollable, parent)?,))
}

/// Whether the pollable is ready, and when it will be at the latest. What it takes to become ready is submitted.
fn is_ready(host: &mut Host, pollable: &Resource<Pollable>, now: u64) -> Result<(bool, u64)> {
    let ready = match *host.table.get(pollable)? {
        Pollable::Ready => true,
        Pollable::Deadline(at) => return Ok((now >= at, at)),
        Pollable::Answer(token) => !host.ring.is_pending(token),
        Pollable::Input(stream) => input::is_ready(host, &Resource::<InputStream>::new_borrow(stream))?,
        Pollable::Output(stream) => output::is_ready(host, &Resource::<OutputStream>::new_borrow(stream))?,
        Pollable::Socket(pollable) => return sockets::is_ready(host, pollable),
        Pollable::Response(future) => http::response_ready(host, &Resource::new_borrow(future))?,
        Pollable::Trailers(future) => http::trailers_ready(host, &Resource::new_borrow(future))?,
    };
    Ok((ready, u64::MAX))
}

pub(super) fn ready(mut cx: Cx<'_>, (pollable,): (Resource<Pollable>,)) -> Result<(bool,)> {
    let host = cx.data_mut();
    let (ready, _) = is_ready(host, &pollable, clock::monotonic_ns())?;
    // A program may ask again and again without ever waiting.
    host.kick();
    Ok((ready,))
}

pub(super) fn block(mut cx: Cx<'_>, (pollable,): (Resource<Pollable>,)) -> Result<()> {
    wait(cx.data_mut(), &[pollable]).map(drop)
}

pub(super) fn poll(mut cx: Cx<'_>, (list,): (Vec<Resource<Pollable>>,)) -> Result<(Vec<u32>,)> {
    if list.is_empty() {
        bail!("wasi:io/poll.poll was called with an empty list");
    }
    Ok((wait(cx.data_mut(), &list)?,))
}

/// Sleeps until at least one is ready; the indices of those that are.
fn wait(host: &mut Host, list: &[Resource<Pollable>]) -> Result<Vec<u32>> {
    loop {
        let seen = host.ring.collected();
        let now = clock::monotonic_ns();
        let mut deadline = u64::MAX;
        let mut found = Vec::new();
        for (index, pollable) in (0..).zip(list) {
            let (ready, at) = is_ready(host, pollable, now)?;
            deadline = deadline.min(at);
            if ready {
                found.push(index);
            }
        }
        if !found.is_empty() {
            host.kick();
            return Ok(found);
        }
        if host.ring.collected() == seen {
            host.wait(deadline);
        }
    }
}
