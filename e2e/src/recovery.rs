//! What tests of recovery share: whom they kill, and a pod beside that must not notice.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::containerd::{Containerd, SANDBOXER, Series};
use crate::cri::Cri;
use crate::cri::messages::PodSandboxId;
use crate::images::{Form, Image};
use crate::pod::{Pod, Spec};
use crate::vmm;

pub mod dice;

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Shim,
    Vmm,
    Containerd,
}

impl Victim {
    /// Whether a container's exit code says that it was killed. containerd's CRI plugin has 255, unknown, for a task whose
    /// shim went away while it waited for the end (`internal/cri/server/events.go`, `unknownExitCode`), of any runtime.
    #[must_use]
    pub fn explains(self, code: i32) -> bool {
        match self {
            Victim::Shim => [137, 255].contains(&code),
            Victim::Vmm => code == 137,
            Victim::Containerd => false,
        }
    }
}

/// Imports the image whose program the pods run.
///
/// # Errors
/// containerd's.
pub fn image(daemon: &Containerd) -> Result<String> {
    let image = Image::program("recovery", Form::Rootfs, "probe-rust-p1");
    image.import(daemon)?;
    Ok(image.name)
}

/// The handlers of one containerd: with version 2 also that of the sandbox API.
#[must_use]
pub fn handlers(daemon: &Containerd) -> Vec<Containerd> {
    let mut all = vec![daemon.with_handler(daemon.handler)];
    if daemon.series == Series::V2_1 {
        all.push(daemon.with_handler(SANDBOXER));
    }
    all
}

/// SIGKILL to processes of the test's own pods, whose numbers were just read.
pub fn kill(pids: &[u32]) {
    for pid in pids.iter().filter_map(|pid| libc::pid_t::try_from(*pid).ok()) {
        // SAFETY: takes no pointers; any number is allowed.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// What the kubelet does, which asks again: while containerd is away, and when a call fell into the moment in which
/// containerd lost a shim that was killed (`ttrpc: closed`).
///
/// # Panics
/// If it fails for a minute.
pub fn patiently<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> T {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask();
        match answer {
            Ok(Some(answer)) => return answer,
            Ok(None) => {}
            Err(ref error) => assert!(Instant::now() < give_up, "{what}: {error:#}"),
        }
        assert!(Instant::now() < give_up, "{what}: still not");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Stops and removes a pod, [`patiently`].
///
/// # Panics
/// If it fails for a minute.
pub fn remove(cri: &Cri, sandbox: &str, what: &str) {
    let id = PodSandboxId {
        pod_sandbox_id: sandbox.to_owned(),
    };
    patiently(what, || {
        cri.stop_pod_sandbox(id.clone())?;
        cri.remove_pod_sandbox(id.clone())?;
        Ok(Some(()))
    });
}

/// A pod that must not notice anything.
#[derive(Debug)]
pub struct Neighbour<'a> {
    pub pod: Pod<'a>,
    container: String,
    processes: [Vec<u32>; 2],
    ticks: usize,
}

impl<'a> Neighbour<'a> {
    /// Starts it.
    ///
    /// # Errors
    /// The runtime's.
    pub fn start(daemon: &'a Containerd, image: &str) -> Result<Neighbour<'a>> {
        let mut pod = Pod::run(daemon, "neighbour")?;
        let spec = Spec::new("main", image).args(&["ticks", "100000000"]);
        let container = pod.start(&spec)?;
        pod.wait_for_output("main", "tick")?;
        let processes = [vmm::shim(&pod.id), vmm::of_cgroup(&container)];
        ensure!(processes.iter().all(|pids| pids.len() == 1), "{processes:?}");
        Ok(Neighbour {
            pod,
            container,
            processes,
            ticks: 0,
        })
    }

    /// The same processes run, and the program goes on.
    ///
    /// # Errors
    /// If it is not so.
    pub fn check(&mut self) -> Result<()> {
        let processes = [vmm::shim(&self.pod.id), vmm::of_cgroup(&self.container)];
        ensure!(
            processes == self.processes,
            "the neighbour's processes were {:?} and are {processes:?}",
            self.processes
        );
        let give_up = Instant::now() + Duration::from_secs(5);
        loop {
            let ticks = self.pod.log("main")?.stdout.lines().count();
            if ticks > self.ticks {
                self.ticks = ticks;
                return Ok(());
            }
            ensure!(
                Instant::now() < give_up,
                "the neighbour has not ticked since number {}",
                self.ticks
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// If it does not end by SIGTERM, or leaves something.
    pub fn end(self) -> Result<()> {
        self.pod.stop_container(&self.container, 5)?;
        let code = self.pod.wait(&self.container)?.exit_code;
        ensure!(code == 143, "the neighbour ended with {code}");
        self.pod.remove()
    }
}
