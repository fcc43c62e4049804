//! Cranelift's settings, and the compilation itself.

use mote_abi::{code::Kind, cpu::Features};
use wasmtime::{Config, Engine, OptLevel};

use crate::error::Error;

/// The version of Wasmtime that this is built with; a test compares it with `Cargo.lock`.
pub(crate) const WASMTIME: &str = "48.0.8";

/// What the guest runs on: no operating system below it.
const TARGET: &str = "x86_64-unknown-none";

fn engine(features: Features) -> Result<Engine, Error> {
    let mut config: Config = mote_engine::config();
    // Naming a target, even the host's own, turns the inference of CPU features off: the features come from the
    // probe VM, not from where the compiler happens to run.
    config.target(TARGET).map_err(|e| internal(&e))?;
    config
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true);
    for feature in features.iter() {
        // SAFETY: the flags make code use instructions that the caller found in a probe VM of this node, and the
        // guest compares them with the features of its own machine before it runs the code.
        unsafe { config.cranelift_flag_enable(feature.cranelift) };
    }
    // SAFETY: the check guards against host and code passing floats differently. Neither side passes any: the
    // required features leave no float operation to a library call. (Config::x86_float_abi_ok)
    unsafe { config.x86_float_abi_ok(true) };
    Engine::new(&config).map_err(|e| internal(&e))
}

/// Compiles a program that has been inspected into Wasmtime's serialized form.
pub(crate) fn compile(wasm: &[u8], kind: Kind, features: Features) -> Result<Vec<u8>, Error> {
    let engine = engine(features)?;
    let result = match kind {
        Kind::Module => engine.precompile_module(wasm),
        Kind::Component | Kind::HttpProxy | Kind::CommandAndProxy => engine.precompile_component(wasm),
    };
    result.map_err(|e| {
        // What the compiler cannot do is the input's affair unless code generation itself broke.
        let text = format!("{e:#}");
        if text.contains("Compilation error") {
            Error::Internal(text)
        } else {
            Error::Invalid(text)
        }
    })
}

fn internal(e: &wasmtime::Error) -> Error {
    Error::Internal(format!("{e:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const ALL: Features = Features(0xfff);

    #[test]
    fn version_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n")));
    }

    #[test]
    fn every_known_feature_is_one_of_cranelift() {
        for (bit, feature) in mote_abi::cpu::FEATURES.iter().enumerate() {
            assert!(
                engine(Features(1 << bit | ALL.0)).is_ok(),
                "{}",
                feature.cranelift
            );
        }
    }

    #[test]
    fn an_invalid_body_is_the_inputs_fault() {
        let wasm = wat::parse_str(r#"(module (func (export "_start") i32.add))"#).unwrap();
        let error = compile(&wasm, Kind::Module, ALL).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}
