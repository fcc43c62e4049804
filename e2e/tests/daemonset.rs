//! The chart on a node of a cluster, from nothing to pods and back to the byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mote_e2e::cluster::kubectl::{Namespace, pod};
use mote_e2e::cluster::node::{Life, Node};
use mote_e2e::cluster::plan::NODE;
use mote_e2e::cluster::shell::wait;
use mote_e2e::cluster::{mote, samples};
use mote_e2e::{kvm, leaks, paths};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// The node's files in folders that an installer may write to: what lies over the host's own.
fn files(node: &Node) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (name, below) in [("etc", "containerd"), ("opt", ""), ("var", "lib/mote")] {
        collect(&node.plan.files(name).join(below), &mut found);
    }
    found
}

fn collect(path: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(kind) = fs::symlink_metadata(path) else {
        return;
    };
    if kind.is_dir() {
        found.insert(path.into(), Vec::new());
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), found);
        }
    } else if let Ok(bytes) = fs::read(path) {
        found.insert(path.into(), bytes);
    }
}

#[test]
fn a_node_is_set_up_mended_and_cleaned() {
    if !kvm::ready() {
        return;
    }
    let dir = paths::work()
        .join("run")
        .join(format!("mote-daemonset-{}", std::process::id()));
    let program = Path::new(env!("CARGO_BIN_EXE_cluster"));
    let node = Node::start(program, &dir, Life::Ours).unwrap();
    let result = std::panic::catch_unwind(|| life_of_a_node(&node));
    let left = node.leftovers();
    let logs = node.keep_logs();
    node.stop().unwrap();
    assert!(result.is_ok(), "the node's logs are in {logs:?}");
    assert!(left.is_empty(), "left in the node: {left:?}");
}

fn life_of_a_node(node: &Node) {
    let kubectl = node.kubectl();
    for image in samples::images().unwrap() {
        node.import(&image).unwrap();
    }
    let before = files(node);
    assert_eq!(mote::label(&kubectl).unwrap(), "");

    mote::install(node).unwrap();
    kubectl
        .run(&[
            "--namespace",
            mote::NAMESPACE,
            "rollout",
            "status",
            "daemonset/mote-installer",
            "--timeout=60s",
        ])
        .unwrap();
    let space = Namespace::new(&kubectl, "installed").unwrap();
    a_pod_gets_the_overhead(node, &space);
    what_is_broken_is_mended(node, &before);

    // A pod that runs holds the uninstalling up.
    space
        .apply(&pod("last", "mote.test/tool:1", &["sleep", "600000"]))
        .unwrap();
    let ready = ["wait", "--for=condition=Ready", "pod/last", "--timeout=60s"];
    space.run(&ready).unwrap();
    thread::scope(|scope| {
        let uninstalling = scope.spawn(|| mote::uninstall(&kubectl));
        let path = r"jsonpath={.metadata.annotations.mote\.dev/uninstall}";
        wait("a node that waits for its pod", MINUTE, || {
            let said = kubectl.run(&["get", "node", NODE, "-o", path])?;
            anyhow::ensure!(said.contains("waiting: 1 pods of handler mote"), "{said:?}");
            Ok(())
        })
        .unwrap();
        assert_eq!(mote::label(&kubectl).unwrap(), "");
        space.run(&["delete", "pod", "last"]).unwrap();
        uninstalling.join().unwrap().unwrap();
    });
    assert_eq!(files(node), before);
    let marks = kubectl.get(&["node", NODE]).unwrap()["metadata"].to_string();
    assert!(!marks.contains("mote.dev/"), "{marks}");
    let classes = kubectl.run(&["get", "runtimeclasses", "-o", "name"]).unwrap();
    assert_eq!(classes, "");
    // What is the node's own goes on.
    kubectl.run(&["get", "--raw=/readyz"]).unwrap();
}

/// The scheduler counts it, and the kubelet gives it to the pod's cgroup.
fn a_pod_gets_the_overhead(node: &Node, space: &Namespace) {
    let mut limited = pod("limited", "mote.test/tool:1", &["sleep", "600000"]);
    limited["spec"]["containers"][0]["resources"] = json!({ "limits": { "memory": "64Mi", "cpu": "1" } });
    space.apply(&limited).unwrap();
    let ready = ["wait", "--for=condition=Ready", "pod/limited", "--timeout=60s"];
    space.run(&ready).unwrap();
    let object = space.get(&["pod", "limited"]).unwrap();
    assert_eq!(object["spec"]["overhead"]["memory"], "10Mi");
    assert_eq!(object["spec"]["nodeSelector"][mote::READY], "true");
    // With limits for all of its containers the pod is of the class Guaranteed.
    let uid = object["metadata"]["uid"].as_str().unwrap();
    let cgroup = format!("{}/kubepods/pod{uid}", node.plan.cgroup());
    assert_eq!(memory_limit(&cgroup), Some(74 * MIB));
    space.run(&["delete", "pod", "limited"]).unwrap();
}

/// The limit of a cgroup, in bytes, on cgroup v1 or v2.
fn memory_limit(cgroup: &str) -> Option<u64> {
    let text = leaks::cgroup_roots().iter().find_map(|root| {
        let dir = root.join(cgroup.trim_start_matches('/'));
        let read = |file: &str| fs::read_to_string(dir.join(file)).ok();
        read("memory.limit_in_bytes").or_else(|| read("memory.max"))
    })?;
    text.trim().parse().ok()
}

/// The label, and the configuration, which others may rewrite.
fn what_is_broken_is_mended(node: &Node, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let kubectl = node.kubectl();
    let config = node.plan.files("etc").join("containerd/config.toml");
    let installed = fs::read(&config).unwrap();
    assert_ne!(installed, before[&config]);
    let rewritten = String::from_utf8(before[&config].clone()).unwrap();
    write_inside(node, "/etc/containerd/config.toml", &rewritten);
    wait("the runtime in containerd's configuration", MINUTE, || {
        anyhow::ensure!(fs::read(&config)? == installed, "it is not there");
        Ok(())
    })
    .unwrap();
    kubectl
        .run(&["label", "node", NODE, &format!("{}-", mote::READY)])
        .unwrap();
    wait("the label", MINUTE, || {
        anyhow::ensure!(mote::label(&kubectl)? == "true", "it is not there");
        Ok(())
    })
    .unwrap();
}

/// Writes a file of the node's; nobody may change the layer below a mounted one.
fn write_inside(node: &Node, path: &str, text: &str) {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = node
        .inside(Path::new("tee"))
        .unwrap()
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
