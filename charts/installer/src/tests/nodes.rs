//! Each distribution.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::tree::{DROP_IN, K3S, MAIN, MICROK8S, RKE2, Tree};
use crate::distribution::Distribution;

const V2: &str = include_str!("../../fixtures/v2.toml");
const V2_FOREIGN: &str = include_str!("../../fixtures/v2-foreign.toml");
const V2_DEBIAN: &str = include_str!("../../fixtures/v2-debian.toml");
const KIND: &str = include_str!("../../fixtures/kind.toml");
const V3: &str = include_str!("../../fixtures/v3.toml");
const V3_IMPORTS: &str = include_str!("../../fixtures/v3-imports.toml");
const K3S_V2: &str = include_str!("../../fixtures/k3s-v2.toml");
const K3S_V3: &str = include_str!("../../fixtures/k3s-v3.toml");
const K3S_V3_IMPORTS: &str = include_str!("../../fixtures/k3s-v3-imports.toml");
const K0S_V2: &str = include_str!("../../fixtures/k0s-v2.toml");
const K0S_V3: &str = include_str!("../../fixtures/k0s-v3.toml");
const MICROK8S_TEMPLATE: &str = include_str!("../../fixtures/microk8s.toml");

const TABLE_V2: &str = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.mote]";
const TABLE_V3: &str = "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.mote]";

#[test]
fn version_2_has_a_block_in_the_main_file() {
    for text in [V2, V2_FOREIGN, V2_DEBIAN, KIND] {
        let tree = Tree::new(&[(MAIN, text)]);
        let (file, with) = tree.there_and_back(Distribution::Containerd);
        assert_eq!(file, Path::new(MAIN));
        assert!(with.starts_with(text) && with.contains(TABLE_V2));
        let parsed = toml_edit::Document::parse(with.as_str()).unwrap();
        let cri = &parsed.as_table()["plugins"]["io.containerd.grpc.v1.cri"];
        let mote = &cri["containerd"]["runtimes"]["mote"];
        let shim = "/opt/mote/bin/containerd-shim-mote-v1";
        assert_eq!(mote["runtime_type"].as_str(), Some(shim));
    }
}

#[test]
fn version_3_has_a_drop_in() {
    let tree = Tree::new(&[
        (MAIN, V3_IMPORTS),
        ("/etc/containerd/conf.d/10-kata.toml", "version = 3\n"),
        ("/etc/containerd/certs.d/hosts.toml", "not = 'ours'"),
    ]);
    let (file, text) = tree.there_and_back(Distribution::Containerd);
    assert_eq!(file, Path::new(DROP_IN));
    assert!(text.contains("version = 3\n") && text.contains(TABLE_V3));
    assert!(text.contains("runtime_path = \"/opt/mote/bin/containerd-shim-mote-v1\""));
}

#[test]
fn version_3_without_imports_gets_one() {
    for text in [
        V3,
        "version = 3",
        "# c\nversion = 3\nimports = [ '/a.toml', ]\n[debug]\n",
    ] {
        let tree = Tree::new(&[(MAIN, text)]);
        tree.install().unwrap();
        assert!(tree.text(MAIN).contains(DROP_IN), "{}", tree.text(MAIN));
        tree.uninstall().unwrap();
        tree.there_and_back(Distribution::Containerd);
    }
}

#[test]
fn a_main_file_that_is_a_link_stays_one() {
    let tree = Tree::new(&[("/data/containerd.toml", V2), ("/etc/containerd/x", "")]);
    symlink("/data/containerd.toml", tree.at(MAIN)).unwrap();
    tree.there_and_back(Distribution::Containerd);
}

#[test]
fn k3s_and_rke2_have_templates() {
    for (dir, distribution) in [(K3S, Distribution::K3s), (RKE2, Distribution::Rke2)] {
        for (rendered, template, table) in [
            (K3S_V2, "config.toml.tmpl", TABLE_V2),
            (K3S_V3, "config-v3.toml.tmpl", TABLE_V3),
        ] {
            let path = format!("{dir}/{template}");
            let tree = Tree::new(&[(&format!("{dir}/config.toml"), rendered)]);
            let (file, text) = tree.there_and_back(distribution);
            assert_eq!(file, Path::new(&path));
            assert!(text.contains("\n{{ template \"base\" . }}\n") && text.contains(table));

            // Somebody has one already.
            tree.put(&path, "{{ template \"base\" . }}\n[x]\n  y = '{{ .Z }}'");
            let (_, text) = tree.there_and_back(distribution);
            assert_eq!(text.matches("{{ template \"base\" . }}").count(), 1);
        }
    }
}

#[test]
fn a_newer_k3s_has_drop_ins() {
    let tree = Tree::new(&[(&format!("{K3S}/config.toml"), K3S_V3_IMPORTS)]);
    let (file, text) = tree.there_and_back(Distribution::K3s);
    assert_eq!(file, Path::new(K3S).join("config-v3.toml.d/mote.toml"));
    assert!(text.contains(TABLE_V3));
}

#[test]
fn k3s_stays_where_it_was_registered() {
    let rendered = format!("{K3S}/config.toml");
    let tree = Tree::new(&[(&rendered, K3S_V3)]);
    tree.install().unwrap();
    // An update of k3s that imports drop-ins.
    tree.put(&rendered, K3S_V3_IMPORTS);
    let again = tree.install().unwrap();
    assert!(again.changed.is_empty());
    tree.uninstall().unwrap();
    assert!(!tree.at(&format!("{K3S}/config-v3.toml.tmpl")).exists());
}

#[test]
fn k0s_has_drop_ins() {
    for (text, table) in [(K0S_V2, TABLE_V2), (K0S_V3, TABLE_V3)] {
        let tree = Tree::new(&[
            ("/etc/k0s/containerd.toml", text),
            ("/etc/k0s/containerd.d/other.toml", "version = 2\n"),
        ]);
        let (file, with) = tree.there_and_back(Distribution::K0s);
        assert_eq!(file, Path::new("/etc/k0s/containerd.d/mote.toml"));
        assert!(with.contains(table));
    }
    // Without the folder, too.
    let tree = Tree::new(&[("/etc/k0s/containerd.toml", K0S_V3)]);
    tree.there_and_back(Distribution::K0s);
    // A configuration that somebody took over.
    let own = K0S_V3.replace("k0s_managed=true", "mine");
    let tree = Tree::new(&[("/etc/k0s/containerd.toml", &own)]);
    tree.there_and_back(Distribution::K0s);
}

#[test]
fn microk8s_has_a_template() {
    let tree = Tree::new(&[(MICROK8S, MICROK8S_TEMPLATE)]);
    let (file, text) = tree.there_and_back(Distribution::Microk8s);
    assert_eq!(file, Path::new(MICROK8S));
    assert!(text.contains(TABLE_V2) && text.contains("${SNAPSHOTTER}"));
}

#[test]
fn a_containerd_of_docker_beside_k3s_is_not_meant() {
    let tree = Tree::new(&[(MAIN, V2), (&format!("{K3S}/config.toml"), K3S_V3)]);
    tree.there_and_back(Distribution::K3s);
}

#[test]
fn where_it_is_told_to_be() {
    let tree = Tree::new(&[("/data/c.toml", V2)]);
    let mut job = tree.job();
    job.node.config = Some("/data/c.toml".into());
    job.node.prefix = "/usr/local/lib/mote".into();
    let before = tree.picture();
    job.run().unwrap();
    assert!(tree.text("/data/c.toml").contains("/usr/local/lib/mote/bin/"));
    let mut removal = tree.removal();
    removal.node = job.node.clone();
    removal.run().unwrap();
    assert_eq!(tree.picture(), before);
}
