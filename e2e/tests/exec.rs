//! More than one process in a container, and processes that stand still.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use mote_e2e::containerd::{Containerd, matrix};
use mote_e2e::cri::messages::{ContainerState, ExecSyncResponse};
use mote_e2e::ctr::{self, CtrRun};
use mote_e2e::images::{Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{kvm, leaks, vmm};

fn probe(daemon: &Containerd, name: &str) -> String {
    let image = Image::program(name, Form::Rootfs, "probe-rust-p1");
    image.import(daemon).unwrap();
    image.name
}

fn exec(pod: &Pod<'_>, id: &str, words: &[&str], timeout: i64) -> Result<ExecSyncResponse, String> {
    pod.exec(id, words, timeout)
        .map_err(|status| status.message().to_owned())
}

#[test]
fn exec_runs_another_program_with_the_same_grants() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon, "exec");
        let volume = tempfile::tempdir().unwrap();
        std::fs::write(volume.path().join("word"), "from the volume").unwrap();
        let mut pod = Pod::run(daemon, "exec").unwrap();
        let spec = Spec::new("main", &image)
            .args(&["sleep", "600000"])
            .env("GREETING", "hi")
            .mount(volume.path(), "/data", false);
        let id = pod.start(&spec).unwrap();
        let app = "/app.wasm";
        let ran = exec(&pod, &id, &[app, "exit", "3"], 10).unwrap();
        assert_eq!((ran.exit_code, ran.stdout.len()), (3, 0), "{ran:?}");
        let ran = exec(&pod, &id, &[app, "read", "/data/word"], 10).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&ran.stdout),
            "/data/word: from the volume\n"
        );
        let ran = exec(&pod, &id, &[app, "env"], 10).unwrap();
        assert!(
            String::from_utf8_lossy(&ran.stdout).contains("GREETING=hi\n"),
            "{ran:?}"
        );
        let ran = exec(&pod, &id, &[app, "panic"], 10).unwrap();
        assert_eq!(ran.exit_code, 134);
        assert!(
            String::from_utf8_lossy(&ran.stderr).contains("as asked"),
            "{ran:?}"
        );

        let refused = exec(&pod, &id, &["/bin/sh", "-c", "true"], 10).unwrap_err();
        assert!(refused.contains("\"/bin/sh\" is not in the image"), "{refused}");
        let refused = exec(&pod, &id, &["/data/word"], 10).unwrap_err();
        assert!(refused.contains("not a Wasm file"), "{refused}");

        // A probe that takes too long is ended, and nobody else.
        let late = exec(&pod, &id, &[app, "spin"], 1).unwrap_err();
        assert!(late.contains("timeout") || late.contains("deadline"), "{late}");
        assert_eq!(pod.status(&id).unwrap().state(), ContainerState::Running);

        let many: Vec<_> = thread::scope(|scope| {
            let (pod, id) = (&pod, &id);
            let one = |n: usize| {
                exec(pod, id, &[app, "exit", &n.to_string()], 20)
                    .unwrap()
                    .exit_code
            };
            let all: Vec<_> = (0..8).map(|n| scope.spawn(move || one(n))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(many, (0..8).collect::<Vec<_>>());
        pod.remove().unwrap();
    });
}

/// The processes of a container, by the shim's Pids.
fn listed(daemon: &Containerd, id: &str) -> BTreeSet<u32> {
    let ran = ctr::task(daemon, "k8s.io", "ps", id);
    assert_eq!(ran.code, 0, "{ran:?}");
    let pid = |line: &str| line.split_whitespace().next()?.parse().ok();
    ran.stdout.lines().filter_map(pid).collect()
}

#[test]
fn processes_end_with_their_container() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon, "exec-end");
        let mut pod = Pod::run(daemon, "exec-end").unwrap();
        let id = pod
            .start(&Spec::new("main", &image).args(&["sleep", "600000"]))
            .unwrap();
        thread::scope(|scope| {
            let (pod, id) = (&pod, &id);
            let spinning = scope.spawn(move || exec(pod, id, &["/app.wasm", "spin"], 60).unwrap());
            let pids = || listed(daemon, id);
            let give_up = Instant::now() + Duration::from_secs(20);
            while pids().len() < 2 {
                assert!(Instant::now() < give_up, "{:?}", pids());
                thread::sleep(Duration::from_millis(50));
            }
            // The program's own, and that of exec.
            assert_eq!(pids(), vmm::of_cgroup(id).into_iter().collect());
            pod.stop_container(id, 0).unwrap();
            assert_eq!(spinning.join().unwrap().exit_code, 137);
        });
        assert_eq!(pod.wait(&id).unwrap().exit_code, 137);
        let refused = exec(&pod, &id, &["/app.wasm", "exit"], 5).unwrap_err();
        assert!(refused.to_lowercase().contains("exited"), "{refused}");
        pod.remove().unwrap();
    });
}

#[test]
fn a_paused_container_stands_still() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon, "exec-paused");
        let mut pod = Pod::run(daemon, "pause").unwrap();
        let spec = Spec::new("main", &image).args(&["ticks", "100000"]);
        let id = pod.start(&spec).unwrap();
        pod.wait_for_output("main", "tick").unwrap();
        let lines = || pod.log("main").unwrap().stdout.lines().count();
        let task = |verb: &str| {
            let ran = ctr::task(daemon, "k8s.io", verb, &id);
            assert_eq!(ran.code, 0, "{verb}: {}", ran.stderr);
        };
        task("pause");
        let before = lines();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(lines(), before, "it goes on");
        let again = ctr::task(daemon, "k8s.io", "pause", &id);
        assert!(again.stderr.contains("paused"), "{}", again.stderr);
        task("resume");
        while lines() <= before + 2 {
            thread::sleep(Duration::from_millis(20));
        }
        task("pause");
        pod.stop_container(&id, 0).unwrap();
        assert_eq!(pod.wait(&id).unwrap().exit_code, 137);
        pod.remove().unwrap();
    });
}

#[test]
fn a_terminal() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon, "tty");
        let mut pod = Pod::run(daemon, "tty").unwrap();
        let terminals = |name: &str, tty: bool, pod: &mut Pod<'_>| {
            let spec = Spec::new(name, &image).args(&["terminals"]);
            let (status, log) = pod.run_container(&if tty { spec.tty() } else { spec }).unwrap();
            assert_eq!(status.exit_code, 0, "{log:?}");
            log.stdout
        };
        assert_eq!(terminals("without", false, &mut pod), "false false false\n");
        assert_eq!(terminals("with", true, &mut pod), "true true true\n");
        let spec = Spec::new("big", &image).args(&["big-output", "300000"]).tty();
        let (status, _) = pod.run_container(&spec).unwrap();
        assert_eq!(status.exit_code, 0);
        let came = pod.log("big").unwrap().stdout.len();
        assert!(came >= 300_000, "{came} bytes came out");
        pod.remove().unwrap();
    });
}

#[test]
fn a_terminals_input_and_interrupt() {
    use std::io::{Read, Write};

    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = probe(daemon, "tty-ctr");
        let run = CtrRun::new(daemon, &image)
            .option(&["--platform", "wasi/wasm", "--tty"])
            .args(&["/app.wasm", "cat"]);
        let pty = nix::pty::openpty(None, None).unwrap();
        let end = || std::process::Stdio::from(pty.slave.try_clone().unwrap());
        let mut child = run
            .command()
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        drop(pty.slave);
        let mut terminal = std::fs::File::from(pty.master);
        let mut seen = String::new();
        let mut until = |terminal: &mut std::fs::File, text: &str| {
            while !seen.contains(text) {
                let mut bytes = [0; 1000];
                let n = terminal.read(&mut bytes).unwrap();
                // How many carriage returns there are is the affair of two terminals, ours and the container's.
                seen.push_str(&String::from_utf8_lossy(&bytes[..n]).replace('\r', ""));
            }
            seen.clear();
        };
        terminal.write_all(b"typed\n").unwrap();
        // Once the echo, once the program.
        until(&mut terminal, "typed\ntyped\n");
        terminal.write_all(b"\x03").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let left = leaks::of_ids(daemon, std::slice::from_ref(&run.id));
        assert!(left.is_empty(), "{left:?}");
    });
}
