//! Programs of several languages do under Mote what they do under wasmtime: the same file, and the same output, exit
//! code and files, to the byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::compare::Case;
use mote_e2e::kvm;

/// What every tool does with its standard streams. It exits with the code that it is given, if its language can.
fn streams(tool: &str) {
    let ran = Case::new(tool, &["echo", "0", "two words", "", "ünï"])
        .env("B", "2 = two")
        .env("A", "")
        .stdin("line\nno newline")
        .compare()
        .ran;
    assert_eq!(ran.code, 0, "{tool}: {ran:?}");
    for part in ["two words", "ünï", "env: A=\nenv: B=2 = two\n", "stdin: 15 bytes"] {
        assert!(
            ran.stdout.contains(part),
            "{tool}: {part} is not in {}",
            ran.stdout
        );
    }
    assert_eq!(ran.stderr, "tool: echoed\n", "{tool}");
    // Not text, and more than any pipe holds.
    let large: Vec<u8> = (0..700_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    Case::new(tool, &["echo"]).stdin(large).compare();
    let ran = Case::new(tool, &["echo", "7"]).compare().ran;
    assert!([1, 7].contains(&ran.code), "{tool}: {ran:?}");
    let ran = Case::new(tool, &["no such command"]).compare().ran;
    assert_ne!(ran.code, 0, "{tool}: {ran:?}");
}

/// Clocks, random numbers and computing, which no comparison alone can judge.
fn processor(tool: &str) {
    let ran = Case::new(tool, &["clocks"]).compare().ran;
    assert_eq!(ran.code, 0, "{tool}: {ran:?}");
    assert!(
        !ran.stdout.to_lowercase().contains("false") && !ran.stdout.contains(": 0"),
        "{tool}: {}",
        ran.stdout
    );
    let ran = Case::new(tool, &["compute"]).compare().ran;
    assert_eq!(ran.code, 0, "{tool}: {ran:?}");
    assert!(
        ran.stdout.contains("1.64492") || ran.stdout.contains("1.64493"),
        "{tool}: {}",
        ran.stdout
    );
}

/// Files of all kinds, made, changed, found and removed; and what is out of reach.
fn files(tool: &str) {
    let case = Case::new(tool, &["files", "/data"]).folder();
    let outcome = case.compare();
    assert_eq!(outcome.ran.code, 0, "{tool}: {outcome:?}");
    let tree = outcome.tree.to_string();
    for part in [
        "data/given.txt: ",
        "data/work/soft.txt: 777 link to c",
        "data/work/big.bin: 644 file, 1 links, 6000 bytes",
    ] {
        assert!(tree.contains(part), "{tool}: {part} is not in {tree}");
    }
    let secret = "out of reach";
    assert!(
        !outcome.ran.stdout.contains(secret),
        "{tool}: {}",
        outcome.ran.stdout
    );
    // Without the folder nothing is there to be worked on.
    let ran = Case::new(tool, &["files", "/data"]).compare().ran;
    assert!(!ran.stdout.contains(secret), "{tool}: {ran:?}");
}

/// Ways of failing that end in a trap.
fn traps(tool: &str, commands: &[&str]) {
    for command in commands {
        let ran = Case::new(tool, &[command]).compare().ran;
        assert_eq!(ran.code, 134, "{tool} {command}: {ran:?}");
    }
}

#[test]
fn c() {
    if !kvm::ready() {
        return;
    }
    for tool in ["tool-c-p1", "tool-c-p2"] {
        streams(tool);
        processor(tool);
        files(tool);
        traps(tool, &["trap", "deep", "abort"]);
    }
}

#[test]
fn rust() {
    if !kvm::ready() {
        return;
    }
    for tool in ["tool-rust-p1", "tool-rust-p2"] {
        streams(tool);
        processor(tool);
        files(tool);
        traps(tool, &["trap", "deep"]);
    }
}

#[test]
fn go() {
    if !kvm::ready() {
        return;
    }
    streams("tool-go-p1");
    processor("tool-go-p1");
    files("tool-go-p1");
    // Go ends by itself, with its own account of what happened.
    for command in ["panic", "nil"] {
        let ran = Case::new("tool-go-p1", &[command]).compare().ran;
        assert_eq!(ran.code, 2, "{command}: {ran:?}");
        assert!(ran.stderr.contains("goroutine 1"), "{command}: {ran:?}");
    }
}

#[test]
fn python() {
    if !kvm::ready() {
        return;
    }
    streams("tool-python");
    processor("tool-python");
    files("tool-python");
    traps("tool-python", &["raise"]);
}

#[test]
fn javascript() {
    if !kvm::ready() {
        return;
    }
    streams("tool-js");
    processor("tool-js");
    files("tool-js");
    let ran = Case::new("tool-js", &["throw"]).compare().ran;
    assert_eq!(ran.code, 1, "{ran:?}");
}
