//! Pods by CRI: what the kubelet does, in its order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::containerd::{Containerd, matrix};
use mote_e2e::cri::messages::{ContainerState, Empty};
use mote_e2e::images::{FORMS, Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{kvm, leaks, vmm};

fn image(daemon: &Containerd, name: &str, form: Form, program: &str) -> String {
    let image = Image::program(name, form, program);
    image.import(daemon).unwrap();
    image.name
}

#[test]
fn life_of_a_pod() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = image(daemon, "cri-life", Form::Rootfs, "probe-rust-p1");
        let mut pod = Pod::run(daemon, "life").unwrap();
        assert_ne!(pod.ip().unwrap(), "", "CNI gave the pod an address");
        assert!(
            vmm::of_cgroup(pod.cgroup()).is_empty(),
            "the sandbox is bookkeeping and has no process of its own"
        );

        let id = pod
            .create(&Spec::new("main", &image).args(&["sleep", "2000"]))
            .unwrap();
        assert_eq!(pod.status(&id).unwrap().state(), ContainerState::Created);
        pod.cri
            .start_container(mote_e2e::cri::messages::ContainerId {
                container_id: id.clone(),
            })
            .unwrap();
        pod.wait_for_output("main", "sleeping").unwrap();
        assert_eq!(pod.status(&id).unwrap().state(), ContainerState::Running);

        // It is a VM: its process holds KVM's objects. And the leak check sees what it should see later.
        let vmms = vmm::of_cgroup(pod.cgroup());
        assert_eq!(vmms.len(), 1, "one micro-VM for one container");
        let objects = vmm::kvm_objects(vmms[0]).unwrap();
        assert!(
            objects.iter().any(|object| object.contains("vcpu")),
            "{objects:?}"
        );
        let seen = leaks::of_ids(daemon, std::slice::from_ref(&pod.id));
        assert!(seen.iter().any(|line| line.starts_with("process")), "{seen:?}");

        let status = pod.wait(&id).unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
        assert!(
            status.started_at >= status.created_at && status.finished_at > status.started_at,
            "{status:?}"
        );
        assert_eq!(pod.log("main").unwrap().stdout, "sleeping\nawake\n");
        assert!(
            vmm::of_cgroup(pod.cgroup()).is_empty(),
            "the VM ends with its program"
        );

        pod.remove_container(&id).unwrap();
        let left = pod.cri.list_containers(Empty {}).unwrap().containers;
        assert!(left.iter().all(|container| container.id != id), "{left:?}");
        pod.remove().unwrap();
    });
}

#[test]
fn every_form_of_image() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let mut pod = Pod::run(daemon, "forms").unwrap();
        for form in FORMS.into_iter().chain([Form::LinuxRootfs]) {
            if !daemon.takes(form) {
                continue;
            }
            for (program, line) in [
                ("hello-rust-p1", "hello from rust, wasi 0.1\n"),
                ("hello-rust-p2", "hello from rust, wasi 0.2\n"),
            ] {
                let name = format!("cri-{form:?}-{program}").to_lowercase();
                let image = image(daemon, &name, form, program);
                let mut spec = Spec::new(&name, &image)
                    .args(&["a b"])
                    .env("GREETING", "from the pod");
                // An artifact has no entrypoint, and CRI wants a command.
                if form == Form::Artifact {
                    spec = spec.command(&["/app.wasm"]);
                }
                let (status, log) = pod.run_container(&spec).unwrap();
                assert_eq!(
                    (status.exit_code, status.reason.as_str()),
                    (0, "Completed"),
                    "{name}: {status:?} {log:?}"
                );
                assert_eq!(
                    log.stdout,
                    format!("{line}arg 1: a b\ngreeting: from the pod\n"),
                    "{name}: {}",
                    log.stderr
                );
            }
        }
        pod.remove().unwrap();
    });
}

#[test]
fn exit_code_and_reason() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = image(daemon, "cri-exit", Form::Rootfs, "probe-rust-p1");
        let mut pod = Pod::run(daemon, "exit").unwrap();
        for code in [1, 42, 255] {
            let spec = Spec::new(&format!("exit-{code}"), &image).args(&["exit", &code.to_string()]);
            let (status, _) = pod.run_container(&spec).unwrap();
            assert_eq!(
                (status.exit_code, status.reason.as_str()),
                (code, "Error"),
                "{status:?}"
            );
        }
        let (status, log) = pod
            .run_container(&Spec::new("trap", &image).args(&["panic"]))
            .unwrap();
        assert_eq!(
            (status.exit_code, status.reason.as_str()),
            (134, "Error"),
            "{status:?}"
        );
        assert!(
            log.stderr.contains("as asked") && log.stderr.contains("unreachable"),
            "{log:?}"
        );
        let (status, log) = pod
            .run_container(&Spec::new("big", &image).args(&["big-output"]))
            .unwrap();
        let expected: String = (0..65_536).map(|n| format!("line {n:010}\n")).collect();
        assert_eq!(status.exit_code, 0);
        assert!(
            log.stdout == expected,
            "{} of {} bytes in the log",
            log.stdout.len(),
            expected.len()
        );
        pod.remove().unwrap();
    });
}

#[test]
fn several_containers_share_a_pod() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let probe = image(daemon, "cri-several-p1", Form::Rootfs, "probe-rust-p1");
        let hello = image(daemon, "cri-several-p2", Form::Rootfs, "hello-rust-p2");
        let mut pod = Pod::run(daemon, "several").unwrap();
        let sleepers: Vec<String> = (0..2)
            .map(|n| {
                pod.start(&Spec::new(&format!("sleeper-{n}"), &probe).args(&["sleep", "60000"]))
                    .unwrap()
            })
            .collect();
        for n in 0..2 {
            pod.wait_for_output(&format!("sleeper-{n}"), "sleeping").unwrap();
        }
        assert_eq!(vmm::of_cgroup(pod.cgroup()).len(), 2, "a VM for each container");
        assert_eq!(vmm::shim(&pod.id).len(), 1, "one shim for the pod");
        let (status, log) = pod.run_container(&Spec::new("hello", &hello)).unwrap();
        assert_eq!(
            (status.exit_code, log.stdout.as_str()),
            (0, "hello from rust, wasi 0.2\n")
        );
        // One goes, the other stays.
        pod.stop_container(&sleepers[0], 0).unwrap();
        pod.remove_container(&sleepers[0]).unwrap();
        assert_eq!(pod.status(&sleepers[1]).unwrap().state(), ContainerState::Running);
        pod.remove().unwrap();
    });
}

#[test]
fn errors_are_clear_and_leave_nothing() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let elf = Image::new(
            "cri-elf",
            Form::LinuxRootfs,
            b"\x7fELF\x02\x01\x01 and so on".to_vec(),
        );
        elf.import(daemon).unwrap();
        let hello = image(daemon, "cri-missing", Form::LinuxRootfs, "hello-c-p1");
        let mut pod = Pod::run(daemon, "errors").unwrap();
        for (spec, word) in [
            (Spec::new("elf", &elf.name), "wasm"),
            (
                Spec::new("missing", &hello).command(&["/no/such.wasm"]),
                "such.wasm",
            ),
        ] {
            // It may fail when it is created or when it is started; either way the kubelet gets to read why.
            let error = format!("{:#}", pod.start(&spec).expect_err("nothing to run"));
            assert!(error.to_lowercase().contains(word), "{error}");
        }
        // The pod goes on.
        let (status, log) = pod.run_container(&Spec::new("good", &hello)).unwrap();
        assert_eq!(
            (status.exit_code, log.stdout.as_str()),
            (0, "hello from c, wasi 0.1\n")
        );
        pod.remove().unwrap();
    });
}

#[test]
fn an_empty_pod_goes_without_trace() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let pod = Pod::run(daemon, "empty").unwrap();
        pod.remove().unwrap();
        // A container that was never started.
        let image = image(daemon, "cri-created", Form::Rootfs, "hello-c-p1");
        let mut pod = Pod::run(daemon, "created").unwrap();
        pod.create(&Spec::new("main", &image)).unwrap();
        pod.remove().unwrap();
    });
}
