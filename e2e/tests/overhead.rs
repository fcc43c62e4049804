//! What a pod costs beside its guest's memory: the RuntimeClass's overhead has to cover it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::thread;
use std::time::Duration;

use mote_e2e::containerd::Containerd;
use mote_e2e::images::{self, Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{kvm, paths, vmm};
use serde_json::Value;

const PODS: usize = 10;

#[test]
fn the_overhead_of_the_chart_covers_a_pod() {
    if !kvm::ready() {
        return;
    }
    let daemon = Containerd::shared();
    images::import_pause(daemon).unwrap();
    let image = Image::program("overhead", Form::Rootfs, "probe-rust-p1");
    image.import(daemon).unwrap();
    let mut pods = Vec::new();
    let mut most = 0;
    for number in 0..PODS {
        let mut pod = Pod::run(daemon, &format!("overhead-{number}")).unwrap();
        pod.start(&Spec::new("main", &image.name).args(&["sleep", "600000"]))
            .unwrap();
        pod.wait_for_output("main", "sleeping").unwrap();
        pods.push(pod);
        if number == 0 {
            // Nothing is shared yet: the first pod of a node.
            most = report("1 pod", &pods);
        }
    }
    most = most.max(report("10 pods", &pods));
    let covered = overhead();
    for pod in pods {
        pod.remove().unwrap();
    }
    assert!(
        most <= covered,
        "a pod takes {most} KiB, and the RuntimeClass says {covered} KiB"
    );
}

/// Prints the medians, and returns what is larger: the processes' memory, or what the pod's cgroup is charged with, which
/// is without the shim and with the kernel's part. KiB, with the guest's own memory in it.
fn report(what: &str, pods: &[Pod<'_>]) -> u64 {
    thread::sleep(Duration::from_millis(300));
    let median = |pids: &dyn Fn(&Pod<'_>) -> Vec<u32>| {
        let sum = |pod| pids(pod).iter().map(|pid| vmm::pss_kib(*pid).unwrap()).sum();
        let mut all: Vec<u64> = pods.iter().map(sum).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let shim = median(&|pod| vmm::shim(&pod.id));
    let vmm = median(&|pod| vmm::of_cgroup(pod.cgroup()));
    let mut charged: Vec<u64> = pods.iter().map(|pod| charged(pod.cgroup())).collect();
    charged.sort_unstable();
    let charged = charged[charged.len() / 2];
    println!(
        "{what}: PSS {shim} KiB shim, {vmm} KiB mote-vmm with its guest, together {} KiB; cgroup {charged} KiB",
        shim + vmm
    );
    charged.max(shim + vmm)
}

/// What a cgroup is charged with, in KiB: `memory.current` of version 2, `memory.usage_in_bytes` of version 1.
fn charged(cgroup: &str) -> u64 {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"]
        .iter()
        .flat_map(|root| {
            ["memory.current", "memory.usage_in_bytes"].map(|file| format!("{root}{cgroup}/{file}"))
        })
        .find_map(|path| std::fs::read_to_string(path).ok())
        .map_or(0, |text| text.trim().parse::<u64>().unwrap() / 1024)
}

/// `overhead.podFixed.memory` of the chart, in KiB.
fn overhead() -> u64 {
    let output = Command::new(paths::work().join("chart/render"))
        .arg(paths::root().join("charts/mote"))
        .args(["r", "n"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let class = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|object| object["kind"] == "RuntimeClass")
        .unwrap();
    let memory = class["overhead"]["podFixed"]["memory"]
        .as_str()
        .unwrap()
        .to_string();
    memory.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() * 1024
}
