//! Tests that need `/dev/kvm`, and the count of those that ran.
//!
//! On a machine without the device such a test says SKIPPED with its reason. On one with the device it must run:
//! every one leaves a line in `.work/vm-tests`, which `.ci/run` compares with the number of tests there are.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::paths;

/// Says whether the test that calls this can run; on a machine with KVM it always can, or fails.
///
/// # Panics
/// If `/dev/kvm` is there and cannot be opened, or if the executables are missing.
#[must_use]
pub fn ready() -> bool {
    let thread = std::thread::current();
    let name = format!("{}::{}", program_name(), thread.name().unwrap_or("?"));
    if !Path::new("/dev/kvm").exists() {
        note("skipped", &name);
        // Straight to the descriptor: the test harness shows no captured output of a test that passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {name}: there is no /dev/kvm on this machine"
        );
        return false;
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        panic!("/dev/kvm is there but cannot be opened: {error}");
    }
    paths::require_binaries();
    note("ran", &name);
    true
}

fn program_name() -> String {
    let exe = std::env::current_exe().unwrap_or_default();
    let name = exe.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Cargo appends a hash.
    name.rsplit_once('-')
        .map_or(name.clone(), |(name, _)| name.to_string())
}

fn note(what: &str, name: &str) {
    let path = paths::work().join("vm-tests");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{what} {name}\n").as_bytes()));
    if let Err(error) = written {
        panic!("{}: {error}", path.display());
    }
}
