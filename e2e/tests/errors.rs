//! What cannot run is refused, with the cause and the way out in the pod's event.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::containerd::matrix;
use mote_e2e::images::{Form, Image};
use mote_e2e::kvm;
use mote_e2e::pod::{Pod, Spec};

/// The container's start fails, and the error has all these words.
fn refused(pod: &mut Pod<'_>, spec: &Spec, words: &[&str]) {
    let error = format!("{:#}", pod.start(spec).expect_err("it cannot run"));
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
}

#[test]
fn errors_name_cause_and_way_out() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let module =
            wat::parse_str(r#"(module (import "env" "mystery" (func)) (func (export "_start") call 0))"#)
                .unwrap();
        let foreign = Image::new("errors-foreign", Form::Rootfs, module);
        foreign.import(daemon).unwrap();
        let broken = Image::new("errors-broken", Form::Rootfs, b"\0asm\x01\0\0\0\xff".to_vec());
        broken.import(daemon).unwrap();
        let probe = Image::program("errors-probe", Form::Rootfs, "probe-rust-p1");
        probe.import(daemon).unwrap();
        let mut pod = Pod::run(daemon, "errors").unwrap();
        for (spec, words) in [
            (
                Spec::new("import", &foreign.name),
                ["mystery", "which Mote does not offer"],
            ),
            (Spec::new("broken", &broken.name), ["/app.wasm", "offset"]),
            (
                Spec::new("memory", &probe.name).args(&["exit"]).memory(6 << 20),
                ["memory limit 6291456 bytes", "raise the container's memory limit"],
            ),
            (
                Spec::new("annotation", &probe.name).annotation("mote/network", "some"),
                ["mote/network is", "takes the network away"],
            ),
        ] {
            refused(&mut pod, &spec, &words);
        }
        pod.remove().unwrap();
    });
}

/// The header of an ELF file of 64 bits, little-endian. (elf(5))
fn elf(osabi: u8, machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, osabi]);
    bytes[16] = 2;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes
}

#[test]
fn programs_of_another_kind_or_machine() {
    if !kvm::ready() {
        return;
    }
    const SYSTEM_V: u8 = 0;
    /// What Wasmtime writes into its `.cwasm` files. (`wasmtime-environ/src/obj.rs`, `ELFOSABI_WASMTIME`)
    const WASMTIME: u8 = 200;
    matrix::each(|daemon| {
        let mut pod = Pod::run(daemon, "machines").unwrap();
        for (name, form, osabi, machine, words) in [
            (
                "amd64",
                Form::LinuxRootfs,
                SYSTEM_V,
                62,
                ["executable for amd64", "runtimeClassName"],
            ),
            (
                "arm64",
                Form::LinuxRootfs,
                SYSTEM_V,
                183,
                ["executable for arm64", "runtimeClassName"],
            ),
            (
                "cwasm-amd64",
                Form::Rootfs,
                WASMTIME,
                62,
                ["compiled for amd64", "must hold the .wasm file"],
            ),
            (
                "cwasm-arm64",
                Form::Rootfs,
                WASMTIME,
                183,
                ["compiled for arm64", "must hold the .wasm file"],
            ),
        ] {
            let image = Image::new(&format!("errors-{name}"), form, elf(osabi, machine));
            image.import(daemon).unwrap();
            refused(&mut pod, &Spec::new(name, &image.name), &words);
        }
        if daemon.takes(Form::Artifact) {
            let image = Image::new("errors-layer", Form::Artifact, elf(WASMTIME, 183));
            image.import(daemon).unwrap();
            let words = ["the layer is", "compiled for arm64"];
            let spec = Spec::new("layer", &image.name).command(&["/app.wasm"]);
            refused(&mut pod, &spec, &words);
        }
        pod.remove().unwrap();
    });
}
