//! Programs that need one Wasm feature each, as text. Each exits with [`GOOD`] if the feature does what it should.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Exit code of a program that found all as it should be.
pub const GOOD: i32 = 42;

/// A program of one feature.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    pub name: &'static str,
    /// A core module's fields with a function `$check`, whose result is [`GOOD`].
    wat: &'static str,
}

/// All of them.
pub const ALL: &[Feature] = &[
    Feature {
        name: "gc",
        // A list of 1000 cells stays, 100 million bytes of others go: only a collector gets through.
        wat: "(type $cell (struct (field i32) (field (ref null $cell))))
              (type $bytes (array (mut i8)))
              (memory 1)
              (func $check (result i32)
                (local $list (ref null $cell)) (local $n i32) (local $sum i32)
                (loop $build
                  (local.set $list (struct.new $cell (local.get $n) (local.get $list)))
                  (local.set $n (i32.add (local.get $n) (i32.const 1)))
                  (br_if $build (i32.lt_u (local.get $n) (i32.const 1000))))
                (loop $waste
                  (drop (array.new_default $bytes (i32.const 10000)))
                  (local.set $n (i32.add (local.get $n) (i32.const 1)))
                  (br_if $waste (i32.lt_u (local.get $n) (i32.const 11000))))
                (loop $add
                  (local.set $sum (i32.add (local.get $sum) (struct.get $cell 0 (local.get $list))))
                  (local.set $list (struct.get $cell 1 (local.get $list)))
                  (br_if $add (i32.eqz (ref.is_null (local.get $list)))))
                (i32.add (i32.const 42) (i32.ne (local.get $sum) (i32.const 499500))))",
    },
    Feature {
        name: "exceptions",
        wat: "(tag $t (param i32))
              (memory 1)
              (func $deep (param $n i32)
                (if (i32.eqz (local.get $n)) (then (throw $t (i32.const 42))))
                (call $deep (i32.sub (local.get $n) (i32.const 1))))
              (func $check (result i32)
                (block $caught (result i32)
                  (try_table (catch $t $caught) (call $deep (i32.const 1000)))
                  (i32.const 1)))",
    },
    Feature {
        name: "tail-calls",
        wat: "(func $even (param $n i32) (result i32)
                (if (i32.eqz (local.get $n)) (then (return (i32.const 42))))
                (return_call $odd (i32.sub (local.get $n) (i32.const 1))))
              (func $odd (param $n i32) (result i32)
                (if (i32.eqz (local.get $n)) (then (return (i32.const 1))))
                (return_call $even (i32.sub (local.get $n) (i32.const 1))))
              (func $check (result i32) (return_call $even (i32.const 10000000)))",
    },
    Feature {
        name: "memory64",
        wat: "(memory i64 1)
              (func $check (result i32)
                (local $end i64)
                (drop (memory.grow (i64.const 100)))
                (local.set $end (i64.mul (memory.size) (i64.const 65536)))
                (i64.store (i64.sub (local.get $end) (i64.const 8)) (i64.const 42))
                (i32.load (i64.const 6619128)))",
    },
    Feature {
        name: "multi-memory",
        wat: "(memory $a 1) (memory $b 1)
              (func $check (result i32)
                (i32.store $a (i32.const 8) (i32.const 40))
                (i32.store $b (i32.const 8) (i32.const 2))
                (drop (memory.grow $b (i32.const 5)))
                (memory.copy $a $b (i32.const 16) (i32.const 8) (i32.const 4))
                (i32.add (i32.load $a (i32.const 8)) (i32.load $a (i32.const 16))))",
    },
    Feature {
        name: "relaxed-simd",
        wat: "(func $check (result i32)
                (i32.trunc_f32_s (f32x4.extract_lane 2 (f32x4.relaxed_madd
                  (f32x4.splat (f32.const 5)) (f32x4.splat (f32.const 8)) (f32x4.splat (f32.const 2))))))",
    },
    Feature {
        name: "function-references",
        wat: "(type $f (func (param i32) (result i32)))
              (elem declare func $inc)
              (func $inc (type $f) (i32.add (local.get 0) (i32.const 1)))
              (func $twice (param $f (ref $f)) (param $v i32) (result i32)
                (call_ref $f (call_ref $f (local.get $v) (local.get $f)) (local.get $f)))
              (func $check (result i32) (call $twice (ref.func $inc) (i32.const 40)))",
    },
];

impl Feature {
    /// Writes the feature's program for WASI 0.1 and for WASI 0.2 into a folder.
    ///
    /// # Errors
    /// If the text is wrong or a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<[PathBuf; 2]> {
        let module = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                {}
                (func (export "_start") (call $exit (call $check))))"#,
            self.wat
        );
        let component = format!(
            r#"(component
                (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit-with-code" (func (param "status-code" u8)))))
                (core func $exit (canon lower (func $exit "exit-with-code")))
                (core module $m
                    (import "exit" "exit" (func $exit (param i32)))
                    {}
                    (func (export "run") (result i32) (call $exit (call $check)) (i32.const 1)))
                (core instance $i (instantiate $m (with "exit" (instance (export "exit" (func $exit))))))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $run (export "run" (func $run)))
                (export "wasi:cli/run@0.2.0" (instance $run)))"#,
            self.wat
        );
        std::fs::create_dir_all(dir)?;
        let write = |text: &str, kind: &str| -> Result<PathBuf> {
            let wasm = wat::parse_str(text).with_context(|| format!("{} for {kind}", self.name))?;
            let path = dir.join(format!("feature-{}-{kind}.wasm", self.name));
            std::fs::write(&path, wasm)?;
            Ok(path)
        };
        Ok([write(&module, "p1")?, write(&component, "p2")?])
    }
}

/// Programs that use threads, and what they use.
pub const THREADED: &[(&str, &str)] = &[
    (
        "shared memory",
        r#"(module (memory 1 1 shared) (func (export "_start")))"#,
    ),
    (
        "atomic instructions",
        r#"(module (memory 1) (func (export "_start") (drop (i32.atomic.load (i32.const 0)))))"#,
    ),
];
