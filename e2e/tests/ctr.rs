//! `ctr run --rm --runtime io.containerd.mote.v1`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::containerd::{Containerd, matrix};
use mote_e2e::ctr::CtrRun;
use mote_e2e::images::{Form, Image};
use mote_e2e::{kvm, leaks};

const WASI: [&str; 2] = ["--platform", "wasi/wasm"];

fn nothing_left(daemon: &Containerd, id: &str) {
    let left = leaks::of_ids(daemon, &[id.to_string()]);
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

#[test]
fn hello() {
    if !kvm::ready() {
        return;
    }
    matrix::each_series(|daemon| {
        for (program, line) in [
            ("hello-rust-p1", "hello from rust, wasi 0.1\n"),
            ("hello-rust-p2", "hello from rust, wasi 0.2\n"),
            ("hello-c-p1", "hello from c, wasi 0.1\n"),
            ("hello-go-p1", "hello from go, wasi 0.1\n"),
        ] {
            for (form, options) in [(Form::Rootfs, &WASI[..]), (Form::LinuxRootfs, &[])] {
                let image = Image::program(&format!("ctr-{program}-{form:?}").to_lowercase(), form, program);
                image.import(daemon).unwrap();
                let run = CtrRun::new(daemon, &image.name)
                    .option(options)
                    .option(&["--env", "GREETING=hi"]);
                let ran = run.run();
                assert_eq!(
                    (ran.code, ran.stdout),
                    (0, format!("{line}greeting: hi\n")),
                    "{program}: {}",
                    ran.stderr
                );
                let run = run.args(&["/app.wasm", "x", "y z"]);
                let ran = run.run();
                assert_eq!(
                    ran.stdout,
                    format!("{line}arg 1: x\narg 2: y z\ngreeting: hi\n"),
                    "{program}: {}",
                    ran.stderr
                );
                nothing_left(daemon, &run.id);
            }
        }
    });
}

#[test]
fn wasm_layers() {
    if !kvm::ready() {
        return;
    }
    matrix::each_series(|daemon| {
        for (form, program, line) in [
            (
                Form::ComponentLayer,
                "hello-rust-p2",
                "hello from rust, wasi 0.2\n",
            ),
            (Form::ContentLayer, "hello-rust-p1", "hello from rust, wasi 0.1\n"),
        ] {
            if !daemon.takes(form) {
                continue;
            }
            let image = Image::program(&format!("ctr-{form:?}").to_lowercase(), form, program);
            image.import(daemon).unwrap();
            let run = CtrRun::new(daemon, &image.name).option(&["--platform", "wasip1/wasm"]);
            let ran = run.run();
            assert_eq!(
                (ran.code, ran.stdout.as_str()),
                (0, line),
                "{form:?}: {}",
                ran.stderr
            );
            nothing_left(daemon, &run.id);
        }
    });
}

#[test]
fn exit_code_and_streams() {
    if !kvm::ready() {
        return;
    }
    matrix::each_series(|daemon| {
        let image = Image::program("ctr-probe", Form::LinuxRootfs, "probe-rust-p1");
        image.import(daemon).unwrap();
        for code in [0, 1, 42, 255] {
            let run = CtrRun::new(daemon, &image.name).args(&["/app.wasm", "exit", &code.to_string()]);
            let ran = run.run();
            assert_eq!(ran.code, code, "{}", ran.stderr);
            nothing_left(daemon, &run.id);
        }
        let ran = CtrRun::new(daemon, &image.name)
            .args(&["/app.wasm", "stderr"])
            .run();
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("to stdout\n", "to stderr\n")
        );
        let ran = CtrRun::new(daemon, &image.name)
            .args(&["/app.wasm", "panic"])
            .run();
        assert_eq!(ran.code, 134, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("as asked") && ran.stderr.contains("unreachable"),
            "{}",
            ran.stderr
        );
    });
}

#[test]
fn errors_are_clear_and_leave_nothing() {
    if !kvm::ready() {
        return;
    }
    matrix::each_series(|daemon| {
        let image = Image::new(
            "ctr-elf",
            Form::LinuxRootfs,
            b"\x7fELF\x02\x01\x01 and so on".to_vec(),
        );
        image.import(daemon).unwrap();
        let run = CtrRun::new(daemon, &image.name);
        let ran = run.run();
        assert_ne!(ran.code, 0);
        assert!(ran.stderr.to_lowercase().contains("wasm"), "{}", ran.stderr);
        nothing_left(daemon, &run.id);

        let run = CtrRun::new(daemon, &image.name).args(&["/no/such.wasm"]);
        let ran = run.run();
        assert_ne!(ran.code, 0);
        assert!(ran.stderr.contains("such.wasm"), "{}", ran.stderr);
        nothing_left(daemon, &run.id);
    });
}

/// Tests share a containerd and start at the same time, most of them with the sandbox image.
#[test]
fn an_image_that_several_tests_want_is_imported_once() {
    matrix::each_series(|daemon| {
        for name in (0..4).map(|number| format!("several-{number}")) {
            std::thread::scope(|scope| {
                let import = || {
                    let image = Image::new(&name, Form::LinuxRootfs, Vec::new());
                    image.file("etc/name", name.as_bytes()).import(daemon)
                };
                let imports: Vec<_> = (0..4).map(|_| scope.spawn(import)).collect();
                let imports = imports.into_iter().map(|import| import.join().unwrap().unwrap());
                assert_eq!(imports.filter(|imported| *imported).count(), 1, "{name}");
            });
        }
    });
}
