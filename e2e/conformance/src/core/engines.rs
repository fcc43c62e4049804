//! Mote's compiler.

use anyhow::{Result, anyhow};
use mote_abi::cpu::Features;
use wasmtime::Engine;

/// An engine as `mote-compile` sets it up, for guests that have `features`.
///
/// # Errors
/// If Wasmtime refuses the settings.
pub(super) fn mote(features: Features) -> Result<Engine> {
    let mut config = mote_engine::compiler::config(features).map_err(|e| anyhow!("{e:#}"))?;
    // Files are compiled in parallel.
    config.parallel_compilation(false);
    Engine::new(&config).map_err(|e| anyhow!("{e:#}"))
}

/// Whether the compiler accepts a module. What it says otherwise.
pub(super) fn accepts(engine: &Engine, wasm: &[u8]) -> Result<(), String> {
    match engine.precompile_module(wasm) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:#}")),
    }
}
