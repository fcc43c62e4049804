//! `wasi:io`: errors, pollables and streams.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};
use wasmtime::{Result, bail};

use super::Cx;
use crate::runtime::size;
use crate::vm::clock;
use crate::wasi::Host;

/// `wasi:io/error.error`.
pub(super) struct IoError {
    /// Linux errno.
    errno: i64,
}

/// `wasi:io/poll.pollable`: what has to happen before it is ready.
pub(super) enum Pollable {
    /// Nothing.
    Ready,
    /// CLOCK_MONOTONIC reaches this.
    Deadline(u64),
    /// Standard input has something.
    Input,
}

/// `wasi:io/streams.input-stream`.
pub(super) enum InputStream {
    Stdin,
}

/// `wasi:io/streams.output-stream`: descriptor 1 or 2.
pub(super) struct OutputStream(pub(super) u32);

/// `wasi:io/streams.stream-error`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

type Streamed<T> = core::result::Result<T, StreamError>;

/// Bytes that a stream takes in one write.
const BUDGET: u64 = 64 << 10;
/// Most bytes that `blocking-write-and-flush` takes. (wasi:io/streams)
const BLOCKING_WRITE_MAX: u64 = 4096;
/// Largest read; a program that asks for more gets less, as it must expect.
const READ_MAX: u64 = 64 << 10;

/// Linux's EPIPE: the reader has gone, which WASI calls the end of the stream.
const EPIPE: i64 = 32;

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[method]error.to-debug-string" => at.func_wrap(name, to_debug_string)?,
        "[method]pollable.ready" => at.func_wrap(name, ready)?,
        "[method]pollable.block" => at.func_wrap(name, block)?,
        "poll" => at.func_wrap(name, poll)?,
        "[method]input-stream.read" => at.func_wrap(name, |cx: Cx<'_>, (s, n)| read(cx, s, n, false))?,
        "[method]input-stream.blocking-read" => {
            at.func_wrap(name, |cx: Cx<'_>, (s, n)| read(cx, s, n, true))?
        }
        "[method]input-stream.skip" => at.func_wrap(name, |cx: Cx<'_>, (s, n)| skip(cx, s, n, false))?,
        "[method]input-stream.blocking-skip" => {
            at.func_wrap(name, |cx: Cx<'_>, (s, n)| skip(cx, s, n, true))?
        }
        "[method]input-stream.subscribe" => at.func_wrap(name, subscribe_input)?,
        "[method]output-stream.check-write" => at.func_wrap(name, check_write)?,
        "[method]output-stream.write" => at.func_wrap(name, |cx: Cx<'_>, (s, d)| write(cx, s, d, BUDGET))?,
        "[method]output-stream.blocking-write-and-flush" => {
            at.func_wrap(name, |cx: Cx<'_>, (s, d)| write(cx, s, d, BLOCKING_WRITE_MAX))?;
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            at.func_wrap(name, flush)?
        }
        "[method]output-stream.subscribe" => at.func_wrap(name, subscribe_output)?,
        "[method]output-stream.write-zeroes" => {
            at.func_wrap(name, |cx: Cx<'_>, (s, n)| write_zeroes(cx, s, n, BUDGET))?;
        }
        "[method]output-stream.blocking-write-zeroes-and-flush" => {
            at.func_wrap(name, |cx: Cx<'_>, (s, n)| {
                write_zeroes(cx, s, n, BLOCKING_WRITE_MAX)
            })?;
        }
        "[method]output-stream.splice" => {
            at.func_wrap(name, |cx: Cx<'_>, (o, i, n)| splice(cx, o, i, n, false))?
        }
        "[method]output-stream.blocking-splice" => {
            at.func_wrap(name, |cx: Cx<'_>, (o, i, n)| splice(cx, o, i, n, true))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn to_debug_string(cx: Cx<'_>, (error,): (Resource<IoError>,)) -> Result<(String,)> {
    let error = cx.data().table.get(&error)?;
    Ok((format!("I/O error {} of the host", error.errno),))
}

/// A pollable that the program owns.
pub(super) fn new_pollable(mut cx: Cx<'_>, pollable: Pollable) -> Result<(Resource<Pollable>,)> {
    Ok((cx.data_mut().table.push(pollable)?,))
}

/// Whether the pollable is ready, and when it will be at the latest.
fn is_ready(host: &mut Host, pollable: &Resource<Pollable>, now: u64) -> Result<(bool, u64)> {
    Ok(match host.table.get(pollable)? {
        Pollable::Ready => (true, u64::MAX),
        Pollable::Deadline(at) => (now >= *at, *at),
        Pollable::Input => (host.stdio.readable(), u64::MAX),
    })
}

fn ready(mut cx: Cx<'_>, (pollable,): (Resource<Pollable>,)) -> Result<(bool,)> {
    Ok((is_ready(cx.data_mut(), &pollable, clock::monotonic_ns())?.0,))
}

fn block(mut cx: Cx<'_>, (pollable,): (Resource<Pollable>,)) -> Result<()> {
    wait(cx.data_mut(), &[pollable]).map(drop)
}

fn poll(mut cx: Cx<'_>, (list,): (Vec<Resource<Pollable>>,)) -> Result<(Vec<u32>,)> {
    if list.is_empty() {
        bail!("wasi:io/poll.poll was called with an empty list");
    }
    Ok((wait(cx.data_mut(), &list)?,))
}

/// Sleeps until at least one is ready; the indices of those that are.
fn wait(host: &mut Host, list: &[Resource<Pollable>]) -> Result<Vec<u32>> {
    loop {
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
            return Ok(found);
        }
        host.stdio.ring.wait(deadline);
    }
}

fn failed(host: &mut Host, errno: i64) -> Result<StreamError> {
    Ok(match errno {
        EPIPE => StreamError::Closed,
        errno => StreamError::LastOperationFailed(host.table.push(IoError { errno })?),
    })
}

/// What is there to read, at most `len` bytes; `Err` at the end.
fn take(host: &mut Host, stream: &Resource<InputStream>, len: u64, wait: bool) -> Result<Streamed<Vec<u8>>> {
    let InputStream::Stdin = host.table.get(stream)?;
    let len = size(len.min(READ_MAX));
    if len == 0 {
        return Ok(Ok(Vec::new()));
    }
    let data = if wait {
        host.stdio.read_blocking(len).map(Some)
    } else {
        host.stdio.read(len)
    };
    match data {
        Ok(None) => Ok(Ok(Vec::new())),
        Ok(Some([])) => Ok(Err(StreamError::Closed)),
        Ok(Some(data)) => Ok(Ok(data.to_vec())),
        Err(errno) => Ok(Err(failed(host, errno)?)),
    }
}

fn read(mut cx: Cx<'_>, stream: Resource<InputStream>, len: u64, wait: bool) -> Result<(Streamed<Vec<u8>>,)> {
    Ok((take(cx.data_mut(), &stream, len, wait)?,))
}

fn skip(mut cx: Cx<'_>, stream: Resource<InputStream>, len: u64, wait: bool) -> Result<(Streamed<u64>,)> {
    Ok((take(cx.data_mut(), &stream, len, wait)?.map(|data| data.len() as u64),))
}

fn subscribe_input(cx: Cx<'_>, (stream,): (Resource<InputStream>,)) -> Result<(Resource<Pollable>,)> {
    let InputStream::Stdin = cx.data().table.get(&stream)?;
    new_pollable(cx, Pollable::Input)
}

fn subscribe_output(cx: Cx<'_>, (stream,): (Resource<OutputStream>,)) -> Result<(Resource<Pollable>,)> {
    cx.data().table.get(&stream)?;
    // Output is taken at once or waited for in the write itself.
    new_pollable(cx, Pollable::Ready)
}

fn check_write(mut cx: Cx<'_>, (stream,): (Resource<OutputStream>,)) -> Result<(Streamed<u64>,)> {
    let host = cx.data_mut();
    let descriptor = host.table.get(&stream)?.0;
    match host.stdio.write(descriptor, &[]) {
        Ok(()) => Ok((Ok(BUDGET),)),
        Err(errno) => Ok((Err(failed(host, errno)?),)),
    }
}

fn put(host: &mut Host, stream: &Resource<OutputStream>, data: &[u8]) -> Result<Streamed<()>> {
    let descriptor = host.table.get(stream)?.0;
    match host.stdio.write(descriptor, data) {
        Ok(()) => Ok(Ok(())),
        Err(errno) => Ok(Err(failed(host, errno)?)),
    }
}

fn write(
    mut cx: Cx<'_>,
    stream: Resource<OutputStream>,
    data: Vec<u8>,
    most: u64,
) -> Result<(Streamed<()>,)> {
    if data.len() as u64 > most {
        bail!(
            "a write of {} bytes to an output stream that permits {most}",
            data.len()
        );
    }
    Ok((put(cx.data_mut(), &stream, &data)?,))
}

fn write_zeroes(
    mut cx: Cx<'_>,
    stream: Resource<OutputStream>,
    len: u64,
    most: u64,
) -> Result<(Streamed<()>,)> {
    if len > most {
        bail!("a write of {len} bytes to an output stream that permits {most}");
    }
    Ok((put(cx.data_mut(), &stream, &vec![0; size(len)])?,))
}

/// Nothing to do: what was written is on its way, in order, and goes out before the program's end is told.
fn flush(mut cx: Cx<'_>, (stream,): (Resource<OutputStream>,)) -> Result<(Streamed<()>,)> {
    Ok((put(cx.data_mut(), &stream, &[])?,))
}

fn splice(
    mut cx: Cx<'_>,
    output: Resource<OutputStream>,
    input: Resource<InputStream>,
    len: u64,
    wait: bool,
) -> Result<(Streamed<u64>,)> {
    let host = cx.data_mut();
    let data = match take(host, &input, len.min(BUDGET), wait)? {
        Ok(data) => data,
        Err(error) => return Ok((Err(error),)),
    };
    Ok((put(host, &output, &data)?.map(|()| data.len() as u64),))
}
