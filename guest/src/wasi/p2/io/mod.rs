//! `wasi:io`: errors, pollables and streams.
//!
//! A stream or pollable of another interface is a variant of the enum here, and each function here has one arm for it
//! that calls into that interface's file.

mod error;
mod input;
mod output;
mod poll;
mod transfer;

use wasmtime::Result;
use wasmtime::component::LinkerInstance;

use crate::wasi::Host;
pub(super) use error::{Failure as StreamFailure, IoError};
pub(super) use input::{Found, InputStream, dropped as input_dropped};
pub(super) use output::{OutputStream, dropped as output_dropped};
pub(super) use poll::{Pollable, new_child_pollable, new_pollable};

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[method]error.to-debug-string" => at.func_wrap(name, error::to_debug_string)?,
        "[method]pollable.ready" => at.func_wrap(name, poll::ready)?,
        "[method]pollable.block" => at.func_wrap(name, poll::block)?,
        "poll" => at.func_wrap(name, poll::poll)?,
        "[method]input-stream.read" => at.func_wrap(name, input::read)?,
        "[method]input-stream.blocking-read" => at.func_wrap(name, input::blocking_read)?,
        "[method]input-stream.skip" => at.func_wrap(name, input::skip)?,
        "[method]input-stream.blocking-skip" => at.func_wrap(name, input::blocking_skip)?,
        "[method]input-stream.subscribe" => at.func_wrap(name, input::subscribe)?,
        "[method]output-stream.check-write" => at.func_wrap(name, output::check_write)?,
        "[method]output-stream.write" => at.func_wrap(name, output::write)?,
        "[method]output-stream.blocking-write-and-flush" => at.func_wrap(name, output::blocking_write)?,
        "[method]output-stream.flush" => at.func_wrap(name, output::flush)?,
        "[method]output-stream.blocking-flush" => at.func_wrap(name, output::blocking_flush)?,
        "[method]output-stream.subscribe" => at.func_wrap(name, output::subscribe)?,
        "[method]output-stream.write-zeroes" => at.func_wrap(name, output::write_zeroes)?,
        "[method]output-stream.blocking-write-zeroes-and-flush" => {
            at.func_wrap(name, output::blocking_write_zeroes)?;
        }
        "[method]output-stream.splice" => at.func_wrap(name, transfer::splice)?,
        "[method]output-stream.blocking-splice" => at.func_wrap(name, transfer::blocking_splice)?,
        _ => return Ok(false),
    }
    Ok(true)
}
