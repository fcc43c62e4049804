//! WASI 0.2 for components.
//!
//! A component names each interface that it needs with a version; each is linked under just that name, function by
//! function, so that any 0.2 release fits and a start pays only for what the program imports.

mod absent;
mod cli;
mod clocks;
mod filesystem;
mod io;
mod random;
mod sockets;

use mote_abi::ring::phase;
use mote_abi::wasi::{RUN, offers_version, split_version};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType};
use wasmtime::{Result, Store, StoreContextMut, bail};

use super::{Exit, Host};
use crate::vm;

/// What a host function gets.
type Cx<'a> = StoreContextMut<'a, Host>;

/// Runs the component's `wasi:cli/run`.
pub(crate) fn run(store: &mut Store<Host>, component: &Component) -> Result<()> {
    let engine = store.engine().clone();
    let mut linker = Linker::new(&engine);
    let ty = component.component_type();
    for (name, import) in ty.imports(&engine) {
        let (interface, version) = split_version(name);
        match import.ty {
            ComponentItem::ComponentInstance(instance) if offers_version(version) => {
                let mut at = linker.instance(name)?;
                for (item, export) in instance.exports(&engine) {
                    match export.ty {
                        ComponentItem::ComponentFunc(_) => function(&mut at, interface, item)?,
                        ComponentItem::Resource(_) => resource(&mut at, interface, item)?,
                        _ => {}
                    }
                }
            }
            // A type that the component's own world names.
            ComponentItem::Type(_) => {}
            _ => bail!("the component imports {name}, which Mote does not offer"),
        }
    }
    let instance = linker.instantiate(&mut *store, component)?;
    let exported = ty.exports(&engine).map(|(name, _)| name).find(|name| {
        let (interface, version) = split_version(name);
        interface == RUN && offers_version(version)
    });
    let Some(exported) = exported else {
        bail!("the component does not export {RUN}@0.2.x")
    };
    let Some(run) = instance
        .get_export_index(&mut *store, None, exported)
        .and_then(|interface| instance.get_export_index(&mut *store, Some(&interface), "run"))
    else {
        bail!("the component's {exported} has no function `run`");
    };
    let run = instance.get_typed_func::<(), (core::result::Result<(), ()>,)>(&mut *store, &run)?;
    vm::stamp(phase::MAIN);
    match run.call(&mut *store, ())? {
        (Ok(()),) => Ok(()),
        (Err(()),) => Err(Exit(1).into()),
    }
}

/// Defines one function of an interface.
fn function(at: &mut LinkerInstance<'_, Host>, interface: &str, name: &str) -> Result<()> {
    let done = match interface {
        "wasi:io/error" | "wasi:io/poll" | "wasi:io/streams" => io::function(at, name)?,
        "wasi:clocks/monotonic-clock" => clocks::monotonic(at, name)?,
        "wasi:clocks/wall-clock" => clocks::wall(at, name)?,
        "wasi:random/random" | "wasi:random/insecure" | "wasi:random/insecure-seed" => {
            random::function(at, name)?
        }
        "wasi:filesystem/types" => filesystem::types(at, name)?,
        "wasi:filesystem/preopens" => filesystem::preopens(at, name)?,
        _ if interface.starts_with("wasi:cli/") => cli::function(at, name)?,
        _ if interface.starts_with("wasi:sockets/") => sockets::function(at, interface, name)?,
        _ => absent::function(at, interface, name)?,
    };
    if done {
        Ok(())
    } else {
        bail!("the component imports {interface} {name}, which Mote does not offer")
    }
}

/// Defines one resource of an interface. An interface also lists the resources that it uses of others, under the same
/// names, which are unique among those offered.
fn resource(at: &mut LinkerInstance<'_, Host>, interface: &str, name: &str) -> Result<()> {
    match name {
        "error" => owned::<io::IoError>(at, name),
        "pollable" => owned::<io::Pollable>(at, name),
        "input-stream" => owned_by(at, name, io::input_dropped),
        "output-stream" => owned_by(at, name, io::output_dropped),
        "descriptor" => owned_by(at, name, filesystem::descriptor_dropped),
        "directory-entry-stream" => owned::<filesystem::DirectoryEntryStream>(at, name),
        "terminal-input" => owned::<cli::TerminalInput>(at, name),
        "terminal-output" => owned::<cli::TerminalOutput>(at, name),
        _ if sockets::resource(at, name)? => Ok(()),
        _ => absent::resource(at, interface, name),
    }
}

/// A resource whose handles live in the host's table and leave it when the program drops them.
fn owned<T: Send + 'static>(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<()> {
    owned_by(at, name, |_, _: T| Ok(()))
}

/// As [`owned`], with something to do about a resource that the program has dropped.
fn owned_by<T: Send + 'static>(
    at: &mut LinkerInstance<'_, Host>,
    name: &str,
    dropped: fn(&mut Host, T) -> Result<()>,
) -> Result<()> {
    at.resource(name, ResourceType::host::<T>(), move |mut cx: Cx<'_>, handle| {
        let host = cx.data_mut();
        let resource = host.table.delete(Resource::<T>::new_own(handle))?;
        dropped(host, resource)
    })
}
