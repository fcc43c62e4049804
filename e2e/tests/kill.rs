//! Ends that come from outside, and a guest that wants more than it may have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mote_e2e::cli::{Ran, Run};
use mote_e2e::containerd::Containerd;
use mote_e2e::cri::messages::ContainerState;
use mote_e2e::ctr::{self, CtrRun};
use mote_e2e::images::{self, Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{kvm, vmm};

fn daemon() -> &'static Containerd {
    let daemon = Containerd::shared();
    images::import_pause(daemon).unwrap();
    daemon
}

fn probe(name: &str, program: &str) -> String {
    let image = Image::program(name, Form::Rootfs, program);
    image.import(Containerd::shared()).unwrap();
    image.name
}

fn signal(pid: u32, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: the process is a child that has not been waited for.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0);
}

/// Reads a child's output until the guest says that it runs, and gives back the child.
fn running(mut child: Child) -> Child {
    use std::io::Read;
    let mut byte = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    child
}

#[test]
fn a_loop_dies_within_100_ms() {
    if !kvm::ready() {
        return;
    }
    let daemon = daemon();
    for program in ["probe-rust-p1", "probe-rust-p2"] {
        let image = probe(&format!("kill-{program}"), program);
        let mut pod = Pod::run(daemon, "kill").unwrap();
        // The limit is for the kill, not for a machine that happens to be busy: the best of a few counts.
        let mut best = Duration::MAX;
        for round in 0..5 {
            let name = format!("spin-{round}");
            let id = pod.start(&Spec::new(&name, &image).args(&["spin"])).unwrap();
            pod.wait_for_output(&name, "spinning").unwrap();
            let before = Instant::now();
            pod.stop_container(&id, 0).unwrap();
            let took = before.elapsed();
            assert!(took < Duration::from_secs(5), "{program}: {took:?}");
            best = best.min(took);
            let status = pod.wait(&id).unwrap();
            assert_eq!(status.exit_code, 137, "{program}: {status:?}");
            assert!(
                vmm::of_cgroup(pod.cgroup()).is_empty(),
                "{program}: the VM is gone"
            );
        }
        assert!(best < Duration::from_millis(100), "{program}: {best:?}");
        pod.remove().unwrap();
    }
}

#[test]
fn sigterm_ends_with_143() {
    if !kvm::ready() {
        return;
    }
    let daemon = daemon();
    let image = probe("term", "probe-rust-p1");
    let mut pod = Pod::run(daemon, "term").unwrap();
    for doing in ["spin", "sleep"] {
        let spec = Spec::new(doing, &image).args(&[doing, "60000"]);
        let id = pod.start(&spec).unwrap();
        pod.wait_for_output(doing, if doing == "spin" { "spinning" } else { "sleeping" })
            .unwrap();
        let before = Instant::now();
        pod.stop_container(&id, 30).unwrap();
        assert!(
            before.elapsed() < Duration::from_secs(20),
            "SIGTERM was not heard"
        );
        let status = pod.wait(&id).unwrap();
        assert_eq!(
            (status.exit_code, status.reason.as_str()),
            (143, "Error"),
            "{status:?}"
        );
    }
    pod.remove().unwrap();
}

#[test]
fn signals_by_ctr() {
    if !kvm::ready() {
        return;
    }
    let daemon = daemon();
    let image = Image::program("kill-ctr", Form::LinuxRootfs, "probe-rust-p1");
    image.import(daemon).unwrap();
    for (name, code) in [("SIGTERM", 143), ("SIGKILL", 137)] {
        let run = CtrRun::new(daemon, &image.name).args(&["/app.wasm", "spin"]);
        let child = running(run.command().spawn().unwrap());
        let killed = ctr::kill(daemon, &run.id, name);
        assert_eq!(killed.code, 0, "{}", killed.stderr);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, code, "{name}: {ran:?}");
    }
}

#[test]
fn signals_to_the_command() {
    if !kvm::ready() {
        return;
    }
    for doing in ["spin", "sleep"] {
        let mut command = Run::program("probe-rust-p1")
            .args([doing, "60000"])
            .into_command();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let child = running(child);
        signal(child.id(), libc::SIGTERM);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 143, "{doing}: {ran:?}");
    }
    // With SIGKILL the command has no say, and the VM must end none the less.
    let mut command = Run::program("probe-rust-p1")
        .args(["spin", "killed-by-test"])
        .into_command();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = running(child);
    let vm = vm_of(child.id());
    signal(child.id(), libc::SIGKILL);
    child.wait().unwrap();
    let give_up = Instant::now() + Duration::from_secs(5);
    while vmm::kvm_objects(vm).is_ok_and(|objects| !objects.is_empty()) {
        assert!(Instant::now() < give_up, "VM process {vm} outlives its parent");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The process that owns the VM: the command's own or a child of it.
fn vm_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children
        .chain([pid])
        .find(|pid| vmm::kvm_objects(*pid).is_ok_and(|list| !list.is_empty()))
        .expect("a VM")
}

#[test]
fn a_greedy_guest_harms_no_neighbour() {
    if !kvm::ready() {
        return;
    }
    let daemon = daemon();
    for program in ["probe-rust-p1", "probe-rust-p2"] {
        let image = probe(&format!("greedy-{program}"), program);
        let mut pod = Pod::run(daemon, "greedy").unwrap();
        let neighbour = pod
            .start(&Spec::new("neighbour", &image).args(&["ticks", "100"]))
            .unwrap();
        pod.wait_for_output("neighbour", "tick 0").unwrap();
        let (status, log) = pod
            .run_container(&Spec::new("greedy", &image).args(&["alloc"]).memory(96 << 20))
            .unwrap();
        assert_eq!(
            (status.exit_code, status.reason.as_str()),
            (137, "OOMKilled"),
            "{status:?} {log:?}"
        );
        assert!(
            log.stdout.contains("16 MiB") && !log.stdout.contains("96 MiB"),
            "{log:?}"
        );
        assert_eq!(
            pod.status(&neighbour).unwrap().state(),
            ContainerState::Running,
            "it ran into the neighbour"
        );
        let status = pod.wait(&neighbour).unwrap();
        assert_eq!(status.exit_code, 0, "{status:?}");
        let expected: String = (0..100).map(|n| format!("tick {n}\n")).collect();
        assert_eq!(pod.log("neighbour").unwrap().stdout, expected);
        pod.remove().unwrap();
    }
}
