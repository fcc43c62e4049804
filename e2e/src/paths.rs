//! Where things are in the checkout.

use std::path::{Path, PathBuf};

/// The checkout.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
        .to_path_buf()
}

/// Downloads, built guests and everything that a run leaves for people to read.
#[must_use]
pub fn work() -> PathBuf {
    root().join(".work")
}

/// Executables as they are installed on a node, put there by `make build`.
#[must_use]
pub fn bin(name: &str) -> PathBuf {
    root().join("bin").join(name)
}

/// Wasmtime for comparisons, put there by `make peer`.
#[must_use]
pub fn peer() -> PathBuf {
    work().join("target-peer/x86_64-unknown-linux-gnu/debug/peer")
}

/// Compiled code. Kept between runs, as on a node.
#[must_use]
pub fn cache() -> PathBuf {
    work().join("cache")
}

/// A guest built by `e2e/programs/build.sh`.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    work().join("programs").join(format!("{name}.wasm"))
}

/// Bytes of a guest.
///
/// # Panics
/// If it was not built: a test cannot go on without it.
#[must_use]
pub fn program_bytes(name: &str) -> Vec<u8> {
    let path = program(name);
    match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}; `make programs` builds it", path.display()),
    }
}

/// Fails with advice if the executables of a node are not built.
///
/// # Panics
/// As said.
pub fn require_binaries() {
    for name in [
        "mote",
        "mote-vmm",
        "mote-compile",
        "mote-http",
        "containerd-shim-mote-v1",
    ] {
        let path = bin(name);
        assert!(
            path.exists(),
            "{} is missing; `make build` builds it",
            path.display()
        );
    }
}
