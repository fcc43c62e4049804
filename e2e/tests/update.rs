//! Limits that change while a container runs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use http::StatusCode;
use mote_e2e::containerd::{Containerd, matrix};
use mote_e2e::cri::messages::{LinuxContainerResources, UpdateContainerResourcesRequest};
use mote_e2e::images::{Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::serve::load::get;
use mote_e2e::{kvm, leaks};

const MIB: i64 = 1 << 20;

fn image(daemon: &Containerd, name: &str, program: &str) -> String {
    let image = Image::program(name, Form::Rootfs, program);
    image.import(daemon).unwrap();
    image.name
}

/// What the kubelet does to resize a container in place.
fn update(pod: &Pod<'_>, id: &str, resources: LinuxContainerResources) -> Result<(), String> {
    let request = UpdateContainerResourcesRequest {
        container_id: id.into(),
        linux: Some(resources),
    };
    let updated = pod.cri.update_container_resources(request);
    updated.map(drop).map_err(|status| status.message().to_owned())
}

fn memory(mebibytes: i64) -> LinuxContainerResources {
    LinuxContainerResources {
        memory_limit_in_bytes: mebibytes * MIB,
        ..LinuxContainerResources::default()
    }
}

/// A file of the container's cgroup, of the first name that exists.
fn limit(pod: &Pod<'_>, id: &str, names: &[&str]) -> String {
    let relative = format!("{}/{id}", pod.cgroup().trim_start_matches('/'));
    let files = leaks::cgroup_roots()
        .into_iter()
        .flat_map(|root| names.iter().map(move |name| (root.clone(), *name)))
        .map(|(root, name)| root.join(&relative).join(name));
    let text = files.filter_map(|file| std::fs::read_to_string(file).ok()).next();
    text.unwrap_or_default().trim().to_owned()
}

fn run_touch(pod: &Pod<'_>, id: &str, mebibytes: &str) -> i32 {
    pod.exec(id, &["/app.wasm", "touch", mebibytes], 30)
        .unwrap()
        .exit_code
}

#[test]
fn a_program_gets_more_memory_and_less() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = image(daemon, "update", "probe-rust-p1");
        let volume = daemon.folder("update").unwrap();
        let grow = |mebibytes: &str| std::fs::write(volume.join("size"), mebibytes).unwrap();
        let mut pod = Pod::run(daemon, "update").unwrap();
        let spec = Spec::new("main", &image)
            .args(&["grow", "/vol/size"])
            .memory(64 * MIB)
            .mount(&volume, "/vol", true);
        let id = pod.start(&spec).unwrap();
        pod.wait_for_output("main", "waiting").unwrap();
        assert_eq!(run_touch(&pod, &id, "100"), 137, "over the limit");

        let more = LinuxContainerResources {
            cpu_shares: 512,
            cpu_quota: 150_000,
            cpu_period: 50_000,
            ..memory(256)
        };
        update(&pod, &id, more).unwrap();
        let bytes = limit(&pod, &id, &["memory.limit_in_bytes", "memory.max"]);
        assert_eq!(bytes, ((256 + 64) * MIB).to_string(), "limit and overhead");
        let quota = limit(&pod, &id, &["cpu.cfs_quota_us", "cpu.max"]);
        assert!(quota.starts_with("150000"), "{quota}");
        let shares = limit(&pod, &id, &["cpu.shares", "cpu.weight"]);
        assert!(["512", "20"].contains(&shares.as_str()), "{shares}");
        grow("100");
        pod.wait_for_output("main", "touched 100 MiB").unwrap();
        assert_eq!(run_touch(&pod, &id, "200"), 0, "a process that came later");

        let refused = update(&pod, &id, memory(1)).unwrap_err();
        assert!(refused.contains("memory"), "{refused}");
        update(&pod, &id, memory(128)).unwrap();
        grow("150");
        let status = pod.wait(&id).unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
        pod.remove().unwrap();
    });
}

#[test]
fn the_vms_of_a_server_get_more_memory() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = image(daemon, "update-server", "exchange-rust");
        let mut pod = Pod::run(daemon, "update-server").unwrap();
        let address = SocketAddr::new(pod.ip().unwrap().parse().unwrap(), 8080);
        let id = pod.start(&Spec::new("main", &image).memory(64 * MIB)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let ask = |path: &str| runtime.block_on(get(address, path));
        while ask("/hello").is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(ask("/eat?100").unwrap().0, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(ask("/hello").unwrap().0, StatusCode::OK, "another VM runs");
        update(&pod, &id, memory(256)).unwrap();
        assert_eq!(ask("/eat?100").unwrap(), (StatusCode::OK, "ate 100 MiB\n".into()));
        pod.stop_container(&id, 5).unwrap();
        pod.remove().unwrap();
    });
}
