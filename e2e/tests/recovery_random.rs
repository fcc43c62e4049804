//! Kills of a shim, of a VMM and of containerd at random moments: no exit code is lost, no pod stays, no neighbour
//! notices.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mote_e2e::containerd::{Containerd, matrix};
use mote_e2e::cri::messages::{ContainerState, Empty};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::recovery::dice::{Dice, LANES, Plan};
use mote_e2e::recovery::{Neighbour, Victim, handlers, image, kill, patiently, remove};
use mote_e2e::vmm::{self, shim};
use mote_e2e::{ctr, kvm, leaks};

/// What is known of a pod while it is made.
#[derive(Clone, Debug, Default)]
struct Known {
    sandbox: String,
    container: String,
    /// The call that starts the container has returned.
    started: bool,
    over: bool,
    /// containerd died with the container's bundle removed. It had the exit code then (the answer to Delete comes before
    /// the bundle goes), and whether it had noted it is not in a shim's power: what it has not noted is 255 when it
    /// starts again. (`pkg/cri/server/events.go`, `handleContainerExit`; `restart.go`, `unknownExitCode`)
    taken: bool,
}

/// What came of a pod.
#[derive(Debug)]
enum Came {
    Ended(i32),
    /// It has ended, and containerd takes it for running: it ended while containerd looked for the containers that it had
    /// before, and who waited for the end did not find the container yet (`pkg/cri/server/events.go`,
    /// `startContainerExitMonitor`; `restart.go`, `recover`). A stop waits for ever then; another restart finds the end.
    Missed,
    /// A call failed on the way.
    Failed(#[allow(dead_code, reason = "shown in a failure's message")] String),
}

/// What containerd had under way when it was killed, and does not know when it starts again, of any runtime.
#[derive(Debug, Default)]
struct Abandoned {
    /// Bundles that it had renamed to remove them; it passes over them. (`runtime/v2/bundle.go`, `atomicDelete`;
    /// `shim_load.go`, "skip hidden directories")
    bundles: Vec<PathBuf>,
    /// Network namespaces, among them any that it had made and not noted in the sandbox's metadata.
    /// (`sandbox_run.go`, between `NewNetNS` and the update of the container, with 2.x of the sandbox)
    netns: BTreeSet<PathBuf>,
}

/// Figures of a run.
#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    of_containerd: u64,
    /// Containers that ended with their own code.
    own_code: u64,
    /// Exit codes that containerd took and had not noted when it was killed.
    taken: u64,
    /// Ends that containerd did not see until its next restart.
    missed: u64,
    cut_off: u64,
    abandoned_bundles: usize,
    abandoned_netns: usize,
    /// Shims that no containerd has asked for a task.
    unused: usize,
}

/// The pods of one round, and what was left at the crash.
struct Round<'a> {
    daemon: &'a Containerd,
    known: [Mutex<Known>; LANES],
    abandoned: Mutex<Abandoned>,
}

impl Round<'_> {
    fn known(&self, lane: usize) -> Known {
        self.known[lane].lock().unwrap().clone()
    }

    fn crash(&self) {
        let look = || {
            let bundles = self.daemon.bundles();
            for known in &self.known {
                let mut known = known.lock().unwrap();
                known.taken = known.started && !known.over && !bundles.contains_key(&known.container);
            }
            let mut abandoned = self.abandoned.lock().unwrap();
            let hidden = bundles.into_iter().filter(|(name, _)| name.starts_with('.'));
            abandoned.bundles = hidden.map(|(_, path)| path).collect();
            abandoned.netns = self.daemon.network_namespaces().into_iter().collect();
        };
        self.daemon.crash_and(look).unwrap();
    }

    /// Strikes at the given time, or as soon as there is somebody to strike. Answers whether there was.
    fn hit(&self, lane: usize, plan: Plan) -> bool {
        while plan.since_start && !self.known(lane).started && !self.known(lane).over {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(plan.at);
        loop {
            let known = self.known(lane);
            let pids = match plan.victim {
                Victim::Containerd => {
                    self.crash();
                    return true;
                }
                Victim::Shim if !known.sandbox.is_empty() => shim(&known.sandbox),
                Victim::Vmm if !known.container.is_empty() => vmm::of_cgroup(&known.container),
                _ => Vec::new(),
            };
            if !pids.is_empty() || known.over {
                kill(&pids);
                return !pids.is_empty();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The life of a pod, which is struck meanwhile.
    fn live<'d>(
        &self,
        daemon: &'d Containerd,
        image: &str,
        lane: usize,
        plan: Plan,
    ) -> (Option<Pod<'d>>, Came) {
        let failed = |error: anyhow::Error| Came::Failed(format!("{error:#}"));
        let know = |change: &dyn Fn(&mut Known)| change(&mut self.known[lane].lock().unwrap());
        let mut pod = match Pod::run(daemon, "random") {
            Ok(pod) => pod,
            Err(error) => return (None, failed(error)),
        };
        know(&|known| known.sandbox.clone_from(&pod.id));
        let (lasts, code) = (plan.lasts.to_string(), plan.code.to_string());
        let spec = Spec::new("main", image).args(&["lasts", &lasts, &code]);
        let id = match pod.create(&spec) {
            Ok(id) => id,
            Err(error) => return (Some(pod), failed(error)),
        };
        know(&|known| known.container.clone_from(&id));
        if let Err(error) = pod.start_created(&id) {
            return (Some(pod), failed(error));
        }
        know(&|known| known.started = true);
        let overdue = Instant::now() + Duration::from_millis(plan.lasts) + Duration::from_secs(20);
        let came = patiently("the container's end", || {
            let status = pod.status(&id)?;
            if status.state() == ContainerState::Unknown {
                // containerd was killed while it took the container's end, and finds its FIFOs gone (`restart.go`,
                // `loadContainer`). The kubelet kills what is in this state (`kuberuntime_manager.go`,
                // `computePodActions`); so it is noted, with its code.
                pod.stop_container(&id, 5)?;
            }
            let runs = || anyhow::Ok(ctr::task_status(daemon, "k8s.io", &id)?.as_deref() == Some("RUNNING"));
            Ok(match status.state() {
                ContainerState::Exited => Some(Came::Ended(status.exit_code)),
                ContainerState::Running if Instant::now() > overdue && !runs()? => Some(Came::Missed),
                _ => None,
            })
        });
        (Some(pod), came)
    }

    /// Removes what containerd abandoned, as only an operator can.
    fn sweep(&self, neighbours: &BTreeSet<PathBuf>, cut_off: usize, figures: &mut Figures) {
        let abandoned = self.abandoned.lock().unwrap();
        for bundle in abandoned.bundles.iter().filter(|path| path.exists()) {
            fs::remove_dir_all(bundle).unwrap();
            figures.abandoned_bundles += 1;
        }
        let strays: Vec<PathBuf> = self.daemon.network_namespaces();
        let strays: Vec<&PathBuf> = strays.iter().filter(|path| !neighbours.contains(*path)).collect();
        assert!(
            strays.len() <= cut_off && strays.iter().all(|path| abandoned.netns.contains(*path)),
            "network namespaces of no pod: {strays:?}; {cut_off} pods were cut off, {abandoned:?}"
        );
        for path in strays {
            unmount(path);
            fs::remove_file(path).unwrap();
            figures.abandoned_netns += 1;
        }
    }
}

fn unmount(path: &Path) {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a string that ends in zero and outlives the call.
    let done = unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) };
    assert_eq!(done, 0, "{}: {}", path.display(), std::io::Error::last_os_error());
}

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn killed_at_random() {
    if !kvm::ready() {
        return;
    }
    let (kills, seed) = (number("MOTE_KILLS", 16), number("MOTE_SEED", 0x6d6f_7465));
    println!("{kills} kills, seed {seed}; MOTE_KILLS and MOTE_SEED ask for others");
    matrix::each_series(|daemon| {
        let started = Instant::now();
        let figures = kill_at_random(daemon, kills, seed);
        println!(
            "containerd {}: {figures:?} in {:.0?}",
            daemon.series.name(),
            started.elapsed()
        );
    });
}

fn kill_at_random(daemon: &Containerd, kills: u64, seed: u64) -> Figures {
    let image = image(daemon).unwrap();
    let handlers = handlers(daemon);
    let mut dice = Dice(seed);
    let mut neighbour = Neighbour::start(daemon, &image).unwrap();
    let neighbours: BTreeSet<PathBuf> = daemon.network_namespaces().into_iter().collect();
    let mut figures = Figures::default();
    let mut rounds = 0;
    while figures.kills < kills {
        rounds += 1;
        let plans = dice.round();
        let round = Round {
            daemon,
            known: Default::default(),
            abandoned: Mutex::default(),
        };
        let lived: Vec<(Option<Pod<'_>>, Came, bool)> = thread::scope(|scope| {
            let (round, image, handlers) = (&round, &image, &handlers);
            let lanes: Vec<_> = plans
                .into_iter()
                .enumerate()
                .map(|(lane, plan)| {
                    let daemon = &handlers[lane % handlers.len()];
                    let hit = scope.spawn(move || round.hit(lane, plan));
                    let live = scope.spawn(move || {
                        let lived = round.live(daemon, image, lane, plan);
                        round.known[lane].lock().unwrap().over = true;
                        lived
                    });
                    (hit, live)
                })
                .collect();
            let ended = lanes.into_iter().map(|(hit, live)| {
                let (pod, came) = live.join().unwrap();
                (pod, came, hit.join().unwrap())
            });
            ended.collect()
        });
        let crash = plans.iter().any(|plan| plan.victim == Victim::Containerd);
        figures.of_containerd += u64::from(crash);
        if crash && lived.iter().any(|(_, came, _)| matches!(came, Came::Missed)) {
            daemon.restart().unwrap();
        }
        let mut pods = Vec::new();
        let mut unborn = 0;
        for (lane, (pod, mut came, hit)) in lived.into_iter().enumerate() {
            let (plan, known) = (plans[lane], round.known(lane));
            if let (Came::Missed, Some(pod)) = (&came, &pod) {
                figures.missed += 1;
                came = Came::Ended(pod.wait(&known.container).unwrap().exit_code);
            }
            let what = format!("seed {seed}, round {rounds}: {plan:?}, {known:?}: {came:?}");
            figures.kills += u64::from(hit);
            match &came {
                Came::Ended(code) if *code == plan.code => figures.own_code += 1,
                Came::Ended(code) if plan.victim.explains(*code) => {}
                Came::Ended(255) if known.taken => figures.taken += 1,
                Came::Ended(_) | Came::Missed => panic!("{what}"),
                // A start that is cut off is the kubelet's to repeat, with another container or pod.
                Came::Failed(_) => {
                    assert!(crash || (plan.victim == Victim::Shim && !known.started), "{what}");
                    figures.cut_off += 1;
                }
            }
            match pod {
                Some(pod) => pods.push((pod, what)),
                None => unborn += 1,
            }
        }
        for (pod, what) in &pods {
            remove(&pod.cri, &pod.id, what);
        }
        remove_others(&neighbour);
        round.sweep(&neighbours, unborn, &mut figures);
        for (pod, what) in pods {
            pod.remove().unwrap_or_else(|error| panic!("{what}: {error:#}"));
        }
        neighbour.check().unwrap();
    }
    figures.unused = wait_for_unused(daemon);
    neighbour.end().unwrap();
    figures
}

/// A shim that was started for a containerd that was killed then, and that no other has asked for a task, leaves by itself
/// in half a minute. Answers how many had to be waited for.
fn wait_for_unused(daemon: &Containerd) -> usize {
    let socket = daemon.socket().display().to_string();
    let unused = || leaks::find_processes(vmm::SHIM, &socket).len() - 1;
    let at_first = unused();
    let give_up = Instant::now() + Duration::from_secs(60);
    while unused() > 0 {
        assert!(Instant::now() < give_up, "{} shims of no pod", unused());
        thread::sleep(Duration::from_millis(100));
    }
    at_first
}

/// Removes the pods whose making was cut off, as the kubelet does when it lists what there is.
fn remove_others(neighbour: &Neighbour<'_>) {
    let cri = &neighbour.pod.cri;
    let all = cri.list_pod_sandbox(Empty {}).unwrap().items;
    for sandbox in all.into_iter().filter(|sandbox| sandbox.id != neighbour.pod.id) {
        remove(cri, &sandbox.id, "a pod that was cut off");
    }
}
