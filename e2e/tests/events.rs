//! Events of a task, as containerd hands them on: who watches a node sees by them what becomes of a container.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::containerd::matrix;
use mote_e2e::ctr::Events;
use mote_e2e::images::{Form, Image};
use mote_e2e::kvm;
use mote_e2e::pod::{Pod, Spec};

#[test]
fn a_life_and_the_want_of_memory() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = Image::program("events", Form::Rootfs, "probe-rust-p1");
        image.import(daemon).unwrap();
        let events = Events::of(daemon, "k8s.io").unwrap();
        let mut pod = Pod::run(daemon, "events").unwrap();
        let of_task = |id: &str, last: &str| -> Vec<String> {
            let topics = events.until(id, last).unwrap();
            topics
                .into_iter()
                .filter(|topic| topic.starts_with("/tasks/"))
                .collect()
        };
        let plain = Spec::new("plain", &image.name).args(&["exit", "3"]);
        let id = pod.start(&plain).unwrap();
        assert_eq!(pod.wait(&id).unwrap().exit_code, 3);
        assert_eq!(
            of_task(&id, "/tasks/delete"),
            ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
        );
        // CRI's reason OOMKilled comes from TaskOOM, which has to come before the end.
        let greedy = Spec::new("greedy", &image.name).args(&["alloc"]).memory(96 << 20);
        let id = pod.start(&greedy).unwrap();
        let status = pod.wait(&id).unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
        assert_eq!(
            of_task(&id, "/tasks/delete"),
            [
                "/tasks/create",
                "/tasks/start",
                "/tasks/oom",
                "/tasks/exit",
                "/tasks/delete"
            ]
        );
        pod.remove().unwrap();
    });
}
