//! What dies is seen to be dead, and nothing else dies with it: kill -9 of a shim, of a VMM and of containerd.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::{Duration, Instant};

use mote_e2e::containerd::Containerd;
use mote_e2e::cri::messages::ContainerState;
use mote_e2e::ctr;
use mote_e2e::images::{self, Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{kvm, leaks};

const SHIM: &str = "containerd-shim-mote-v1";
const VMM: &str = "mote-vmm";

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Shim,
    Vmm,
    Containerd,
}

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

fn image(daemon: &Containerd) -> String {
    images::import_pause(daemon).unwrap();
    let image = Image::program("recovery", Form::Rootfs, "probe-rust-p1");
    image.import(daemon).unwrap();
    image.name
}

fn kill(pids: &[u32]) {
    for pid in pids {
        let pid = libc::pid_t::try_from(*pid).unwrap();
        // SAFETY: takes no pointers; the number was just read and belongs to a process of the test's own pods.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// The process that serves a pod: containerd names it by the sandbox.
fn shim(pod: &Pod<'_>) -> Vec<u32> {
    leaks::find_processes(SHIM, &pod.id)
}

fn vmm(container: &str) -> Vec<u32> {
    leaks::find_processes(VMM, container)
}

/// A pod that must not notice anything.
struct Neighbour<'a> {
    pod: Pod<'a>,
    container: String,
    processes: [Vec<u32>; 2],
    ticks: usize,
}

impl<'a> Neighbour<'a> {
    fn start(daemon: &'a Containerd, image: &str) -> Neighbour<'a> {
        let mut pod = Pod::run(daemon, "neighbour").unwrap();
        let spec = Spec::new("main", image).args(&["ticks", "100000000"]);
        let container = pod.start(&spec).unwrap();
        pod.wait_for_output("main", "tick").unwrap();
        let processes = [shim(&pod), vmm(&container)];
        assert!(processes.iter().all(|pids| pids.len() == 1), "{processes:?}");
        Neighbour {
            pod,
            container,
            processes,
            ticks: 0,
        }
    }

    /// The same processes run, and the program goes on.
    fn check(&mut self) {
        assert_eq!([shim(&self.pod), vmm(&self.container)], self.processes);
        let ticks = || self.pod.log("main").unwrap().stdout.lines().count();
        let give_up = Instant::now() + Duration::from_secs(5);
        while ticks() <= self.ticks {
            assert!(Instant::now() < give_up, "no tick since number {}", self.ticks);
            thread::sleep(Duration::from_millis(5));
        }
        self.ticks = ticks();
    }

    fn end(self) {
        self.pod.stop_container(&self.container, 5).unwrap();
        assert_eq!(self.pod.wait(&self.container).unwrap().exit_code, 143);
        self.pod.remove().unwrap();
    }
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
        Victim::Shim => kill(&shim(&pod)),
        Victim::Vmm => kill(&vmm(&id)),
        Victim::Containerd => daemon.crash().unwrap(),
    }
    match (state, victim) {
        (State::Created, Victim::Shim) => {
            assert!(pod.start_created(&id).is_err(), "{what}");
        }
        (State::Created, _) => {
            pod.start_created(&id).unwrap();
            assert_eq!(pod.wait(&id).unwrap().exit_code, 7, "{what}");
        }
        (State::Running | State::Paused, Victim::Containerd) => {
            let running = pod.status(&id).unwrap();
            assert_eq!(running.state(), ContainerState::Running, "{what}");
            if state == State::Paused {
                let resumed = ctr::task(daemon, "k8s.io", "resume", &id);
                assert_eq!(resumed.code, 0, "{what}: {}", resumed.stderr);
            }
            pod.stop_container(&id, 5).unwrap();
            assert_eq!(pod.wait(&id).unwrap().exit_code, 143, "{what}");
        }
        (State::Running | State::Paused, _) => {
            if (state, victim) == (State::Paused, Victim::Vmm) {
                // What a frozen cgroup of version 1 gets is delivered when it thaws.
                ctr::task(daemon, "k8s.io", "resume", &id);
            }
            assert_eq!(pod.wait(&id).unwrap().exit_code, 137, "{what}");
        }
        (State::Ended, _) => assert_eq!(pod.wait(&id).unwrap().exit_code, 7, "{what}"),
    }
    pod.remove().unwrap_or_else(|error| panic!("{what}: {error:#}"));
}

#[test]
fn killed_in_each_state() {
    if !kvm::ready() {
        return;
    }
    let daemon = Containerd::shared();
    let image = image(daemon);
    let mut neighbour = Neighbour::start(daemon, &image);
    for state in [State::Created, State::Running, State::Paused, State::Ended] {
        for victim in [Victim::Shim, Victim::Vmm, Victim::Containerd] {
            strike(daemon, &image, state, victim);
            neighbour.check();
        }
    }
    neighbour.end();
}
