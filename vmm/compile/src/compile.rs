//! The compilation itself.

pub(crate) use mote_engine::compiler::WASMTIME;

use mote_abi::{code::Kind, cpu::Features};
use wasmtime::Engine;

use crate::error::Error;

fn engine(features: Features) -> Result<Engine, Error> {
    let mut config = mote_engine::compiler::config(features).map_err(|e| internal(&e))?;
    config.parallel_compilation(true);
    Engine::new(&config).map_err(|e| internal(&e))
}

/// Compiles a program that has been inspected into Wasmtime's serialized form.
pub(crate) fn compile(wasm: &[u8], kind: Kind, features: Features) -> Result<Vec<u8>, Error> {
    let engine = engine(features)?;
    let result = match kind {
        Kind::Module => engine.precompile_module(wasm),
        Kind::Component | Kind::HttpProxy | Kind::CommandAndProxy => engine.precompile_component(wasm),
        Kind::Script => return Err(Error::Internal("scripts are not compiled here".into())),
    };
    result.map_err(|e| {
        // What the compiler cannot do is the input's affair unless code generation itself broke.
        let text = format!("{e:#}");
        if text.contains("Compilation error") {
            Error::Internal(text)
        } else if text.contains("threads support is not enabled") {
            // The reader's words for an atomic instruction.
            Error::NeedsThreads("atomic instructions")
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
    fn atomic_instructions_are_named() {
        let wasm = wat::parse_str(r#"(module (func (export "_start") atomic.fence))"#).unwrap();
        let error = compile(&wasm, Kind::Module, ALL).unwrap_err();
        assert!(matches!(error, Error::NeedsThreads(_)), "{error}");
    }

    #[test]
    fn what_wasmtime_has_on_compiles() {
        for (feature, body) in [
            ("SIMD", "(func (drop (i8x16.splat (i32.const 1))))"),
            (
                "relaxed SIMD",
                "(func (param v128) (drop (i32x4.relaxed_trunc_f32x4_s (local.get 0))))",
            ),
            (
                "bulk memory",
                "(func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))",
            ),
            ("reference types", "(table 1 externref)"),
            (
                "function references",
                "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
            ),
            (
                "multi-value",
                "(func (result i32 i32) (i32.const 1) (i32.const 2))",
            ),
            ("tail calls", "(func $f (return_call $f))"),
            (
                "extended const",
                "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
            ),
            (
                "multi-memory",
                "(memory 1) (func (drop (i32.load 1 (i32.const 0))))",
            ),
            ("memory64", "(memory i64 1)"),
            ("exceptions", "(tag $t) (func (throw $t))"),
            (
                "GC",
                "(type $s (struct (field i32))) (func (drop (struct.new_default $s)))",
            ),
        ] {
            let text = format!(r#"(module (memory 1) (func (export "_start")) {body})"#);
            let wasm = wat::parse_str(&text).unwrap();
            let result = compile(&wasm, Kind::Module, ALL);
            assert!(result.is_ok(), "{feature}: {}", result.unwrap_err());
        }
    }

    #[test]
    fn an_invalid_body_is_the_inputs_fault() {
        let wasm = wat::parse_str(r#"(module (func (export "_start") i32.add))"#).unwrap();
        let error = compile(&wasm, Kind::Module, ALL).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}
