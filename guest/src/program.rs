//! Loads the compiled program and runs it: a command's main, or a server.

use alloc::format;
use alloc::string::String;
use core::ptr::NonNull;
use core::slice;

use mote_abi::boot::BootPage;
use mote_abi::code::Kind;
use mote_abi::layout::CODE;
use mote_abi::ring::{end, phase};
use wasmtime::component::Component;
use wasmtime::{CustomCodeMemory, Engine, Module, Store, Trap, format_err};

use crate::entry::fail;
use crate::runtime::{cpu, size, traps};
use crate::wasi::{Exit, Host, p1, p2};
use crate::{serve, vm};

/// Exit code of a program that trapped. (`mote_config::exit::TRAP`)
const TRAPPED: u64 = 134;

/// Runs the program and ends the VM with its exit code.
pub(crate) fn run(boot: &'static BootPage) -> ! {
    let engine = match engine() {
        Ok(engine) => engine,
        Err(error) => fail(format_args!("cannot set up the Wasm engine: {error:?}")),
    };
    vm::stamp(phase::RUNTIME);
    #[cfg(feature = "conformance")]
    if boot.kind == Kind::Script.to_raw() {
        crate::conformance::run(&engine, boot);
    }
    let host = Host::new(boot);
    match Kind::from_raw(boot.kind) {
        Some(Kind::Module) => command(&engine, host, |store| {
            p1::run(store, &load_module(&engine, boot)?)
        }),
        Some(Kind::Component) => command(&engine, host, |store| {
            p2::run(store, &load_component(&engine, boot)?)
        }),
        Some(Kind::HttpProxy) => match load_component(&engine, boot) {
            Ok(component) => serve::run(&component, host),
            Err(error) => finish(&mut { host }, Err(error)),
        },
        Some(Kind::Script) => fail(format_args!(
            "the code file holds a conformance script, which only an image built for conformance tests runs"
        )),
        Some(Kind::CommandAndProxy) | None => fail(format_args!(
            "the VMM asks for a program of kind {}, which this image does not run",
            boot.kind
        )),
    }
}

/// Runs a program that has one instance and one main.
fn command(engine: &Engine, host: Host, run: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<()>) -> ! {
    let mut store = Store::new(engine, host);
    let result = run(&mut store);
    // The store stays as it is: giving its memory back would cost exits.
    finish(store.data_mut(), result)
}

fn engine() -> wasmtime::Result<Engine> {
    let mut config = mote_engine::config();
    // SAFETY: the compiler was given every feature that keeps float operations inside Wasm code (mote_abi::cpu::
    // REQUIRED), so no float crosses the soft-float ABI of this target; and `detect` answers by what ring 3 of this
    // very VM offers.
    unsafe {
        config.x86_float_abi_ok(true);
        config.detect_host_feature(cpu::detect);
    }
    config.with_custom_code_memory(Some(alloc::sync::Arc::new(MappedCode)));
    Engine::new(&config)
}

/// Code is executable from the start: the VMM mapped it so, and nothing in here could.
struct MappedCode;

impl CustomCodeMemory for MappedCode {
    fn required_alignment(&self) -> usize {
        4096
    }

    fn publish_executable(&self, _ptr: *const u8, _len: usize) -> wasmtime::Result<()> {
        Ok(())
    }

    fn unpublish_executable(&self, _ptr: *const u8, _len: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}

pub(crate) fn payload(boot: &BootPage) -> NonNull<[u8]> {
    // SAFETY: the VMM mapped the payload at CODE, read-only and for as long as the VM lives. The length is that of
    // the verified code file.
    NonNull::from(unsafe { slice::from_raw_parts(CODE as *const u8, size(boot.code_len)) })
}

fn load_module(engine: &Engine, boot: &BootPage) -> wasmtime::Result<Module> {
    // SAFETY: the payload is what this project's compiler wrote, verified by digest on the host, immutable, and
    // outlives the module.
    let module = unsafe { Module::deserialize_raw(engine, payload(boot)) };
    vm::stamp(phase::CODE);
    module
}

fn load_component(engine: &Engine, boot: &BootPage) -> wasmtime::Result<Component> {
    // SAFETY: as for `load_module`.
    let component = unsafe { Component::deserialize_raw(engine, payload(boot)) };
    vm::stamp(phase::CODE);
    component
}

/// Maps how the program ended to an exit code, as the wasmtime command does, and ends the VM.
pub(crate) fn finish(host: &mut Host, result: wasmtime::Result<()>) -> ! {
    let untold = host.flush();
    let (error, code) = match result {
        Ok(()) => (None, 0),
        Err(error) => match error.downcast_ref::<Exit>() {
            Some(exit) => (None, u64::from(exit.0)),
            None => (Some(error), 0),
        },
    };
    let error = error.or_else(|| {
        untold.map(|errno| {
            format_err!("a write to a file failed after it was taken: error {errno} of the host")
        })
    });
    let Some(error) = error else {
        vm::end(code, end::EXITED, &[])
    };
    traps::handled();
    let text: String = format!("Error: {error:?}\n");
    host.stdio.write_error(&mut host.ring, text.as_bytes());
    let code = if error.is::<Trap>() { TRAPPED } else { 1 };
    vm::end(code, end::TRAP, text.as_bytes())
}
