//! What options of `mote run` give to a component besides files, and the limits of what its runtime gives it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::cli::{Ran, Run};
use mote_e2e::{kvm, paths};

fn run(options: &[&str], args: &[&str]) -> Ran {
    Run::with_options(options, paths::program("given-rust"))
        .args(args)
        .run()
}

fn printed(options: &[&str], args: &[&str]) -> String {
    let ran = run(options, args);
    assert_eq!(ran.code, 0, "{options:?} {args:?}: {}", ran.stderr);
    ran.stdout
}

#[test]
fn one_kind_of_sockets_without_the_other() {
    if !kvm::ready() {
        return;
    }
    let sockets = |options: &[&str]| printed(options, &["sockets"]);
    assert_eq!(sockets(&[]), "tcp: access-denied\nudp: access-denied\n");
    assert_eq!(sockets(&["--net"]), "tcp: made\nudp: made\n");
    assert_eq!(
        sockets(&["--net", "-S", "tcp=n"]),
        "tcp: access-denied\nudp: made\n"
    );
    assert_eq!(
        sockets(&["-S", "inherit-network,udp=n"]),
        "tcp: made\nudp: access-denied\n"
    );
    // The runtime's own sockets, by which it looks up names, are not the program's.
    assert_eq!(
        sockets(&["-S", "allow-ip-name-lookup"]),
        "tcp: access-denied\nudp: access-denied\n"
    );
}

#[test]
fn the_working_directory_is_told() {
    if !kvm::ready() {
        return;
    }
    assert_eq!(printed(&[], &["cwd"]), "none\n");
    assert_eq!(printed(&["-S", "cwd=/sandbox"], &["cwd"]), "/sandbox\n");
}

#[test]
fn over_a_limit_of_its_runtime_a_component_traps() {
    if !kvm::ready() {
        return;
    }
    for (what, option, fits, over, words) in [
        (
            "random",
            "max-random-size=100",
            "100",
            "101",
            "requested len 101 exceeds limit 100",
        ),
        // Besides those that it begins with: an environment, standard streams.
        (
            "resources",
            "max-resources=50",
            "40",
            "51",
            "resource table has no free keys",
        ),
        // 32 and 40 bytes are what a name and a value count for by themselves.
        (
            "fields",
            "max-http-fields-size=176",
            "100",
            "101",
            "total size of fields exceeds limit",
        ),
    ] {
        let options = ["-S", option];
        printed(&options, &[what, fits]);
        printed(&[], &[what, over]);
        let ran = run(&options, &[what, over]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{what}: {}", ran.stderr);
    }
    // What the wasmtime command has and Mote has not is refused by its name.
    let ran = run(&["-S", "hostcall-fuel=1"], &["cwd"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("hostcall-fuel=1 is not supported"),
        "{}",
        ran.stderr
    );
}
