//! Wasm features of programs, and suites for modules and components inside the VM.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

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

#[test]
fn the_core_suite_passes_in_the_vm() {
    if !kvm::ready() {
        return;
    }
    conformance("core", |command| {
        command
            .arg("--native-failures")
            .arg(paths::root().join("e2e/conformance/native-failures.txt"))
            .arg("--check")
            .arg(paths::root().join("docs/CONFORMANCE.md"))
    });
}

#[test]
fn components_pass_in_the_vm() {
    if !kvm::ready() {
        return;
    }
    let folder = fs::read_dir(paths::root().join("e2e/conformance/components")).unwrap();
    let files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    conformance("components", |command| command.args(files));
}

/// Runs `mote-conformance`, which has to succeed.
fn conformance(suite: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) {
    let folder = paths::work().join("conformance");
    let program = folder.join("bin/mote-conformance");
    assert!(
        program.exists(),
        "{} is missing; `make conformance-build` builds it",
        program.display()
    );
    let mut command = Command::new(program);
    command
        .arg(suite)
        .arg("--bin")
        .arg(folder.join("bin"))
        .arg("--work")
        .arg(folder.join(suite));
    let output = arguments(&mut command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
