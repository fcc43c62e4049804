//! HTTP, which is not there yet.
//!
//! The functions are defined, so that a program that imports them links, and end it if they are ever reached.

use alloc::format;

use wasmtime::component::{LinkerInstance, ResourceType};
use wasmtime::{Result, bail, format_err};

use super::Cx;
use crate::wasi::Host;

/// A resource that nobody can have.
enum Never {}

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, interface: &str, name: &str) -> Result<bool> {
    if !interface.starts_with("wasi:http/") {
        return Ok(false);
    }
    let what = format!("{interface} {name}");
    at.func_new(name, move |_: Cx<'_>, _, _, _| {
        Err(format_err!(
            "{what} was called, which this version of Mote does not offer yet"
        ))
    })?;
    Ok(true)
}

pub(super) fn resource(at: &mut LinkerInstance<'_, Host>, interface: &str, name: &str) -> Result<()> {
    if !interface.starts_with("wasi:http/") {
        bail!("the component imports the resource {name} of {interface}, which Mote does not offer");
    }
    at.resource(name, ResourceType::host::<Never>(), |_: Cx<'_>, _| Ok(()))
}
