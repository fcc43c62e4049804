//! `wasi:clocks`.

use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower};

use super::Cx;
use super::io::{Pollable, new_pollable};
use crate::vm::clock;
use crate::wasi::Host;

/// `wasi:clocks/wall-clock.datetime`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Datetime {
    pub(super) seconds: u64,
    pub(super) nanoseconds: u32,
}

impl Datetime {
    fn from_ns(ns: u64) -> Datetime {
        Datetime {
            seconds: ns / 1_000_000_000,
            nanoseconds: u32::try_from(ns % 1_000_000_000).unwrap_or_default(),
        }
    }
}

pub(super) fn monotonic(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "now" => at.func_wrap(name, |_: Cx<'_>, (): ()| Ok((clock::monotonic_ns(),)))?,
        "resolution" => at.func_wrap(name, |_: Cx<'_>, (): ()| Ok((1_u64,)))?,
        "subscribe-instant" => {
            at.func_wrap(name, |cx: Cx<'_>, (when,): (u64,)| {
                new_pollable(cx, Pollable::Deadline(when))
            })?;
        }
        "subscribe-duration" => at.func_wrap(name, |cx: Cx<'_>, (ns,): (u64,)| {
            let pollable = if ns == 0 {
                Pollable::Ready
            } else {
                Pollable::Deadline(clock::monotonic_ns().saturating_add(ns))
            };
            new_pollable(cx, pollable)
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

pub(super) fn wall(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "now" => at.func_wrap(name, |_: Cx<'_>, (): ()| {
            Ok((Datetime::from_ns(clock::realtime_ns()),))
        })?,
        "resolution" => at.func_wrap(name, |_: Cx<'_>, (): ()| Ok((Datetime::from_ns(1),)))?,
        _ => return Ok(false),
    }
    Ok(true)
}
