//! Wasm features of programs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use mote_e2e::cli::Run;
use mote_e2e::{features, kvm, paths};

#[test]
fn each_feature_runs_as_module_and_as_component() {
    if !kvm::ready() {
        return;
    }
    for feature in features::ALL {
        for program in feature.write(&paths::work().join("scratch")).unwrap() {
            let ran = Run::file(&program).run();
            assert_eq!(ran.code, features::GOOD, "{}: {}", program.display(), ran.stderr);
        }
    }
}

#[test]
fn an_exception_that_nobody_catches_ends_the_program() {
    if !kvm::ready() {
        return;
    }
    let wasm = wat::parse_str(r#"(module (tag $t) (func (export "_start") (throw $t)))"#).unwrap();
    let path = paths::work().join("scratch/uncaught.wasm");
    fs::create_dir_all(paths::work().join("scratch")).unwrap();
    fs::write(&path, wasm).unwrap();
    let ran = Run::file(&path).run();
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("thrown Wasm exception"), "{}", ran.stderr);
}

#[test]
fn threads_are_refused_by_name() {
    paths::require_binaries();
    for (what, text) in features::THREADED {
        let path = paths::work()
            .join("scratch")
            .join(format!("{}.wasm", what.replace(' ', "-")));
        fs::create_dir_all(paths::work().join("scratch")).unwrap();
        fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        let ran = Run::file(&path).run();
        assert_ne!(ran.code, 0);
        assert!(
            ran.stderr
                .contains(&format!("uses {what} of the threads proposal")),
            "{}",
            ran.stderr
        );
    }
}
