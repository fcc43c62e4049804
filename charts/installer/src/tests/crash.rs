//! Installations that end in the middle.

use std::fs;

use super::tree::{DROP_IN, MAIN, Tree, assert_same};
use crate::install::Step;

const V2: &str = include_str!("../../fixtures/v2.toml");
const V3: &str = include_str!("../../fixtures/v3.toml");
const STEPS: [Step; 5] = [
    Step::Recorded,
    Step::Placed,
    Step::Verified,
    Step::InUse,
    Step::Registered,
];

#[test]
fn the_next_run_goes_on() {
    for text in [V2, V3] {
        let whole = Tree::new(&[(MAIN, text)]);
        whole.install().unwrap();
        for step in STEPS {
            let tree = Tree::new(&[(MAIN, text)]);
            tree.install_until(step);
            tree.install().unwrap();
            assert_same(&tree.picture(), &whole.picture());
        }
    }
}

#[test]
fn uninstalling_takes_back_what_was_done() {
    for text in [V2, V3] {
        for step in STEPS {
            let tree = Tree::new(&[(MAIN, text)]);
            let before = tree.picture();
            tree.install_until(step);
            tree.uninstall().unwrap();
            assert_same(&tree.picture(), &before);
        }
    }
}

#[test]
fn files_that_were_cut_short_go() {
    let tree = Tree::new(&[(MAIN, V3)]);
    let before = tree.picture();
    tree.install_until(Step::Verified);
    fs::create_dir_all(tree.at("/etc/containerd/conf.d")).unwrap();
    let mut noted = tree.text("/opt/mote/install.json");
    noted = noted.replace("\"/opt/mote\"", "\"/opt/mote\", \"/etc/containerd/conf.d\"");
    tree.put("/opt/mote/install.json", &noted);
    for path in [MAIN, DROP_IN, "/opt/mote/install.json"] {
        let (dir, name) = path.rsplit_once('/').unwrap();
        tree.put(&format!("{dir}/.mote-install.{name}"), "cut sho");
    }
    tree.uninstall().unwrap();
    assert_same(&tree.picture(), &before);
}

#[test]
fn a_lost_record_is_no_obstacle() {
    for text in [V2, V3] {
        let tree = Tree::new(&[(MAIN, text)]);
        let before = tree.text(MAIN);
        tree.install().unwrap();
        fs::remove_file(tree.at("/opt/mote/install.json")).unwrap();
        tree.install().unwrap();
        tree.uninstall().unwrap();
        assert_eq!(tree.text(MAIN), before);
        tree.install().unwrap();
        fs::remove_file(tree.at("/opt/mote/install.json")).unwrap();
        tree.uninstall().unwrap();
        assert_eq!(tree.text(MAIN), before);
        assert!(!tree.at("/opt/mote").exists());
        assert!(!tree.at(DROP_IN).exists());
    }
}

#[test]
fn an_upgrade_keeps_what_runs() {
    let tree = Tree::new(&[(MAIN, V2)]);
    let first = tree.install().unwrap().release;
    // A program that runs from the first release.
    let sleeper = tree.at(&format!("/opt/mote/releases/{first}/mote-vmm"));
    fs::remove_file(&sleeper).unwrap();
    fs::copy("/bin/sleep", &sleeper).unwrap();
    let mut child = std::process::Command::new(&sleeper).arg("60").spawn().unwrap();
    tree.release("two");
    let second = tree.install().unwrap();
    assert!(!second.same_release && second.changed.is_empty());
    assert!(sleeper.exists());
    assert!(
        fs::read_link(tree.at("/opt/mote/bin"))
            .unwrap()
            .ends_with(&second.release)
    );
    child.kill().unwrap();
    child.wait().unwrap();
    tree.install().unwrap();
    assert!(!sleeper.parent().unwrap().exists());
}

#[test]
fn pods_that_run_are_not_left_without_a_handler() {
    let tree = Tree::new(&[(MAIN, V2)]);
    let before = tree.picture();
    let release = tree.install().unwrap().release;
    let shim = tree.at(&format!("/opt/mote/releases/{release}/containerd-shim-mote-v1"));
    fs::remove_file(&shim).unwrap();
    fs::copy("/bin/sleep", &shim).unwrap();
    let mut child = std::process::Command::new(&shim).arg("60").spawn().unwrap();
    let installed = tree.picture();
    let refused = tree.uninstall().unwrap_err();
    assert_eq!(refused.exit_code(), 4);
    assert!(refused.to_string().contains(&child.id().to_string()), "{refused}");
    assert_same(&tree.picture(), &installed);
    let mut removal = tree.removal();
    removal.force = true;
    removal.run().unwrap();
    assert_same(&tree.picture(), &before);
    child.kill().unwrap();
    child.wait().unwrap();
}
