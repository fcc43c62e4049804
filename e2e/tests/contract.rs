//! The pod contract, item by item, in the words of CRI: what a pod's spec may say beside images, commands and volumes, and
//! what the kubelet wants to read afterwards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::Duration;

use mote_e2e::containerd::{Containerd, SANDBOXER, matrix};
use mote_e2e::cri::messages::{
    ContainerId, ContainerState, ContainerStats, ContainerStatsFilter, DnsConfig, ListContainerStatsRequest,
    PodSandboxId,
};
use mote_e2e::images::{Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{ctr, kvm, leaks, vmm};

fn probe(daemon: &Containerd) -> String {
    import(daemon, "contract", "probe-rust-p1")
}

fn import(daemon: &Containerd, name: &str, program: &str) -> String {
    let image = Image::program(name, Form::Rootfs, program);
    image.import(daemon).unwrap();
    image.name
}

fn exec(pod: &Pod<'_>, id: &str, words: &[&str]) {
    assert_eq!(pod.exec(id, words, 20).unwrap().exit_code, 0);
}

#[test]
fn hostname_and_dns() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let mut pod = Pod::run_edited(daemon, "names", |config| {
            config.hostname = "web-0".into();
            config.dns = Some(DnsConfig {
                servers: vec!["10.96.0.10".into()],
                searches: vec!["default.svc.cluster.local".into(), "svc.cluster.local".into()],
                options: vec!["ndots:5".into()],
            });
        })
        .unwrap();
        let env = pod.output(&Spec::new("env", &image).args(&["env"])).unwrap();
        assert!(env.lines().any(|line| line == "HOSTNAME=web-0"), "{env}");
        let read = Spec::new("hostname", &image).args(&["read", "/etc/hostname"]);
        assert_eq!(pod.output(&read).unwrap(), "/etc/hostname: web-0\n");
        let read = Spec::new("dns", &image).args(&["file", "/etc/resolv.conf"]);
        let text = pod.output(&read).unwrap();
        let expected = [
            "nameserver 10.96.0.10",
            "options ndots:5",
            "search default.svc.cluster.local svc.cluster.local",
        ];
        assert_eq!(text.lines().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
        // A read-only root makes them read-only as well.
        let write = Spec::new("write", &image)
            .args(&["write", "/etc/hostname", "x"])
            .readonly_rootfs();
        assert_eq!(pod.output(&write).unwrap(), "/etc/hostname: ReadOnlyFilesystem\n");
        pod.remove().unwrap();
    });
}

#[test]
fn the_nodes_network() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = import(daemon, "contract-net", "net-rust-p2");
        // Somebody on the node's loopback, who sends back what comes.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let mut pod = Pod::run(daemon, "own-network").unwrap();
        let spec = Spec::new("main", &image).args(&["tcp-client", &address, "1000"]);
        let (status, log) = pod.run_container(&spec).unwrap();
        assert_ne!(status.exit_code, 0, "a pod has a loopback of its own");
        assert!(log.stderr.contains("ConnectionRefused"), "{log:?}");
        pod.remove().unwrap();
        if daemon.handler == SANDBOXER {
            // containerd itself ends there, before it asks the shim. (2.1.9 `core/runtime/v2/bundle.go`, `NewBundle`
            // without a spec)
            return;
        }
        let mut pod = Pod::run_edited(daemon, "host-network", |config| {
            let linux = config.linux.get_or_insert_default();
            let context = linux.security_context.get_or_insert_default();
            context.namespace_options.get_or_insert_default().network = 2;
        })
        .unwrap();
        assert_eq!(pod.ip().unwrap(), "", "its address is the node's");
        let text = pod.output(&spec).unwrap();
        assert!(text.starts_with("1000 bytes from 127.0.0.1"), "{text}");
        pod.remove().unwrap();
        echo.join().unwrap();
    });
}

#[test]
fn init_containers_and_restarts() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let work = daemon.folder("init").unwrap();
        let mut pod = Pod::run(daemon, "init").unwrap();
        // The kubelet waits for the end of one before it creates the next.
        let init = Spec::new("init", &image)
            .args(&["write", "/work/ready", "prepared"])
            .mount(&work, "/work", false);
        assert_eq!(pod.output(&init).unwrap(), "/work/ready: written\n");
        let app = Spec::new("app", &image)
            .args(&["read", "/work/ready"])
            .mount(&work, "/work", false);
        assert_eq!(pod.output(&app).unwrap(), "/work/ready: prepared\n");
        // A container that fails is made anew, with the next number and a layer of its own.
        let mut before: Option<String> = None;
        for attempt in 0..3 {
            let crash = Spec::new("crash", &image).args(&["panic"]).attempt(attempt);
            let id = pod.start(&crash).unwrap();
            let status = pod.wait(&id).unwrap();
            assert_eq!((status.exit_code, status.reason.as_str()), (134, "Error"));
            assert_eq!(status.metadata.unwrap().attempt, attempt);
            if let Some(before) = before.replace(id) {
                pod.remove_container(&before).unwrap();
            }
        }
        pod.remove().unwrap();
    });
}

#[test]
fn the_downward_api_in_the_environment() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let mut pod = Pod::run(daemon, "downward").unwrap();
        let ip = pod.ip().unwrap();
        let pairs = [
            ("POD_NAME", "downward"),
            ("POD_IP", ip.as_str()),
            ("MEMORY_LIMIT", "134217728"),
            ("LABELS", "app=\"a b\"\ntier=\"grün\""),
            ("EMPTY", ""),
        ];
        let mut spec = Spec::new("main", &image).args(&["env"]);
        for (name, value) in pairs {
            spec = spec.env(name, value);
        }
        let text = pod.output(&spec).unwrap();
        for (name, value) in pairs {
            assert!(text.contains(&format!("{name}={value}\n")), "{name}: {text}");
        }
        pod.remove().unwrap();
    });
}

#[test]
fn the_termination_message() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let folder = daemon.folder("termination").unwrap();
        let mut pod = Pod::run(daemon, "termination").unwrap();
        let file = |name: &str| {
            let path = folder.join(name);
            fs::write(&path, "").unwrap();
            path
        };
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        let trap = file("trap");
        let spec = Spec::new("trap", &image)
            .args(&["panic"])
            .mount(&trap, "/dev/termination-log", false);
        let (status, _) = pod.run_container(&spec).unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (134, "Error"));
        assert!(text(&trap).contains("unreachable"), "{:?}", text(&trap));
        // terminationMessagePath, which the kubelet tells in an annotation beside the mount.
        let elsewhere = file("elsewhere");
        let spec = Spec::new("elsewhere", &image)
            .args(&["panic"])
            .annotation("io.kubernetes.container.terminationMessagePath", "/tmp/why")
            .mount(&elsewhere, "/tmp/why", false);
        pod.run_container(&spec).unwrap();
        assert!(text(&elsewhere).contains("unreachable"), "{:?}", text(&elsewhere));
        // What the program says itself counts more.
        let own = file("own");
        let spec = Spec::new("own", &image)
            .args(&["write", "/dev/termination-log", "my own words"])
            .mount(&own, "/dev/termination-log", false);
        pod.run_container(&spec).unwrap();
        assert_eq!(text(&own), "my own words");
        let killed = file("killed");
        let spec = Spec::new("killed", &image)
            .args(&["alloc"])
            .memory(96 << 20)
            .mount(&killed, "/dev/termination-log", false);
        let (status, _) = pod.run_container(&spec).unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
        assert!(text(&killed).contains("memory"), "{:?}", text(&killed));
        pod.remove().unwrap();
    });
}

#[test]
fn pre_stop_comes_before_sigterm() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let work = daemon.folder("pre-stop").unwrap();
        let mut pod = Pod::run(daemon, "pre-stop").unwrap();
        let spec = Spec::new("main", &image)
            .args(&["sleep", "600000"])
            .mount(&work, "/work", false);
        let id = pod.start(&spec).unwrap();
        pod.wait_for_output("main", "sleeping").unwrap();
        exec(&pod, &id, &["/app.wasm", "write", "/work/stopping", "soon"]);
        assert_eq!(pod.status(&id).unwrap().state(), ContainerState::Running);
        pod.stop_container(&id, 30).unwrap();
        assert_eq!(pod.wait(&id).unwrap().exit_code, 143);
        assert_eq!(fs::read_to_string(work.join("stopping")).unwrap(), "soon");
        pod.remove().unwrap();
    });
}

/// Nanoseconds of CPU time and bytes of memory.
fn figures(stats: &ContainerStats) -> (u64, u64) {
    let cpu = stats
        .cpu
        .as_ref()
        .and_then(|cpu| cpu.usage_core_nano_seconds.clone());
    let memory = stats
        .memory
        .as_ref()
        .and_then(|memory| memory.working_set_bytes.clone());
    (cpu.unwrap_or_default().value, memory.unwrap_or_default().value)
}

#[test]
fn stats_have_figures() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let mut pod = Pod::run(daemon, "stats").unwrap();
        let id = pod.start(&Spec::new("main", &image).args(&["spin"])).unwrap();
        pod.wait_for_output("main", "spinning").unwrap();
        thread::sleep(Duration::from_millis(200));
        let request = ContainerId {
            container_id: id.clone(),
        };
        let one = pod.cri.container_stats(request).unwrap().stats.unwrap();
        let (cpu, memory) = figures(&one);
        // The machine may have other things to do.
        assert!(cpu > 5_000_000, "{cpu} ns of CPU time");
        assert!(memory > 1 << 20, "{memory} bytes");
        let filter = ContainerStatsFilter {
            pod_sandbox_id: pod.id.clone(),
        };
        let request = ListContainerStatsRequest { filter: Some(filter) };
        let all = pod.cri.list_container_stats(request).unwrap().stats;
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].attributes.as_ref().unwrap().id, id);
        assert!(figures(&all[0]).0 >= cpu);
        // The pod's cgroup, and its containers in it.
        let request = PodSandboxId {
            pod_sandbox_id: pod.id.clone(),
        };
        let stats = pod.cri.pod_sandbox_stats(request).unwrap().stats.unwrap();
        let linux = stats.linux.unwrap();
        let whole = ContainerStats {
            attributes: None,
            cpu: linux.cpu,
            memory: linux.memory,
        };
        let (pods_cpu, pods_memory) = figures(&whole);
        assert!(
            pods_cpu >= cpu && pods_memory > 1 << 20,
            "{pods_cpu} ns, {pods_memory} bytes"
        );
        assert_eq!(linux.containers.len(), 1);
        pod.remove().unwrap();
    });
}

#[test]
fn cgroups_of_the_systemd_driver() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        // As kubepods.slice/kubepods-podUID.slice: the last name tells the whole path.
        let name = format!("{}{}", daemon.cgroup, daemon.handler).replace(['/', '-', '.'], "");
        let (outer, inner) = (format!("{name}.slice"), format!("{name}-pod1.slice"));
        let mut pod = Pod::run_edited(daemon, "systemd", |config| {
            config.linux.get_or_insert_default().cgroup_parent = format!("/{outer}/{inner}");
        })
        .unwrap();
        let id = pod
            .start(
                &Spec::new("main", &image)
                    .args(&["sleep", "600000"])
                    .memory(64 << 20),
            )
            .unwrap();
        pod.wait_for_output("main", "sleeping").unwrap();
        let scope = format!("/{outer}/{inner}/cri-containerd-{id}.scope");
        assert_eq!(vmm::of_cgroup(&scope).len(), 1, "the VM is in {scope}");
        pod.stop_container(&id, 0).unwrap();
        pod.remove().unwrap();
        assert_eq!(leaks::cgroups_of(&scope), Vec::<String>::new());
        leaks::remove_cgroups(&format!("/{outer}"));
    });
}

#[test]
fn a_checkpoint_is_refused_by_name() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon);
        let mut pod = Pod::run(daemon, "checkpoint").unwrap();
        let id = pod
            .start(&Spec::new("main", &image).args(&["sleep", "600000"]))
            .unwrap();
        let refused = ctr::task(daemon, "k8s.io", "checkpoint", &id);
        assert_ne!(refused.code, 0);
        assert!(
            refused.stderr.contains("a micro-VM's state"),
            "{}",
            refused.stderr
        );
        assert_eq!(pod.status(&id).unwrap().state(), ContainerState::Running);
        pod.remove().unwrap();
    });
}
