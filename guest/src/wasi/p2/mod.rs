//! WASI 0.2 for components.
//!
//! A component names each interface that it needs with a version; each is linked under just that name, function by
//! function, so that any 0.2 release fits and a start pays only for what the program imports.

mod bytes;
mod cli;
mod clocks;
mod filesystem;
mod handler;
mod http;
mod io;
mod random;
mod sockets;

use alloc::string::String;

use mote_abi::ring::phase;
use mote_abi::wasi::{RUN, offers_version, split_version};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType};
use wasmtime::{Result, Store, StoreContextMut, bail};

use super::{Exit, Host};
use crate::vm;
use bytes::Bytes;
pub(crate) use handler::{Handler, NO_ANSWER};

/// What a host function gets.
type Cx<'a> = StoreContextMut<'a, Host>;

/// Runs the component's `wasi:cli/run`.
pub(crate) fn run(store: &mut Store<Host>, component: &Component) -> Result<()> {
    let instance = linker(component)?.instantiate(&mut *store, component)?;
    let Some(exported) = exported(component, RUN) else {
        bail!("the component does not export {RUN}@0.2.x")
    };
    let Some(run) = instance
        .get_export_index(&mut *store, None, &exported)
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

/// The name, with its version, of an interface that the component exports.
fn exported(component: &Component, interface: &str) -> Option<String> {
    let ty = component.component_type();
    let mut names = ty.exports(component.engine()).map(|(name, _)| name);
    let name = names.find(|name| {
        let (name, version) = split_version(name);
        name == interface && offers_version(version)
    });
    name.map(String::from)
}

/// All that the component imports.
fn linker(component: &Component) -> Result<Linker<Host>> {
    let engine = component.engine();
    let mut linker = Linker::new(engine);
    let ty = component.component_type();
    for (name, import) in ty.imports(engine) {
        let (interface, version) = split_version(name);
        match import.ty {
            ComponentItem::ComponentInstance(instance) if offers_version(version) => {
                let mut at = linker.instance(name)?;
                for (item, export) in instance.exports(engine) {
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
    Ok(linker)
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
        "wasi:http/types" => http::types(at, name)?,
        "wasi:http/outgoing-handler" => http::outgoing_handler(at, name)?,
        _ if interface.starts_with("wasi:cli/") => cli::function(at, name)?,
        _ if interface.starts_with("wasi:sockets/") => sockets::function(at, interface, name)?,
        _ => false,
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
        _ if http::resource(at, name)? => Ok(()),
        _ => bail!("the component imports the resource {name} of {interface}, which Mote does not offer"),
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
