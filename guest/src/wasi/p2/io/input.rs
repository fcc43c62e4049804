//! `wasi:io/streams.input-stream`.

use alloc::vec::Vec;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::error::{Failure, Streamed, streamed};
use super::{Pollable, new_child_pollable};
use crate::runtime::size;
use crate::wasi::Host;
use crate::wasi::http::ExchangeId;
use crate::wasi::p2::filesystem::FileInput;
use crate::wasi::p2::{Bytes, Cx, http, sockets};
use crate::wasi::streams::Input;

/// `wasi:io/streams.input-stream`.
pub(in crate::wasi::p2) enum InputStream {
    /// Standard input, which all of these share.
    Stdin,
    /// A handle that is read.
    #[allow(dead_code, reason = "for sockets")]
    Handle(Input),
    /// A file.
    File(FileInput),
    /// The connection of the TCP socket with this number in the table.
    Tcp(u32),
    /// The body of what an exchange receives.
    Http(ExchangeId),
}

/// Largest read; a program that asks for more gets less, as it must expect.
const READ_MAX: usize = 64 << 10;

/// What a read found.
pub(in crate::wasi::p2) type Found = core::result::Result<Option<Vec<u8>>, Failure>;

/// Up to `len` bytes, at least one, that are there: `None` if none are yet.
fn try_take(host: &mut Host, stream: &Resource<InputStream>, len: usize) -> Result<Found> {
    let input = match host.table.get_mut(stream)? {
        InputStream::Stdin => &mut host.stdio.input,
        InputStream::Handle(input) => input,
        InputStream::File(file) => return Ok(file.read(&mut host.files, &mut host.ring, len).map(Some)),
        InputStream::Tcp(socket) => {
            let socket = *socket;
            return sockets::read(host, socket, len.min(READ_MAX));
        }
        InputStream::Http(exchange) => {
            let exchange = *exchange;
            return Ok(http::read(host, exchange, len));
        }
    };
    let len = len.min(READ_MAX);
    Ok(match input.read(&mut host.ring, len) {
        Ok(None) => Ok(None),
        Ok(Some([])) => Err(Failure::Closed),
        Ok(Some(data)) => Ok(Some(data.to_vec())),
        Err(errno) => Err(errno.into()),
    })
}

/// Whether [`try_take`] would not answer `None`. Starts what it takes.
pub(super) fn is_ready(host: &mut Host, stream: &Resource<InputStream>) -> Result<bool> {
    Ok(match host.table.get_mut(stream)? {
        InputStream::Stdin => host.stdio.input.readable(&mut host.ring),
        InputStream::Handle(input) => input.readable(&mut host.ring),
        InputStream::File(_) => true,
        InputStream::Tcp(socket) => {
            let socket = *socket;
            sockets::readable(host, socket)?
        }
        InputStream::Http(exchange) => host.http.readable(&mut host.ring, *exchange),
    })
}

/// The program has dropped the stream.
pub(in crate::wasi::p2) fn dropped(host: &mut Host, stream: InputStream) -> Result<()> {
    match stream {
        InputStream::Stdin | InputStream::Http(_) => {}
        InputStream::Tcp(socket) => sockets::input_dropped(host, socket),
        InputStream::Handle(mut input) => input.stop(&mut host.ring),
        InputStream::File(file) => return file.dropped(host),
    }
    Ok(())
}

/// What is there to read, at most `len` bytes; `wait` says whether to wait for the first.
pub(super) fn take(
    host: &mut Host,
    stream: &Resource<InputStream>,
    len: u64,
    wait: bool,
) -> Result<core::result::Result<Vec<u8>, Failure>> {
    if len == 0 {
        return match host.table.get(stream)? {
            // A connection that has ended says so even then.
            InputStream::Tcp(socket) => {
                let socket = *socket;
                Ok(sockets::read(host, socket, 0)?.map(Option::unwrap_or_default))
            }
            _ => Ok(Ok(Vec::new())),
        };
    }
    let len = size(len);
    loop {
        match try_take(host, stream, len)? {
            Ok(Some(data)) => return Ok(Ok(data)),
            Ok(None) if wait => host.wait(u64::MAX),
            Ok(None) => {
                host.kick();
                return Ok(Ok(Vec::new()));
            }
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

type Args = (Resource<InputStream>, u64);

fn read_for(mut cx: Cx<'_>, (stream, len): Args, wait: bool) -> Result<(Streamed<Bytes>,)> {
    let host = cx.data_mut();
    let found = take(host, &stream, len, wait)?;
    Ok((streamed(host, found)?.map(Bytes),))
}

pub(super) fn read(cx: Cx<'_>, args: Args) -> Result<(Streamed<Bytes>,)> {
    read_for(cx, args, false)
}

pub(super) fn blocking_read(cx: Cx<'_>, args: Args) -> Result<(Streamed<Bytes>,)> {
    read_for(cx, args, true)
}

fn skip_for(mut cx: Cx<'_>, (stream, len): Args, wait: bool) -> Result<(Streamed<u64>,)> {
    let host = cx.data_mut();
    let found = take(host, &stream, len, wait)?.map(|data| data.len() as u64);
    Ok((streamed(host, found)?,))
}

pub(super) fn skip(cx: Cx<'_>, args: Args) -> Result<(Streamed<u64>,)> {
    skip_for(cx, args, false)
}

pub(super) fn blocking_skip(cx: Cx<'_>, args: Args) -> Result<(Streamed<u64>,)> {
    skip_for(cx, args, true)
}

pub(super) fn subscribe(cx: Cx<'_>, (stream,): (Resource<InputStream>,)) -> Result<(Resource<Pollable>,)> {
    new_child_pollable(cx, Pollable::Input(stream.rep()), &stream)
}
