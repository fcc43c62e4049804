//! Nodes that are refused, untouched.

use std::fs;

use super::tree::{DROP_IN, K3S, MAIN, RKE2, Tree, assert_same};

/// The error; nothing may have changed.
fn refused(tree: &Tree) -> String {
    let before = tree.picture();
    let error = tree.install().unwrap_err();
    assert_same(&tree.picture(), &before);
    error.to_string()
}

#[test]
fn configurations_that_cannot_be_taken() {
    for (text, expected) in [
        ("version = 2\n[plugins", "is not valid TOML"),
        ("\u{feff}version = = 3", "is not valid TOML"),
        ("version = 1\n[plugins.cri]\n", "its version is neither"),
        ("version = 'two'\n", "its version is neither"),
        ("[plugins.cri]\n", "says no version"),
        ("", "says no version"),
        ("version = 2\ndisabled_plugins = [\"cri\"]\n", "disabled_plugins"),
        (
            "version = 3\ndisabled_plugins = ['io.containerd.cri.v1.runtime']\n",
            "disabled_plugins",
        ),
        (
            "version = 2\nplugins = { \"io.containerd.grpc.v1.cri\" = { containerd = { runtimes = {} } } }\n",
            "written inline",
        ),
        (
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.mote]\nruntime_type = 'x'\n",
            "did not write",
        ),
        ("version = 3\nimports = 'x'\n", "not an array"),
    ] {
        let tree = Tree::new(&[(MAIN, text)]);
        let error = refused(&tree);
        assert!(error.contains(expected), "{text:?}: {error}");
        assert!(error.contains("config.toml"), "{error}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let tree = Tree::new(&[(MAIN, "")]);
    fs::write(tree.at(MAIN), [b'#', 0xff]).unwrap();
    assert!(refused(&tree).contains("UTF-8"));
    fs::write(tree.at(MAIN), vec![b'#'; 2 << 20]).unwrap();
    assert!(refused(&tree).contains("larger"));
    fs::remove_file(tree.at(MAIN)).unwrap();
    fs::create_dir(tree.at(MAIN)).unwrap();
    assert!(refused(&tree).contains("not a regular file"));
}

#[test]
fn nodes_that_are_not_told_apart() {
    let text = include_str!("../../fixtures/k3s-v3.toml");
    let tree = Tree::new(&[
        (&format!("{K3S}/config.toml"), text),
        (&format!("{RKE2}/config.toml"), text),
    ]);
    assert!(refused(&tree).contains("k3s, rke2; --distribution chooses"));
    let none = Tree::new(&[]);
    assert!(refused(&none).contains("no containerd was found"));
    let unstarted = Tree::new(&[(&format!("{K3S}/other"), "")]);
    assert!(refused(&unstarted).contains("start k3s once"));
    let empty = Tree::new(&[("/etc/containerd/other", "")]);
    assert!(refused(&empty).contains("containerd config default"));
}

#[test]
fn executables_that_are_none() {
    let tree = Tree::new(&[(MAIN, "version = 3\n")]);
    fs::write(tree.bin.path().join("mote"), "#!/bin/sh\n").unwrap();
    assert!(refused(&tree).contains("no ELF file"));
    fs::remove_file(tree.bin.path().join("mote")).unwrap();
    assert!(refused(&tree).contains("not there"));
}

#[test]
fn a_drop_in_of_somebody_else() {
    let tree = Tree::new(&[(MAIN, "version = 3\n"), (DROP_IN, "version = 3\n")]);
    assert!(refused(&tree).contains("somebody else"));
}

#[test]
fn a_node_that_cannot_run_programs_is_left_as_it_was() {
    // The executables are no programs.
    let tree = Tree::new(&[(MAIN, "version = 3\n")]);
    let before = tree.picture();
    let mut job = tree.job();
    job.verify = true;
    let error = job.run().unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert_same(&tree.picture(), &before);
}
