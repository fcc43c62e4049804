//! What dies is seen to be dead, and nothing else dies with it: kill -9 of a shim, of a VMM and of containerd.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mote_e2e::containerd::{Containerd, SANDBOXER, Series, matrix};
use mote_e2e::cri::messages::{ContainerState, Empty, PodSandboxId};
use mote_e2e::ctr;
use mote_e2e::images::{Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{kvm, leaks};

const SHIM: &str = "containerd-shim-mote-v1";
const VMM: &str = "mote-vmm";

/// Held by the test that kills containerd, which is one for all.
static ALONE: Mutex<()> = Mutex::new(());

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
    let image = Image::program("recovery", Form::Rootfs, "probe-rust-p1");
    image.import(daemon).unwrap();
    image.name
}

/// The handlers of one containerd: with version 2 also that of the sandbox API.
fn handlers(daemon: &Containerd) -> Vec<Containerd> {
    let mut all = vec![daemon.with_handler(daemon.handler)];
    if daemon.series == Series::V2_1 {
        all.push(daemon.with_handler(SANDBOXER));
    }
    all
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

/// Whether a container's exit code says that it was killed. containerd's CRI plugin has 255, unknown, for a task whose
/// shim went away while it waited for the end (`internal/cri/server/events.go`, `unknownExitCode`), of any runtime.
fn killed(victim: Victim, code: i32) -> bool {
    code == 137 || (victim == Victim::Shim && code == 255)
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
            assert!(killed(victim, pod.wait(&id).unwrap().exit_code), "{what}");
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
    let _alone = ALONE.lock();
    matrix::each_series(|daemon| {
        let image = image(daemon);
        let mut neighbour = Neighbour::start(daemon, &image);
        for daemon in &handlers(daemon) {
            for state in [State::Created, State::Running, State::Paused, State::Ended] {
                for victim in [Victim::Shim, Victim::Vmm, Victim::Containerd] {
                    strike(daemon, &image, state, victim);
                    neighbour.check();
                }
            }
        }
        neighbour.end();
    });
}

/// Pods that are struck at the same time.
const LANES: usize = 4;

/// What is to happen to one pod.
#[derive(Clone, Copy, Debug)]
struct Plan {
    victim: Victim,
    /// Counted from the call that makes the pod.
    at: Duration,
    /// How long the program runs, and its exit code.
    lasts: u64,
    code: i32,
}

/// Numbers that look random and are the same for the same seed. (Marsaglia, xorshift64)
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn plan(&mut self) -> Plan {
        Plan {
            victim: match self.below(4) {
                0 => Victim::Containerd,
                1 | 2 => Victim::Shim,
                _ => Victim::Vmm,
            },
            at: Duration::from_millis(self.below(900)),
            lasts: self.below(400),
            code: 1 + i32::try_from(self.below(99)).unwrap(),
        }
    }
}

/// What is known of a pod while it is made.
#[derive(Debug, Default)]
struct Known {
    sandbox: String,
    container: String,
    /// The call that starts the container has returned.
    started: bool,
    over: bool,
}

/// What came of a pod.
#[derive(Debug)]
enum Came {
    Ended(i32),
    /// A call failed on the way.
    Failed(#[allow(dead_code, reason = "shown in a failure's message")] String),
}

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |text| text.parse().unwrap())
}

/// Strikes at the given time, or as soon as there is somebody to strike. Answers whether the container was up then.
fn hit(daemon: &Containerd, plan: Plan, known: &Mutex<Known>) -> bool {
    thread::sleep(plan.at);
    loop {
        let (sandbox, container, started, over) = {
            let known = known.lock().unwrap();
            let Known {
                sandbox,
                container,
                started,
                over,
            } = &*known;
            (sandbox.clone(), container.clone(), *started, *over)
        };
        let pids = match plan.victim {
            Victim::Containerd => {
                daemon.crash().unwrap();
                return started;
            }
            Victim::Shim if !sandbox.is_empty() => leaks::find_processes(SHIM, &sandbox),
            Victim::Vmm if !container.is_empty() => vmm(&container),
            _ => Vec::new(),
        };
        if !pids.is_empty() || over {
            kill(&pids);
            return started;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What the kubelet does, which asks again when containerd is away.
fn patiently<T>(what: &str, mut ask: impl FnMut() -> anyhow::Result<Option<T>>) -> T {
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

/// The life of a pod, which is struck meanwhile.
fn live<'a>(
    daemon: &'a Containerd,
    image: &str,
    plan: Plan,
    known: &Mutex<Known>,
) -> (Option<Pod<'a>>, Came) {
    let failed = |error: anyhow::Error| Came::Failed(format!("{error:#}"));
    let mut pod = match Pod::run(daemon, "random") {
        Ok(pod) => pod,
        Err(error) => return (None, failed(error)),
    };
    known.lock().unwrap().sandbox.clone_from(&pod.id);
    let (lasts, code) = (plan.lasts.to_string(), plan.code.to_string());
    let spec = Spec::new("main", image).args(&["lasts", &lasts, &code]);
    let id = match pod.create(&spec) {
        Ok(id) => id,
        Err(error) => return (Some(pod), failed(error)),
    };
    known.lock().unwrap().container.clone_from(&id);
    if let Err(error) = pod.start_created(&id) {
        return (Some(pod), failed(error));
    }
    known.lock().unwrap().started = true;
    let status = patiently("the container's end", || {
        let status = pod.status(&id)?;
        Ok((status.state() == ContainerState::Exited).then_some(status.exit_code))
    });
    (Some(pod), Came::Ended(status))
}

#[test]
fn killed_at_random() {
    if !kvm::ready() {
        return;
    }
    let _alone = ALONE.lock();
    let (kills, seed) = (number("MOTE_KILLS", 16), number("MOTE_SEED", 0x6d6f_7465));
    println!("{kills} kills, seed {seed}; MOTE_KILLS and MOTE_SEED ask for others");
    let series = Series::chosen().unwrap().unwrap_or(Series::V2_1);
    kill_at_random(Containerd::of(series), kills, seed);
}

fn kill_at_random(daemon: &Containerd, kills: u64, seed: u64) {
    let image = image(daemon);
    let handlers = handlers(daemon);
    let mut dice = Dice(seed);
    let mut neighbour = Neighbour::start(daemon, &image);
    let mut done = 0;
    while done < kills {
        let mut plans = [(); LANES].map(|()| dice.plan());
        // One containerd can be killed once at a time.
        let mut crashes = 0;
        for plan in &mut plans {
            crashes += usize::from(plan.victim == Victim::Containerd);
            if plan.victim == Victim::Containerd && crashes > 1 {
                plan.victim = Victim::Shim;
            }
        }
        let crash = plans.iter().any(|plan| plan.victim == Victim::Containerd);
        let lanes: Vec<(Known, Option<Pod<'_>>, Came)> = thread::scope(|scope| {
            let (image, handlers) = (&image, &handlers);
            let mut lane = 0;
            let lanes = plans.map(|plan| {
                let daemon = &handlers[lane % handlers.len()];
                lane += 1;
                scope.spawn(move || {
                    let known = Mutex::new(Known::default());
                    let (pod, came) = thread::scope(|scope| {
                        scope.spawn(|| hit(daemon, plan, &known));
                        let lived = live(daemon, image, plan, &known);
                        known.lock().unwrap().over = true;
                        lived
                    });
                    (known.into_inner().unwrap(), pod, came)
                })
            });
            lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
        });
        done += LANES as u64;
        for ((known, pod, came), plan) in lanes.into_iter().zip(plans) {
            let what = format!("seed {seed}, before kill {done}: {plan:?}, {known:?}: {came:?}");
            let fine = match (&came, plan.victim) {
                (Came::Ended(code), _) if *code == plan.code => true,
                (Came::Ended(code), Victim::Shim | Victim::Vmm) => killed(plan.victim, *code),
                (Came::Ended(_), Victim::Containerd) => false,
                // A start that is cut off is the kubelet's to repeat, with another container or pod.
                (Came::Failed(_), victim) => crash || (victim == Victim::Shim && !known.started),
            };
            assert!(fine, "{what}");
            if let Some(pod) = pod {
                patiently(&what, || {
                    let id = PodSandboxId {
                        pod_sandbox_id: pod.id.clone(),
                    };
                    pod.cri.stop_pod_sandbox(id.clone())?;
                    pod.cri.remove_pod_sandbox(id)?;
                    Ok(Some(()))
                });
                pod.remove().unwrap_or_else(|error| panic!("{what}: {error:#}"));
            }
        }
        sweep(&neighbour);
        neighbour.check();
    }
    neighbour.end();
}

/// Removes the pods whose making was cut off, as the kubelet does when it lists what there is.
fn sweep(neighbour: &Neighbour<'_>) {
    let cri = &neighbour.pod.cri;
    let all = cri.list_pod_sandbox(Empty {}).unwrap().items;
    for sandbox in all.into_iter().filter(|sandbox| sandbox.id != neighbour.pod.id) {
        let id = PodSandboxId {
            pod_sandbox_id: sandbox.id,
        };
        patiently("a pod that was cut off", || {
            cri.stop_pod_sandbox(id.clone())?;
            cri.remove_pod_sandbox(id.clone())?;
            Ok(Some(()))
        });
    }
}
