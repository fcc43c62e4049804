//! `wasi:io/streams.output-stream.splice`.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::error::{Streamed, streamed};
use super::{InputStream, OutputStream, input, output};
use crate::wasi::Host;
use crate::wasi::p2::Cx;

type Args = (Resource<OutputStream>, Resource<InputStream>, u64);

pub(super) fn splice(mut cx: Cx<'_>, args: Args) -> Result<(Streamed<u64>,)> {
    splice_for(cx.data_mut(), &args, false)
}

pub(super) fn blocking_splice(mut cx: Cx<'_>, args: Args) -> Result<(Streamed<u64>,)> {
    splice_for(cx.data_mut(), &args, true)
}

/// Moves what the output takes and the input has, at most `len` bytes.
fn splice_for(
    host: &mut Host,
    (output, input, len): &(Resource<OutputStream>, Resource<InputStream>, u64),
    wait: bool,
) -> Result<(Streamed<u64>,)> {
    let moved = loop {
        match output::permit(host, output)? {
            Ok(0) if wait && *len > 0 => host.wait(u64::MAX),
            Ok(most) => match input::take(host, input, (*len).min(most), wait)? {
                Ok(data) => {
                    let moved = data.len() as u64;
                    break output::put(host, output, data)?.map(|()| moved);
                }
                Err(failure) => break Err(failure),
            },
            Err(failure) => break Err(failure),
        }
    };
    Ok((streamed(host, moved)?,))
}
