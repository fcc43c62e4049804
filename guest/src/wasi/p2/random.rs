//! `wasi:random`.

use alloc::vec;
use alloc::vec::Vec;

use wasmtime::component::LinkerInstance;
use wasmtime::{Result, bail};

use super::Cx;
use crate::wasi::Host;

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "get-random-bytes" => at.func_wrap(name, |mut cx: Cx<'_>, (len,): (u64,)| {
            let mut bytes = buffer(&cx, len)?;
            cx.data_mut().entropy.fill(&mut bytes)?;
            Ok((bytes,))
        })?,
        "get-random-u64" => {
            at.func_wrap(name, |mut cx: Cx<'_>, (): ()| {
                Ok((cx.data_mut().entropy.next_u64()?,))
            })?;
        }
        "get-insecure-random-bytes" => at.func_wrap(name, |mut cx: Cx<'_>, (len,): (u64,)| {
            let mut bytes = buffer(&cx, len)?;
            for chunk in bytes.chunks_mut(8) {
                chunk.copy_from_slice(&cx.data_mut().insecure_u64()?.to_le_bytes()[..chunk.len()]);
            }
            Ok((bytes,))
        })?,
        "get-insecure-random-u64" => {
            at.func_wrap(name, |mut cx: Cx<'_>, (): ()| {
                Ok((cx.data_mut().insecure_u64()?,))
            })?;
        }
        "insecure-seed" => at.func_wrap(name, |mut cx: Cx<'_>, (): ()| {
            Ok((cx.data_mut().insecure_seed()?,))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn buffer(cx: &Cx<'_>, len: u64) -> Result<Vec<u8>> {
    let most = cx.data().limits.random_bytes;
    if len > most {
        // The wasmtime command's words.
        bail!("requested len {len} exceeds limit {most}");
    }
    Ok(vec![0; crate::runtime::size(len)])
}
