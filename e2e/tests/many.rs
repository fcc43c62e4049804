//! Fifty pods at once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Barrier;
use std::thread;

use mote_e2e::containerd::Containerd;
use mote_e2e::images::{self, Form, Image};
use mote_e2e::kvm;
use mote_e2e::pod::{Pod, Spec};

const PODS: usize = 50;

#[test]
fn fifty_pods_at_once() {
    if !kvm::ready() {
        return;
    }
    let daemon = Containerd::shared();
    images::import_pause(daemon).unwrap();
    let programs = ["hello-rust-p1", "hello-rust-p2"].map(|program| {
        let image = Image::program(&format!("many-{program}"), Form::Rootfs, program);
        image.import(daemon).unwrap();
        image.name
    });
    let start = Barrier::new(PODS);
    thread::scope(|scope| {
        for number in 0..PODS {
            let (start, programs) = (&start, &programs);
            scope.spawn(move || {
                start.wait();
                let mut pod = Pod::run(daemon, &format!("many-{number}")).unwrap();
                let version = number % programs.len();
                let spec = Spec::new("main", &programs[version]).args(&[&format!("pod {number}")]);
                let (status, log) = pod.run_container(&spec).unwrap();
                assert_eq!(status.exit_code, 0, "pod {number}: {status:?} {log:?}");
                let expected = format!("hello from rust, wasi 0.{}\narg 1: pod {number}\n", version + 1);
                assert_eq!(log.stdout, expected, "pod {number}: {}", log.stderr);
                pod.remove().unwrap();
            });
        }
    });
}
