//! `wasi:io/streams.output-stream`.

use alloc::vec;
use alloc::vec::Vec;

use wasmtime::component::Resource;
use wasmtime::{Result, bail};

use super::error::{Failure, Streamed, streamed};
use super::{Pollable, new_child_pollable};
use crate::runtime::size;
use crate::wasi::Host;
use crate::wasi::p2::filesystem::FileOutput;
use crate::wasi::p2::http::OutgoingStream;
use crate::wasi::p2::{Cx, sockets};
use crate::wasi::streams::Output;

/// `wasi:io/streams.output-stream`.
pub(in crate::wasi::p2) enum OutputStream {
    /// Standard output or error: descriptor 1 or 2, which all of these share.
    Stdio(u32),
    /// A handle that is written.
    #[allow(dead_code, reason = "for sockets")]
    Handle(Output),
    /// A file.
    File(FileOutput),
    /// The connection of the TCP socket with this number in the table.
    Tcp(u32),
    /// A body that the program writes.
    Http(OutgoingStream),
}

/// Most bytes that `blocking-write-and-flush` and `blocking-write-zeroes-and-flush` take. (wasi:io/streams)
const BLOCKING_WRITE_MAX: u64 = 4096;

/// Bytes that the stream takes at this moment. Starts what it takes to make it more than 0.
pub(super) fn permit(
    host: &mut Host,
    stream: &Resource<OutputStream>,
) -> Result<core::result::Result<u64, Failure>> {
    let output = match host.table.get_mut(stream)? {
        OutputStream::Stdio(descriptor) => host.stdio.output(*descriptor),
        OutputStream::Handle(output) => output,
        OutputStream::File(file) => return Ok(file.permit()),
        OutputStream::Tcp(socket) => {
            let socket = *socket;
            return sockets::permit(host, socket);
        }
        OutputStream::Http(stream) => {
            let stream = *stream;
            return Ok(stream.permit(host));
        }
    };
    Ok(output
        .permit(&mut host.ring)
        .map(|len| len as u64)
        .map_err(Failure::from))
}

/// Whether [`permit`] would not answer 0.
pub(super) fn is_ready(host: &mut Host, stream: &Resource<OutputStream>) -> Result<bool> {
    Ok(match host.table.get_mut(stream)? {
        OutputStream::Stdio(descriptor) => host.stdio.output(*descriptor).writable(&mut host.ring),
        OutputStream::Handle(output) => output.writable(&mut host.ring),
        OutputStream::File(_) => true,
        OutputStream::Tcp(socket) => {
            let socket = *socket;
            sockets::writable(host, socket)?
        }
        OutputStream::Http(stream) => {
            let stream = *stream;
            !matches!(stream.permit(host), Ok(0))
        }
    })
}

/// Starts to write; at most what is permitted.
fn start(
    host: &mut Host,
    stream: &Resource<OutputStream>,
    data: Vec<u8>,
) -> Result<core::result::Result<(), Failure>> {
    Ok(match host.table.get_mut(stream)? {
        OutputStream::Stdio(descriptor) => {
            let data = host.stdio.marked(*descriptor, data);
            host.stdio.output(*descriptor).write(&mut host.ring, data)
        }
        OutputStream::Handle(output) => output.write(&mut host.ring, data),
        OutputStream::File(file) => return Ok(file.write(&mut host.files, &mut host.ring, &data)),
        OutputStream::Tcp(socket) => {
            let socket = *socket;
            return sockets::write(host, socket, data);
        }
        OutputStream::Http(stream) => {
            let stream = *stream;
            return Ok(stream.write(host, &data));
        }
    }
    .map_err(Failure::from))
}

/// The program has dropped the stream.
pub(in crate::wasi::p2) fn dropped(host: &mut Host, stream: OutputStream) -> Result<()> {
    match stream {
        OutputStream::Stdio(_) | OutputStream::Http(_) => {}
        OutputStream::Handle(mut output) => output.abandon(&mut host.ring),
        OutputStream::File(file) => return file.dropped(host),
        OutputStream::Tcp(socket) => sockets::output_dropped(host, socket),
    }
    Ok(())
}

/// Writes all of `data`, waiting for room.
pub(super) fn put(
    host: &mut Host,
    stream: &Resource<OutputStream>,
    mut data: Vec<u8>,
) -> Result<core::result::Result<(), Failure>> {
    loop {
        let permitted = match permit(host, stream)? {
            Ok(len) => size(len),
            Err(failure) => return Ok(Err(failure)),
        };
        if permitted >= data.len() {
            return start(host, stream, data);
        }
        if permitted > 0 {
            let rest = data.split_off(permitted);
            if let Err(failure) = start(host, stream, data)? {
                return Ok(Err(failure));
            }
            data = rest;
        } else {
            host.wait(u64::MAX);
        }
    }
}

/// Has what is kept back to be sent together go out.
fn send(host: &mut Host, stream: &Resource<OutputStream>) -> Result<()> {
    if let OutputStream::Http(stream) = host.table.get(stream)? {
        let stream = *stream;
        stream.flush(host);
    }
    Ok(())
}

type Unit = (Streamed<()>,);

/// `write` and `write-zeroes`: at most what `check-write` permitted.
fn write_permitted(host: &mut Host, stream: &Resource<OutputStream>, data: Vec<u8>) -> Result<Unit> {
    let result = match permit(host, stream)? {
        Ok(most) if data.len() as u64 > most => {
            bail!(
                "a write of {} bytes to an output stream that permits {most}",
                data.len()
            )
        }
        Ok(_) => start(host, stream, data)?,
        Err(failure) => Err(failure),
    };
    Ok((streamed(host, result)?,))
}

pub(super) fn check_write(mut cx: Cx<'_>, (stream,): (Resource<OutputStream>,)) -> Result<(Streamed<u64>,)> {
    let host = cx.data_mut();
    let result = permit(host, &stream)?;
    Ok((streamed(host, result)?,))
}

pub(super) fn write(mut cx: Cx<'_>, (stream, data): (Resource<OutputStream>, Vec<u8>)) -> Result<Unit> {
    write_permitted(cx.data_mut(), &stream, data)
}

pub(super) fn write_zeroes(mut cx: Cx<'_>, (stream, len): (Resource<OutputStream>, u64)) -> Result<Unit> {
    let host = cx.data_mut();
    // Before memory is taken for it.
    if let Ok(most) = permit(host, &stream)?
        && len > most
    {
        bail!("a write of {len} zeroes to an output stream that permits {most}");
    }
    write_permitted(host, &stream, vec![0; size(len)])
}

/// What was written is on its way, in order, and goes out before the program's end is told: nothing is waited for.
fn write_all(host: &mut Host, stream: &Resource<OutputStream>, data: Vec<u8>) -> Result<Unit> {
    let result = put(host, stream, data)?;
    send(host, stream)?;
    Ok((streamed(host, result)?,))
}

pub(super) fn blocking_write(
    mut cx: Cx<'_>,
    (stream, data): (Resource<OutputStream>, Vec<u8>),
) -> Result<Unit> {
    if data.len() as u64 > BLOCKING_WRITE_MAX {
        bail!(
            "a blocking write of {} bytes, {BLOCKING_WRITE_MAX} are the most",
            data.len()
        );
    }
    write_all(cx.data_mut(), &stream, data)
}

pub(super) fn blocking_write_zeroes(
    mut cx: Cx<'_>,
    (stream, len): (Resource<OutputStream>, u64),
) -> Result<Unit> {
    if len > BLOCKING_WRITE_MAX {
        bail!("a blocking write of {len} zeroes, {BLOCKING_WRITE_MAX} are the most");
    }
    write_all(cx.data_mut(), &stream, vec![0; size(len)])
}

pub(super) fn flush(mut cx: Cx<'_>, (stream,): (Resource<OutputStream>,)) -> Result<Unit> {
    let host = cx.data_mut();
    let result = match host.table.get_mut(&stream)? {
        OutputStream::File(file) => file.flush(&mut host.files, &mut host.ring),
        _ => permit(host, &stream)?.map(drop),
    };
    send(host, &stream)?;
    Ok((streamed(host, result)?,))
}

pub(super) fn blocking_flush(cx: Cx<'_>, args: (Resource<OutputStream>,)) -> Result<Unit> {
    flush(cx, args)
}

pub(super) fn subscribe(cx: Cx<'_>, (stream,): (Resource<OutputStream>,)) -> Result<(Resource<Pollable>,)> {
    new_child_pollable(cx, Pollable::Output(stream.rep()), &stream)
}
