//! Files of a granted folder, as programs of WASI 0.1 and 0.2 see them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use mote_e2e::cli::{Ran, Run};
use mote_e2e::{kvm, paths};

const PROGRAMS: [&str; 2] = ["files-rust-p1", "files-rust-p2"];

/// A new folder that only this test uses.
fn folder(name: &str) -> PathBuf {
    let dir = paths::work().join("scratch").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn run(option: &str, dir: &std::path::Path, program: &str, args: &[&str]) -> Ran {
    let grant = format!("{}::/d", dir.display());
    Run::with_options([option, &grant], paths::program(program))
        .args(args)
        .run()
}

#[test]
fn operations_do_what_a_model_says() {
    if !kvm::ready() {
        return;
    }
    for program in PROGRAMS {
        for operation in ["mix", "two", "tree"] {
            let dir = folder(&format!("files-{operation}"));
            let ran = run("--dir", &dir, program, &[operation]);
            assert_eq!(
                (ran.code, ran.stdout.as_str()),
                (0, "as expected\n"),
                "{program} {operation}: {}",
                ran.stderr
            );
        }
    }
}

#[test]
fn copies_are_equal_whatever_the_buffer() {
    if !kvm::ready() {
        return;
    }
    let dir = folder("files-copy");
    let data: Vec<u8> = (0..3_000_001_u32)
        .map(|i| (i.wrapping_mul(i) % 251).to_le_bytes()[0])
        .collect();
    fs::write(dir.join("from"), &data).unwrap();
    for program in PROGRAMS {
        for size in ["1000", "4096", "65536", "1048576"] {
            let ran = run("--dir", &dir, program, &["copy", size]);
            assert_eq!(ran.code, 0, "{program} {size}: {}", ran.stderr);
            assert!(fs::read(dir.join("to")).unwrap() == data, "{program} {size}");
        }
    }
}

#[test]
fn a_read_only_folder_and_what_is_above_it_are_out_of_reach() {
    if !kvm::ready() {
        return;
    }
    let dir = folder("files-denied");
    fs::write(dir.join("there"), b"here").unwrap();
    symlink("../above", dir.join("up")).unwrap();
    symlink("/etc/hostname", dir.join("absolute")).unwrap();
    let expected = "read: done
create: Read-only file system (os error 69)
write: Read-only file system (os error 69)
mkdir: Read-only file system (os error 69)
rename: Read-only file system (os error 69)
unlink: Read-only file system (os error 69)
above: Operation not permitted (os error 63)
link above: Operation not permitted (os error 63)
absolute link: Operation not permitted (os error 63)
";
    for program in PROGRAMS {
        let ran = run("--dir-ro", &dir, program, &["denied"]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, expected),
            "{program}: {}",
            ran.stderr
        );
    }
}
