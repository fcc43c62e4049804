//! When containerd is restarted, and what follows if it does not come back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::tree::{MAIN, Tree, assert_same, service};
use crate::install::Install;
use crate::restart::Restart;

const V2: &str = include_str!("../../fixtures/v2.toml");
const SOCKET: &str = "/run/c.sock";

/// A command that notes that it ran, and ends as `status` says.
fn job(tree: &Tree, status: u8) -> Install {
    let script = tree.bin.path().join("restart");
    let log = tree.bin.path().join("restarts");
    fs::write(
        &script,
        format!("#!/bin/sh\necho x >> {}\nexit {status}\n", log.display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut job = tree.job();
    job.service = service(Restart::Command(vec![script.display().to_string()]));
    job.service.socket = Some(SOCKET.into());
    job.service.patience = std::time::Duration::from_secs(10);
    // Commands run in the node's root; here they are this machine's.
    job.node.host = crate::host::Host::new(std::path::Path::new("/")).unwrap();
    let inside = |path: &std::path::Path| tree.at(path.to_str().unwrap());
    job.node.prefix = inside(&job.node.prefix);
    job.node.cache = inside(&job.node.cache);
    job.node.config = Some(tree.at(MAIN));
    job.service.socket = Some(tree.at(SOCKET));
    job
}

fn restarts(tree: &Tree) -> usize {
    fs::read_to_string(tree.bin.path().join("restarts")).map_or(0, |text| text.lines().count())
}

#[test]
fn only_when_the_configuration_changed() {
    let tree = Tree::new(&[(MAIN, V2)]);
    let _listener = UnixListener::bind(tree.at(SOCKET)).unwrap();
    let job = job(&tree, 0);
    assert!(job.run().unwrap().restarted);
    assert_eq!(restarts(&tree), 1);
    let mut again = job.clone();
    again.node.config = None;
    assert!(!again.run().unwrap().restarted);
    tree.release("two");
    assert!(!again.run().unwrap().restarted);
    assert_eq!(restarts(&tree), 1);
    let mut removal = tree.removal();
    removal.node = again.node.clone();
    removal.service = again.service.clone();
    assert!(removal.run().unwrap().restarted);
    assert_eq!(restarts(&tree), 2);
    assert_eq!(tree.text(MAIN), V2);
}

#[test]
fn a_restart_that_is_due_is_made_up_for() {
    let tree = Tree::new(&[(MAIN, V2)]);
    let _listener = UnixListener::bind(tree.at(SOCKET)).unwrap();
    let job = job(&tree, 0);
    job.run_until(crate::install::Step::Registered).unwrap();
    assert_eq!(restarts(&tree), 0);
    assert!(job.run().unwrap().restarted);
    assert_eq!(restarts(&tree), 1);
}

#[test]
fn back_to_the_byte_if_it_fails() {
    // The command fails; or it works, and nobody answers.
    for (status, patience) in [(1, 10), (0, 0)] {
        let tree = Tree::new(&[(MAIN, V2)]);
        let before = tree.picture();
        let mut job = job(&tree, status);
        job.service.patience = std::time::Duration::from_secs(patience);
        let error = job.run().unwrap_err();
        assert_eq!(error.exit_code(), 5, "{error}");
        assert_eq!(restarts(&tree), 2);
        assert_same(&tree.picture(), &before);
    }
}

#[test]
fn a_tree_that_is_no_node_has_no_systemctl() {
    let tree = Tree::new(&[(MAIN, V2)]);
    let before = tree.picture();
    let mut job = tree.job();
    job.service = service(Restart::Unit(None));
    let error = job.run().unwrap_err().to_string();
    assert!(error.contains("--no-restart"), "{error}");
    assert_same(&tree.picture(), &before);
}
