//! Fifty pods at once, and two hundred in turn.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mote_e2e::containerd::Containerd;
use mote_e2e::images::{self, Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::recovery::handlers;
use mote_e2e::{kvm, leaks, paths};

/// Pods that run at the same time.
const PODS: usize = 50;
/// The same, when one batch follows the other.
const BATCH: usize = 10;
/// Pods after which everything is there that stays: images, compiled code.
const SETTLED: usize = 50;

/// Held by a test that looks at all that there is.
static ALONE: Mutex<()> = Mutex::new(());

/// Images of one program for each version of WASI.
fn programs(daemon: &Containerd) -> [String; 2] {
    images::import_pause(daemon).unwrap();
    ["hello-rust-p1", "hello-rust-p2"].map(|program| {
        let image = Image::program(&format!("many-{program}"), Form::Rootfs, program);
        image.import(daemon).unwrap();
        image.name
    })
}

/// Runs a pod's one container to its end; answers the path of the shim's socket.
fn live(daemon: &Containerd, programs: &[String; 2], number: usize) -> PathBuf {
    let mut pod = Pod::run(daemon, &format!("many-{number}")).unwrap();
    let version = number % programs.len();
    let spec = Spec::new("main", &programs[version]).args(&[&format!("pod {number}")]);
    let (status, log) = pod.run_container(&spec).unwrap();
    assert_eq!(status.exit_code, 0, "pod {number}: {status:?} {log:?}");
    let expected = format!("hello from rust, wasi 0.{}\narg 1: pod {number}\n", version + 1);
    assert_eq!(log.stdout, expected, "pod {number}: {}", log.stderr);
    let bundle = &daemon.bundles()[&pod.id];
    let address = fs::read_to_string(bundle.join("address")).unwrap();
    let socket = PathBuf::from(address.trim().trim_start_matches("unix://"));
    assert!(socket.exists(), "{}", socket.display());
    pod.remove().unwrap();
    socket
}

#[test]
fn fifty_pods_at_once() {
    if !kvm::ready() {
        return;
    }
    let _alone = ALONE.lock();
    let daemon = Containerd::shared();
    let programs = programs(daemon);
    let start = Barrier::new(PODS);
    thread::scope(|scope| {
        for number in 0..PODS {
            let (start, programs) = (&start, &programs);
            scope.spawn(move || {
                start.wait();
                live(daemon, programs, number);
            });
        }
    });
}

/// What there is on the node of this containerd and of Mote when no pod runs, in lines.
fn stock(daemon: &Containerd) -> BTreeSet<String> {
    daemon.collect_garbage().unwrap();
    let mut all = BTreeSet::new();
    for root in [&daemon.run, &daemon.root] {
        walk(root, &mut |path, _| {
            all.insert(format!("file {}", path.display()));
        });
        let mounts = leaks::mounts_below(root).into_iter();
        all.extend(mounts.map(|point| format!("mount {point}")));
    }
    // Mote's own files: compiled code. They are not to grow either.
    walk(&paths::cache(), &mut |path, size| {
        all.insert(format!("file {} of {size} bytes", path.display()));
    });
    let cgroups = leaks::cgroups_of(&daemon.cgroup).into_iter();
    all.extend(cgroups.map(|path| format!("cgroup {path}")));
    let addresses = daemon.leases().into_iter();
    all.extend(addresses.map(|address| format!("lease {address}")));
    all.extend(daemon.links().into_iter().map(|link| format!("link {link}")));
    all
}

/// Waits until nothing is there that was not there before, and answers what is: an exit is announced before the last file
/// is gone.
fn more_than(daemon: &Containerd, before: &BTreeSet<String>) -> Vec<String> {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        let more: Vec<String> = stock(daemon).difference(before).cloned().collect();
        if more.is_empty() || Instant::now() > give_up {
            return more;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path, u64)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // It may go in between.
        let Ok(metadata) = entry.metadata() else { continue };
        visit(&entry.path(), metadata.len());
        if metadata.is_dir() {
            walk(&entry.path(), visit);
        }
    }
}

/// Made, run and deleted, ten at a time: nothing is there after the last that was not there after the fiftieth.
#[test]
fn pods_in_turn_leave_nothing() {
    if !kvm::ready() {
        return;
    }
    let _alone = ALONE.lock();
    let pods = std::env::var("MOTE_PODS").map_or(200, |text| text.parse().unwrap());
    println!("{pods} pods; MOTE_PODS asks for another number");
    let daemon = Containerd::shared();
    let programs = programs(daemon);
    let handlers = handlers(daemon);
    let batch = |first: usize| -> Vec<PathBuf> {
        thread::scope(|scope| {
            let numbers = first..(first + BATCH).min(pods);
            let lives: Vec<_> = numbers
                .map(|number| {
                    let programs = &programs;
                    let daemon = &handlers[number / programs.len() % handlers.len()];
                    scope.spawn(move || live(daemon, programs, number))
                })
                .collect();
            lives.into_iter().map(|life| life.join().unwrap()).collect()
        })
    };
    let started = Instant::now();
    let mut sockets = Vec::new();
    let mut settled = (BTreeSet::new(), 0);
    for first in (0..pods).step_by(BATCH) {
        if first == SETTLED.min(pods / 2) {
            settled = (stock(daemon), daemon.memory_kib().unwrap());
        }
        sockets.extend(batch(first));
    }
    let took = started.elapsed();
    let more = more_than(daemon, &settled.0);
    assert!(
        more.is_empty(),
        "after {pods} pods there is more:\n{}",
        more.join("\n")
    );
    let address_or_link = |line: &&String| line.starts_with("lease") || line.starts_with("link");
    let left: Vec<&String> = settled.0.iter().filter(address_or_link).collect();
    assert!(left.is_empty(), "between two batches: {left:?}");
    let left: Vec<&PathBuf> = sockets.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "sockets of shims: {left:?}");
    let left = leaks::of_daemon(daemon);
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    println!(
        "{pods} pods in {took:.1?}; containerd had {} KiB and has {} KiB",
        settled.1,
        daemon.memory_kib().unwrap()
    );
}
