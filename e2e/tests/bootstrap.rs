//! The start protocol of containerd 2.3 and later, and what those versions do afterwards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mote_e2e::kvm;
use mote_e2e::shim::messages::*;
use mote_e2e::shim::{Client, Host, SANDBOX, TASK_V2, TASK_V3};
use prost::Message as _;

fn id(id: &str) -> Id {
    Id { id: id.into() }
}

fn create(host: &Host, task: &str, bundle: &Path) -> CreateTaskRequest {
    CreateTaskRequest {
        id: task.into(),
        bundle: bundle.display().to_string(),
        stdout: format!("file://{}", host.dir.join(format!("{task}.out")).display()),
        stderr: format!("file://{}", host.dir.join(format!("{task}.err")).display()),
        checkpoint: String::new(),
    }
}

fn output(host: &Host, task: &str) -> String {
    fs::read_to_string(host.dir.join(format!("{task}.out"))).unwrap()
}

fn wait_for_topics(host: &Host, expected: &[&str]) {
    let give_up = Instant::now() + Duration::from_secs(5);
    while host.topics() != expected && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(host.topics(), expected);
}

#[test]
fn a_task_by_both_versions_of_the_service() {
    if !kvm::ready() {
        return;
    }
    for (service, name) in [(TASK_V3, "v3"), (TASK_V2, "v2")] {
        let host = Host::new(&format!("task-{name}")).unwrap();
        let task = format!("{name}-task-{}", std::process::id());
        let bundle = host
            .bundle(&task, "probe-rust-p1", &["exit", "42"], None)
            .unwrap();
        let started = host.start(&task).unwrap();
        assert_eq!((started.version, started.protocol.as_str()), (3, "ttrpc"));
        let socket = Path::new(started.address.strip_prefix("unix://").unwrap());
        assert_eq!(
            socket.parent().unwrap(),
            host.dir.join("s"),
            "the folder that containerd names"
        );
        // containerd asks again for another container of the same shim, and after its own restart.
        assert_eq!(host.start(&task).unwrap(), started);

        let mut shim = Client::connect(&started.address).unwrap();
        let shim_pid = shim
            .call::<_, PidResponse>(service, "Create", &create(&host, &task, &bundle))
            .unwrap()
            .pid;
        let connected: ConnectResponse = shim.call(service, "Connect", &id(&task)).unwrap();
        assert_eq!((connected.shim_pid, connected.task_pid), (shim_pid, shim_pid));
        let pid = shim
            .call::<_, PidResponse>(service, "Start", &id(&task))
            .unwrap()
            .pid;
        assert_ne!(pid, shim_pid, "the program's VM is a process of its own");
        let ended: WaitResponse = shim.call(service, "Wait", &id(&task)).unwrap();
        assert_eq!(ended.exit_status, 42);
        let deleted: DeleteResponse = shim.call(service, "Delete", &id(&task)).unwrap();
        assert_eq!(deleted, DeleteResponse { pid, exit_status: 42 });
        let _: Empty = shim.call(service, "Shutdown", &id(&task)).unwrap();
        wait_for_topics(
            &host,
            &["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"],
        );
        host.delete(&task).unwrap();
        host.clean(&[&task]).unwrap();
    }
}

#[test]
fn a_pod_by_the_sandbox_api() {
    if !kvm::ready() {
        return;
    }
    let host = Host::new("sandbox").unwrap();
    let pod = format!("pod-{}", std::process::id());
    let bundle = host.sandbox_bundle(&pod).unwrap();
    let started = host.start(&pod).unwrap();
    assert_eq!(started.version, 3, "containers come without a start of their own");
    let mut shim = Client::connect(&started.address).unwrap();
    let unknown = shim
        .call::<_, PidResponse>(SANDBOX, "StartSandbox", &id(&pod))
        .unwrap_err();
    assert!(unknown.to_string().contains("does not exist"), "{unknown}");
    let request = CreateSandboxRequest {
        sandbox_id: pod.clone(),
        bundle_path: bundle.display().to_string(),
        options: Some(Any {
            type_url: "runtime.v1.PodSandboxConfig".into(),
            value: mote_e2e::cri::messages::PodSandboxConfig {
                hostname: "a-pod".into(),
                ..Default::default()
            }
            .encode_to_vec(),
        }),
        netns_path: String::new(),
    };
    let _: Empty = shim.call(SANDBOX, "CreateSandbox", &request).unwrap();
    let sandbox: StartSandboxResponse = shim.call(SANDBOX, "StartSandbox", &id(&pod)).unwrap();
    assert!(sandbox.pid > 1 && sandbox.created_at.as_ref().is_some_and(|at| at.seconds > 0));
    let platform: PlatformResponse = shim.call(SANDBOX, "Platform", &id(&pod)).unwrap();
    assert_eq!(platform.platform.unwrap().os, "linux");
    let _: Empty = shim.call(SANDBOX, "PingSandbox", &id(&pod)).unwrap();
    let metrics: SandboxMetricsResponse = shim.call(SANDBOX, "SandboxMetrics", &id(&pod)).unwrap();
    assert_eq!(metrics.metrics.unwrap().id, pod);
    let status = |shim: &mut Client| -> SandboxStatusResponse {
        shim.call(SANDBOX, "SandboxStatus", &id(&pod)).unwrap()
    };
    let ready = status(&mut shim);
    assert_eq!((ready.state.as_str(), ready.pid), ("SANDBOX_READY", sandbox.pid));
    assert_eq!(ready.created_at, sandbox.created_at);

    // One container that ends, and one that StopSandbox has to end.
    let container = |name: &str, args: &[&str]| {
        let task = format!("{pod}-{name}");
        let bundle = host.bundle(&task, "probe-rust-p1", args, Some(&pod)).unwrap();
        (create(&host, &task, &bundle), task)
    };
    let (request, short) = container("short", &["read", "/etc/hostname"]);
    let _: PidResponse = shim.call(TASK_V3, "Create", &request).unwrap();
    let _: PidResponse = shim.call(TASK_V3, "Start", &id(&short)).unwrap();
    let ended: WaitResponse = shim.call(TASK_V3, "Wait", &id(&short)).unwrap();
    assert_eq!(ended.exit_status, 0);
    assert_eq!(output(&host, &short), "/etc/hostname: a-pod\n");
    let _: DeleteResponse = shim.call(TASK_V3, "Delete", &id(&short)).unwrap();
    let (request, long) = container("long", &["spin"]);
    let _: PidResponse = shim.call(TASK_V3, "Create", &request).unwrap();
    let _: PidResponse = shim.call(TASK_V3, "Start", &id(&long)).unwrap();

    let _: Empty = shim.call(SANDBOX, "StopSandbox", &id(&pod)).unwrap();
    let ended: WaitResponse = shim.call(TASK_V3, "Wait", &id(&long)).unwrap();
    assert_eq!(ended.exit_status, 137);
    let ended: WaitResponse = shim.call(SANDBOX, "WaitSandbox", &id(&pod)).unwrap();
    assert_eq!(ended.exit_status, 143);
    assert_eq!(status(&mut shim).state, "SANDBOX_NOTREADY");
    let _: Empty = shim.call(SANDBOX, "ShutdownSandbox", &id(&pod)).unwrap();
    let one = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    wait_for_topics(&host, &[one, one].concat());
    host.delete(&pod).unwrap();
    host.clean(&[&pod, &short, &long]).unwrap();
}

#[test]
fn a_checkpoint_is_not_restored() {
    if !kvm::ready() {
        return;
    }
    let host = Host::new("refused").unwrap();
    let task = format!("refused-{}", std::process::id());
    let bundle = host.bundle(&task, "probe-rust-p1", &["exit"], None).unwrap();
    // A checkpoint cannot be restored, and says so before anything is made.
    let started = host.start(&task).unwrap();
    let mut shim = Client::connect(&started.address).unwrap();
    let mut request = create(&host, &task, &bundle);
    request.checkpoint = "/some/checkpoint".into();
    let refused = shim
        .call::<_, PidResponse>(TASK_V3, "Create", &request)
        .unwrap_err();
    assert!(refused.to_string().contains("checkpoint"), "{refused}");
    let _: Empty = shim.call(TASK_V3, "Shutdown", &id(&task)).unwrap();
    host.delete(&task).unwrap();
    host.clean(&[&task]).unwrap();
}

#[test]
fn a_machine_without_kvm() {
    if !kvm::ready() {
        return;
    }
    let host = Host::new("no-kvm").unwrap().without_kvm();
    let task = format!("no-kvm-{}", std::process::id());
    let bundle = host.bundle(&task, "probe-rust-p1", &["exit"], None).unwrap();
    let started = host.start(&task).unwrap();
    let mut shim = Client::connect(&started.address).unwrap();
    let request = create(&host, &task, &bundle);
    let refused = shim
        .call::<_, PidResponse>(TASK_V3, "Create", &request)
        .unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("/dev/kvm does not exist"), "{refused}");
    assert!(
        refused.contains("modprobe") && refused.contains("mote doctor"),
        "{refused}"
    );
    let _: Empty = shim.call(TASK_V3, "Shutdown", &id(&task)).unwrap();
    host.delete(&task).unwrap();
    host.clean(&[&task]).unwrap();
}

#[test]
fn a_killed_shim_leaves_nothing_of_its_pod() {
    if !kvm::ready() {
        return;
    }
    let host = Host::new("killed").unwrap();
    let pod = format!("killed-{}", std::process::id());
    let bundle = host.sandbox_bundle(&pod).unwrap();
    let mut shim = Client::connect(&host.start(&pod).unwrap().address).unwrap();
    let request = CreateSandboxRequest {
        sandbox_id: pod.clone(),
        bundle_path: bundle.display().to_string(),
        ..Default::default()
    };
    let _: Empty = shim.call(SANDBOX, "CreateSandbox", &request).unwrap();
    let sandbox: StartSandboxResponse = shim.call(SANDBOX, "StartSandbox", &id(&pod)).unwrap();
    let tasks: Vec<String> = (0..2).map(|n| format!("{pod}-c{n}")).collect();
    for task in &tasks {
        let bundle = host.bundle(task, "probe-rust-p1", &["spin"], Some(&pod)).unwrap();
        let _: PidResponse = shim
            .call(TASK_V3, "Create", &create(&host, task, &bundle))
            .unwrap();
        let _: PidResponse = shim.call(TASK_V3, "Start", &id(task)).unwrap();
    }
    let pid = libc::pid_t::try_from(sandbox.pid).unwrap();
    // SAFETY: takes no pointers; the shim has just said that this is its number.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    // containerd calls this once, for the sandbox: it has started nothing for the containers.
    host.delete(&pod).unwrap();
    host.clean(&[&pod, &tasks[0], &tasks[1]]).unwrap();
}
