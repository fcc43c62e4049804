//! What test files of components import from their host.
//!
//! They are those of Wasmtime, and its runner says what they find there (crates/wast, `link_component_spectest` and
//! `register_wasmtime`). What is asynchronous there is missing.

use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime::{AsContextMut as _, Module, Result, bail, ensure};

/// The type of `resource1`. Its representation is a number that its constructor gets.
struct Counted;

/// The type of `resource2`, of which there is none.
struct Other;

#[derive(Default)]
struct Drops {
    count: AtomicU32,
    last: AtomicU32,
}

/// Defines it; `simple` is the module [`crate::HOST_MODULE`].
pub(super) fn define(linker: &mut Linker<()>, simple: &Module) -> Result<()> {
    linker
        .root()
        .func_wrap("host-return-two", |_, (): ()| Ok((2_u32,)))?;
    let mut host = linker.instance("host")?;
    host.func_wrap("return-three", |_, (): ()| Ok((3_u32,)))?;
    host.func_wrap("return-hi", |_, (): ()| Ok((String::from("hi"),)))?;
    host.instance("nested")?
        .func_wrap("return-four", |_, (): ()| Ok((4_u32,)))?;
    host.module("simple-module", simple)?;
    resources(&mut host)?;

    linker.instance("wasmtime")?.func_wrap("gc", |mut store, (): ()| {
        store.as_context_mut().gc(None)?;
        Ok(())
    })
}

fn resources(host: &mut LinkerInstance<'_, ()>) -> Result<()> {
    let drops = Arc::new(Drops::default());
    let counted = drops.clone();
    host.resource("resource1", ResourceType::host::<Counted>(), move |_, rep| {
        counted.count.fetch_add(1, Ordering::Relaxed);
        counted.last.store(rep, Ordering::Relaxed);
        Ok(())
    })?;
    host.resource("resource2", ResourceType::host::<Other>(), |_, _| Ok(()))?;
    host.resource("resource1-again", ResourceType::host::<Counted>(), |_, rep| {
        bail!("resource {rep} was destroyed by its other name")
    })?;

    host.func_wrap("[constructor]resource1", |_, (rep,): (u32,)| {
        Ok((Resource::<Counted>::new_own(rep),))
    })?;
    let last = drops.clone();
    host.func_wrap("[static]resource1.last-drop", move |_, (): ()| {
        Ok((last.last.load(Ordering::Relaxed),))
    })?;
    host.func_wrap("[static]resource1.drops", move |_, (): ()| {
        Ok((drops.count.load(Ordering::Relaxed),))
    })?;
    host.func_wrap(
        "[static]resource1.assert",
        |_, (resource, rep): (Resource<Counted>, u32)| is(&resource, rep),
    )?;
    host.func_wrap(
        "[method]resource1.simple",
        |_, (resource, rep): (Resource<Counted>, u32)| {
            owned(&resource, false)?;
            is(&resource, rep)
        },
    )?;
    host.func_wrap(
        "[method]resource1.take-borrow",
        |_, (this, other): (Resource<Counted>, Resource<Counted>)| {
            owned(&this, false)?;
            owned(&other, false)
        },
    )?;
    host.func_wrap(
        "[method]resource1.take-own",
        |_, (this, other): (Resource<Counted>, Resource<Counted>)| {
            owned(&this, false)?;
            owned(&other, true)
        },
    )
}

fn is(resource: &Resource<Counted>, rep: u32) -> Result<()> {
    ensure!(resource.rep() == rep, "resource {}, not {rep}", resource.rep());
    Ok(())
}

fn owned(resource: &Resource<Counted>, owned: bool) -> Result<()> {
    ensure!(
        resource.owned() == owned,
        "resource {}: owned is {}, not {owned}",
        resource.rep(),
        resource.owned()
    );
    Ok(())
}
