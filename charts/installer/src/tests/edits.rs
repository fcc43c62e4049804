//! Files that somebody changed between installing and uninstalling.

use super::tree::{DROP_IN, MAIN, Tree};

const V2: &str = include_str!("../../fixtures/v2.toml");
const V3: &str = include_str!("../../fixtures/v3.toml");

#[test]
fn changes_around_the_block_stay() {
    let tree = Tree::new(&[(MAIN, V2)]);
    tree.install().unwrap();
    let edited = tree.text(MAIN).replace("pause:3.9", "pause:3.10") + "\n[debug]\n  level = \"debug\"\n";
    tree.put(MAIN, &edited);
    assert!(tree.install().unwrap().changed.len() <= 1);
    tree.uninstall().unwrap();
    let left = tree.text(MAIN);
    assert!(left.contains("pause:3.10") && left.contains("level = \"debug\""));
    assert!(!left.contains("mote"), "{left}");
}

#[test]
fn changes_inside_of_the_block_are_mended() {
    let tree = Tree::new(&[(MAIN, V2)]);
    tree.install().unwrap();
    let installed = tree.text(MAIN);
    tree.put(
        MAIN,
        &installed.replace("io.containerd.mote.v1", "io.containerd.other.v1"),
    );
    assert_eq!(tree.install().unwrap().changed.len(), 1);
    assert_eq!(tree.text(MAIN), installed);
}

#[test]
fn an_import_of_somebody_else_stays() {
    let tree = Tree::new(&[(MAIN, V3)]);
    tree.install().unwrap();
    let entry = format!("\"{DROP_IN}\"");
    let edited = tree
        .text(MAIN)
        .replace(&entry, &format!("{entry}, '/etc/containerd/new.toml'"));
    tree.put(MAIN, &edited);
    tree.uninstall().unwrap();
    assert!(tree.text(MAIN).contains("imports = ['/etc/containerd/new.toml']"));
}

#[test]
fn a_drop_in_that_was_replaced_is_not_ours() {
    let tree = Tree::new(&[(MAIN, V3)]);
    tree.install().unwrap();
    tree.put(DROP_IN, "version = 3\n# mine\n");
    let refused = tree.install().unwrap_err().to_string();
    assert!(refused.contains("somebody else wrote it"), "{refused}");
    tree.uninstall().unwrap();
    assert_eq!(tree.text(DROP_IN), "version = 3\n# mine\n");
}
