//! `peer run`.

use std::path::Path;
use std::process::ExitCode;

use wasmtime::component::{self, Component};
use wasmtime::{Engine, Linker, Module, Result, Store, Trap};
use wasmtime_wasi::{I32Exit, p1, p2};

use crate::code::{self, Program};
use crate::host::{self, Host};
use crate::options::Options;

/// SIGABRT, as a shell shows it: what the wasmtime command ends with after a trap.
const TRAPPED: u8 = 128 + 6;

/// Runs a command to its end.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let engine = code::engine()?;
    let program = code::load(&engine, &options.code)?;
    let mut builder = host::wasi(options)?;
    // The program's own name is the last part of the path.
    let name = Path::new(&options.file).file_name().unwrap_or_default();
    builder.arg(name.to_string_lossy()).args(&options.args);
    builder.inherit_stdin().allow_blocking_current_thread(true);
    match program {
        Program::Module(module) => run_module(&engine, &module, builder.build_p1()).await,
        Program::Component(component) => run_component(&engine, &component, Host::new(builder.build())).await,
    }
}

async fn run_module(engine: &Engine, module: &Module, wasi: p1::WasiP1Ctx) -> Result<()> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |wasi: &mut p1::WasiP1Ctx| wasi)?;
    let mut store = Store::new(engine, wasi);
    let instance = linker.instantiate_async(&mut store, module).await?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    start.call_async(&mut store, ()).await
}

async fn run_component(engine: &Engine, component: &Component, host: Host) -> Result<()> {
    let mut linker = component::Linker::new(engine);
    p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let mut store = Store::new(engine, host);
    let command = p2::bindings::Command::instantiate_async(&mut store, component, &linker).await?;
    match command.wasi_cli_run().call_run(&mut store).await? {
        Ok(()) => Ok(()),
        Err(()) => Err(I32Exit(1).into()),
    }
}

/// Says why the program ended, if it did not exit, and with which code this process ends.
pub(crate) fn ended_by(error: &wasmtime::Error) -> ExitCode {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        // As the operating system cuts it. (man 3 exit)
        return ExitCode::from(code.to_le_bytes()[0]);
    }
    eprintln!("Error: {error:?}");
    ExitCode::from(if error.is::<Trap>() { TRAPPED } else { 1 })
}
