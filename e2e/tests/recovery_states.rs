//! What dies is seen to be dead, and nothing else dies with it: kill -9 of a shim, of a VMM and of containerd in each
//! state of a container.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mote_e2e::containerd::{Containerd, matrix};
use mote_e2e::cri::messages::ContainerState;
use mote_e2e::images::{Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::recovery::{Neighbour, Victim, handlers, image, kill, remove};
use mote_e2e::vmm::{self, shim};
use mote_e2e::{ctr, kvm, leaks, paths};

/// Held by a test that kills containerd, or does not expect it to be killed: it is one for all.
static ALONE: Mutex<()> = Mutex::new(());

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The pod has a sandbox and a container that was not started.
    Created,
    Running,
    Paused,
    /// The container has ended with 7.
    Ended,
}

/// One pod, brought into the state and hit; then it has to be as the table says, and to go without trace.
fn strike(daemon: &Containerd, image: &str, state: State, victim: Victim) {
    let what = format!("{victim:?} killed, {state:?}");
    let mut pod = Pod::run(daemon, "struck").unwrap();
    let spec = Spec::new("main", image);
    let spec = match state {
        State::Ended | State::Created => spec.args(&["exit", "7"]),
        State::Running | State::Paused => spec.args(&["ticks", "100000000"]),
    };
    let id = pod.create(&spec).unwrap();
    if state != State::Created {
        pod.start_created(&id).unwrap();
    }
    match state {
        State::Created => {}
        State::Running | State::Paused => pod.wait_for_output("main", "tick").unwrap(),
        State::Ended => assert_eq!(pod.wait(&id).unwrap().exit_code, 7),
    }
    if state == State::Paused {
        let paused = ctr::task(daemon, "k8s.io", "pause", &id);
        assert_eq!(paused.code, 0, "{}", paused.stderr);
    }
    match victim {
        Victim::Shim => kill(&shim(&pod.id)),
        Victim::Vmm => kill(&vmm::of_cgroup(&id)),
        Victim::Containerd => daemon.crash().unwrap(),
    }
    match (state, victim) {
        (State::Created, Victim::Shim) => {
            // Until containerd has seen that the sandbox is gone, it starts another shim for the container.
            if pod.start_created(&id).is_ok() {
                assert_eq!(pod.wait(&id).unwrap().exit_code, 7, "{what}");
            }
        }
        (State::Created, _) => {
            pod.start_created(&id).unwrap();
            assert_eq!(pod.wait(&id).unwrap().exit_code, 7, "{what}");
        }
        (State::Running, Victim::Containerd) => {
            let running = pod.status(&id).unwrap();
            assert_eq!(running.state(), ContainerState::Running, "{what}");
            pod.stop_container(&id, 5).unwrap();
            assert_eq!(pod.wait(&id).unwrap().exit_code, 143, "{what}");
        }
        (State::Paused, Victim::Containerd) => {
            // containerd's CRI plugin, which knows no pause, calls it unknown after a restart, of any runtime
            // (`internal/cri/server/restart.go`).
            let lines = || pod.log("main").unwrap().stdout.lines().count();
            let before = lines();
            let resumed = ctr::task(daemon, "k8s.io", "resume", &id);
            assert_eq!(resumed.code, 0, "{what}: {}", resumed.stderr);
            let give_up = Instant::now() + Duration::from_secs(5);
            while lines() <= before {
                assert!(Instant::now() < give_up, "{what}: it does not go on");
                thread::sleep(Duration::from_millis(5));
            }
        }
        (State::Running | State::Paused, _) => {
            if (state, victim) == (State::Paused, Victim::Vmm) {
                // What a frozen cgroup of version 1 gets is delivered when it thaws.
                ctr::task(daemon, "k8s.io", "resume", &id);
            }
            let code = pod.wait(&id).unwrap().exit_code;
            assert!(victim.explains(code), "{what}: {code}");
        }
        (State::Ended, _) => assert_eq!(pod.wait(&id).unwrap().exit_code, 7, "{what}"),
    }
    if victim == Victim::Shim {
        remove(&pod.cri, &pod.id, &what);
    }
    pod.remove().unwrap_or_else(|error| panic!("{what}: {error:#}"));
}

#[test]
fn killed_in_each_state() {
    if !kvm::ready() {
        return;
    }
    let _alone = ALONE.lock();
    matrix::each_series(|daemon| {
        let image = image(daemon).unwrap();
        let mut neighbour = Neighbour::start(daemon, &image).unwrap();
        for daemon in &handlers(daemon) {
            for state in [State::Created, State::Running, State::Paused, State::Ended] {
                for victim in [Victim::Shim, Victim::Vmm, Victim::Containerd] {
                    strike(daemon, &image, state, victim);
                    neighbour.check().unwrap();
                }
            }
        }
        neighbour.end().unwrap();
    });
}

/// A shim dies in the midst of a create: the root file system and the volumes are mounted, the program is being compiled.
#[test]
fn killed_while_creating() {
    if !kvm::ready() {
        return;
    }
    let _alone = ALONE.lock();
    matrix::each_series(|daemon| {
        // Not in the cache: a custom section (binary format of WebAssembly, 5.5.3) that no other run has.
        let mut wasm = paths::program_bytes("tool-js");
        let mark = format!("\x04mark{}", daemon.cgroup);
        wasm.extend([0, u8::try_from(mark.len()).unwrap() | 0x80, 0]);
        wasm.extend(mark.as_bytes());
        let image = Image::new("recovery-slow", Form::Rootfs, wasm);
        image.import(daemon).unwrap();
        for daemon in &handlers(daemon) {
            let mut pod = Pod::run(daemon, "creating").unwrap();
            let id = pod.create(&Spec::new("main", &image.name)).unwrap();
            thread::scope(|scope| {
                let starts = scope.spawn(|| pod.start_created(&id));
                let give_up = Instant::now() + Duration::from_secs(30);
                let compiles = || leaks::children(&shim(&pod.id), "mote-compile");
                while compiles().is_empty() {
                    assert!(Instant::now() < give_up && !starts.is_finished(), "no compiler");
                    thread::sleep(Duration::from_millis(2));
                }
                let compilers = compiles();
                kill(&shim(&pod.id));
                let started = starts.join().unwrap();
                assert!(started.is_err(), "it was made in spite of all");
                while compilers.iter().any(|pid| leaks::runs(*pid)) {
                    assert!(Instant::now() < give_up, "compiler {compilers:?} goes on");
                    thread::sleep(Duration::from_millis(5));
                }
            });
            remove(&pod.cri, &pod.id, "its shim was killed");
            pod.remove().unwrap();
        }
    });
}
