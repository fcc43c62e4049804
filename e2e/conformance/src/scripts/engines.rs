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

/// The code for a module or a component.
///
/// # Errors
/// What the compiler says.
pub(super) fn compile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, String> {
    let code = if is_component(wasm) {
        engine.precompile_component(wasm)
    } else {
        engine.precompile_module(wasm)
    };
    code.map_err(|e| format!("{e:#}"))
}

/// Whether a binary says that it is a component. Magic and version are followed by the layer, a little-endian u16: 0 for
/// modules, 1 for components. (Component model, design/mvp/Binary.md, "Component Definitions")
pub(super) fn is_component(wasm: &[u8]) -> bool {
    wasm.get(6..8) == Some(&[1, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_known_by_its_layer() {
        assert!(is_component(b"\0asm\x0d\0\x01\0"));
        assert!(!is_component(b"\0asm\x01\0\0\0"));
        assert!(!is_component(b"\0asm"));
    }
}
