//! `mote run`: what a program prints, gets and ends with is what the wasmtime command would give it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use mote_e2e::cli::{Ran, Run};
use mote_e2e::{kvm, paths, traps};

const HELLOS: [(&str, &str); 4] = [
    ("hello-rust-p1", "hello from rust, wasi 0.1\n"),
    ("hello-rust-p2", "hello from rust, wasi 0.2\n"),
    ("hello-c-p1", "hello from c, wasi 0.1\n"),
    ("hello-go-p1", "hello from go, wasi 0.1\n"),
];
const PROBES: [&str; 2] = ["probe-rust-p1", "probe-rust-p2"];

/// A file that only this test uses.
fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let dir = paths::work().join("scratch");
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn hello_in_every_language() {
    if !kvm::ready() {
        return;
    }
    for (program, line) in HELLOS {
        let ran = Run::program(program).run();
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (0, line, ""),
            "{program}"
        );
    }
}

#[test]
fn a_cold_cache_serves_many_at_once() {
    if !kvm::ready() {
        return;
    }
    let cache = paths::work().join("cold-cache");
    let _ = fs::remove_dir_all(&cache);
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = Run::program("hello-rust-p2").into_command();
            command
                .env("MOTE_CACHE_DIR", &cache)
                .stdin(Stdio::null())
                .stdout(Stdio::piped());
            command.stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, "hello from rust, wasi 0.2\n"),
            "{}",
            ran.stderr
        );
    }
    fs::remove_dir_all(&cache).unwrap();
}

#[test]
fn arguments_and_environment() {
    if !kvm::ready() {
        return;
    }
    for (program, line) in HELLOS {
        let ran = Run::with_options(
            ["--env", "GREETING=good day = ok", "--env", "OTHER="],
            paths::program(program),
        )
        .args(["one", "", "three words here", "--four", "ünï"])
        .run();
        let rest = "arg 1: one\narg 2: \narg 3: three words here\narg 4: --four\narg 5: ünï\n\
                    greeting: good day = ok\n";
        assert_eq!(
            (ran.code, ran.stdout),
            (0, format!("{line}{rest}")),
            "{program}: {}",
            ran.stderr
        );
    }
    for program in PROBES {
        let ran = Run::with_options(["--env", "B=2", "--env", "A=1"], paths::program(program))
            .args(["env"])
            .run();
        let mut lines: Vec<&str> = ran.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            ["A=1", "B=2"],
            "{program} got more or less than it was given"
        );
        // The first argument is the program's own name.
        let ran = Run::program(program).args(["name"]).run();
        assert!(ran.stdout.contains(program), "{program}: {}", ran.stdout);
    }
}

#[test]
fn standard_input() {
    if !kvm::ready() {
        return;
    }
    // Larger than any ring or pipe, and not text.
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|n| b' ' + u8::try_from(n.wrapping_mul(2_654_435_761) >> 26).unwrap())
        .collect();
    for program in PROBES {
        for input in [Vec::new(), b"no newline".to_vec(), large.clone()] {
            let ran = Run::program(program).args(["cat"]).stdin(input.clone()).run();
            assert_eq!(ran.code, 0, "{program}: {}", ran.stderr);
            assert!(
                ran.stdout.as_bytes() == input,
                "{program}: {} of {} bytes",
                ran.stdout.len(),
                input.len()
            );
        }
    }
}

#[test]
fn output_streams() {
    if !kvm::ready() {
        return;
    }
    for program in PROBES {
        let ran = Run::program(program).args(["stderr"]).run();
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("to stdout\n", "to stderr\n"),
            "{program}"
        );
        let ran = Run::program(program).args(["big-output"]).run();
        let expected: String = (0..65_536).map(|n| format!("line {n:010}\n")).collect();
        assert_eq!(ran.code, 0, "{program}: {}", ran.stderr);
        assert!(
            ran.stdout == expected,
            "{program}: {} of {} bytes",
            ran.stdout.len(),
            expected.len()
        );
    }
}

#[test]
fn exit_codes() {
    if !kvm::ready() {
        return;
    }
    for code in [0, 1, 42, 255] {
        let ran = Run::program("probe-rust-p1")
            .args(["exit", &code.to_string()])
            .run();
        assert_eq!(ran.code, code, "{}", ran.stderr);
        // Rust's libc for 0.2 knows only success and failure.
        let ran = Run::program("probe-rust-p2")
            .args(["exit", &code.to_string()])
            .run();
        assert_eq!(ran.code, i32::from(code != 0), "{}", ran.stderr);
    }
}

#[test]
fn clocks_and_random_numbers() {
    if !kvm::ready() {
        return;
    }
    for program in PROBES {
        let before = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let ran = Run::program(program).args(["clocks"]).run();
        assert_eq!(ran.code, 0, "{program}: {}", ran.stderr);
        let field = |name: &str| {
            let line = ran
                .stdout
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name}=")));
            line.unwrap_or_else(|| panic!("no {name} in {}", ran.stdout))
                .to_string()
        };
        let wall = Duration::from_millis(field("wall_ms").parse().unwrap());
        assert!(
            wall + Duration::from_secs(1) > before && wall < before + Duration::from_secs(60),
            "{program}: {wall:?}"
        );
        assert_eq!(
            (field("backwards").as_str(), field("advanced").as_str()),
            ("0", "true"),
            "{program}"
        );
        let slept: u64 = field("slept_us").parse().unwrap();
        assert!(
            (50_000..2_000_000).contains(&slept),
            "{program} slept {slept} µs instead of 50,000"
        );
        let (one, other) = (
            Run::program(program).args(["random"]).run(),
            Run::program(program).args(["random"]).run(),
        );
        assert_eq!((one.code, other.code), (0, 0), "{program}: {}", one.stderr);
        assert_ne!(one.stdout, other.stdout, "{program}: the same numbers twice");
    }
}

#[test]
fn every_trap_names_itself() {
    if !kvm::ready() {
        return;
    }
    for trap in traps::ALL {
        let path = scratch(&format!("trap-{}.wasm", trap.name), &trap.assemble().unwrap());
        let ran = Run::file(path).run();
        assert_eq!(ran.code, 134, "{}: {ran:?}", trap.name);
        assert!(ran.stderr.contains(trap.says), "{}: {}", trap.name, ran.stderr);
        assert!(
            ran.stderr.contains("wasm backtrace"),
            "{}: {}",
            trap.name,
            ran.stderr
        );
        assert!(
            ran.stderr.contains("culprit") || ran.stderr.contains("deeper"),
            "{}: {}",
            trap.name,
            ran.stderr
        );
        assert_eq!(ran.stdout, "", "{}", trap.name);
    }
}

#[test]
fn a_panic_is_a_trap_with_its_message() {
    if !kvm::ready() {
        return;
    }
    for program in PROBES {
        let ran = Run::program(program).args(["panic"]).run();
        assert_eq!(ran.code, 134, "{program}: {ran:?}");
        assert!(
            ran.stderr.contains("as asked") && ran.stderr.contains("unreachable"),
            "{program}: {}",
            ran.stderr
        );
    }
}

#[test]
fn timeout_ends_a_loop() {
    if !kvm::ready() {
        return;
    }
    for program in PROBES {
        let before = Instant::now();
        let ran = Run::with_options(["--timeout", "300ms"], paths::program(program))
            .args(["spin"])
            .run();
        assert_eq!(ran.code, 134, "{program}: {ran:?}");
        assert_eq!(
            ran.stdout, "spinning\n",
            "{program}: what was written before must not be lost"
        );
        assert!(
            before.elapsed() < Duration::from_secs(20),
            "{program}: {:?}",
            before.elapsed()
        );
        // One that sleeps ends too.
        let ran = Run::with_options(["--timeout", "300ms"], paths::program(program))
            .args(["sleep", "60000"])
            .run();
        assert_eq!(ran.code, 134, "{program}: {ran:?}");
    }
}

#[test]
fn memory_limit_is_the_end() {
    if !kvm::ready() {
        return;
    }
    for program in PROBES {
        let ran = Run::with_options(["--memory", "64MiB"], paths::program(program))
            .args(["alloc"])
            .run();
        assert_eq!(ran.code, 137, "{program}: {ran:?}");
        assert!(
            ran.stdout.contains("16 MiB") && !ran.stdout.contains("64 MiB"),
            "{program}: {}",
            ran.stdout
        );
        // What fits does fit.
        let ran = Run::with_options(["--memory", "64MiB"], paths::program(program))
            .args(["touch", "32"])
            .run();
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, "touched 32 MiB\n"),
            "{program}: {}",
            ran.stderr
        );
    }
}

#[test]
fn no_files_unless_granted() {
    if !kvm::ready() {
        return;
    }
    for program in PROBES {
        let ran = Run::program(program).args(["file", "/etc/passwd"]).run();
        assert_eq!(ran.code, 0, "{program}: {ran:?}");
        assert!(ran.stdout.starts_with("no file:"), "{program}: {}", ran.stdout);
    }
}

#[test]
fn errors_say_what_is_wrong() {
    if !kvm::ready() {
        return;
    }
    let ran = Run::file("/nowhere/at-all.wasm").run();
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("/nowhere/at-all.wasm"), "{}", ran.stderr);

    let ran = Run::file(scratch("not-wasm.wasm", b"#!/bin/sh\necho no\n")).run();
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.to_lowercase().contains("wasm"), "{}", ran.stderr);

    // Truncated in the middle of its code.
    let bytes = paths::program_bytes("hello-c-p1");
    let ran = Run::file(scratch("half.wasm", &bytes[..bytes.len() / 2])).run();
    assert_ne!(ran.code, 0);
    assert!(!ran.stderr.is_empty());

    // An import that nobody offers is named, module and field.
    let module = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview9" "fd_levitate" (func $f)) (memory (export "memory") 1)
            (func (export "_start") (call $f)))"#,
    );
    let ran = Run::file(scratch("missing-import.wasm", &module.unwrap())).run();
    assert_ne!(ran.code, 0);
    assert!(
        ran.stderr.contains("wasi_snapshot_preview9") && ran.stderr.contains("fd_levitate"),
        "{}",
        ran.stderr
    );

    // A component's too, with its version.
    let component = wat::parse_str(
        r#"(component
            (import "acme:rocket/launch@1.2.3" (instance (export "ignite" (func))))
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $cli)))"#,
    );
    let ran = Run::file(scratch("missing-interface.wasm", &component.unwrap())).run();
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("acme:rocket/launch@1.2.3"), "{}", ran.stderr);
}
