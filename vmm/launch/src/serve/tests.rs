//! Serving with shell scripts in place of `mote-http` and `mote-vmm`: what a front may do, and what becomes of one that
//! does something else. They need /dev/kvm, as every launch does.

use std::{
    fs::{File, Permissions},
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    sync::mpsc,
    thread,
};

use super::*;
use crate::Limits;

/// A front's script that sends a message in one piece: a kind and a VM's number below 8.
const SAY: &str = r#"say() { printf "$1\00$2\0\0\0" >&4; }"#;

/// A VMM's that ends when it is let go, as mote-vmm does: its last descriptor is the socket to the front.
const VM: &str = "exec cat <&7 >/dev/null";

/// What came of serving.
struct Served {
    code: Result<u8, String>,
    /// The errors of the VMs.
    failed: Vec<String>,
    /// When VMs ended.
    ended: Vec<Duration>,
    took: Duration,
}

/// Serves with the two scripts, at most 2 VMs, and calls `act` meanwhile.
fn serve(front: &str, vm: &str, act: impl FnOnce(Handle) + Send + 'static) -> Served {
    let temp = tempfile::tempdir().unwrap();
    for (name, script) in [("mote-http", format!("{SAY}\n{front}")), ("mote-vmm", vm.into())] {
        let path = temp.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    let node = Node::new(temp.path(), temp.path().join("cache"), Limits::default()).unwrap();
    let code = File::open("/dev/null").unwrap();
    let vm = br#"{"version":3,"args":["a"],"env":[],"memory_limit":4096,"serve":true}"#;
    let serving = Serve {
        node: &node,
        front: FrontConfig::new(0, 2),
        vm: VmmConfig::from_json(vm).unwrap(),
        code: code.as_fd(),
        name: "test".into(),
        listeners: Vec::new(),
        preopens: Vec::new(),
        stdout: None,
        stderr: None,
        place: Place::default(),
        netns: None,
    }
    .start()
    .unwrap();
    let (tell, ready) = mpsc::channel();
    let handle = serving.handle();
    let acting = thread::spawn(move || {
        if ready.recv().is_ok() {
            act(handle);
        }
    });
    let begin = Instant::now();
    let (mut failed, mut ended) = (Vec::new(), Vec::new());
    let code = serving.run(|event| match event {
        Event::Ready => tell.send(()).unwrap(),
        Event::Ended { .. } => ended.push(begin.elapsed()),
        Event::Failed(e) => failed.push(e.to_string()),
        Event::FrontFailed(why) => panic!("it was not to be started anew: {why}"),
    });
    let took = begin.elapsed();
    drop(tell);
    acting.join().unwrap();
    Served {
        code: code.map_err(|e| e.to_string()),
        failed,
        ended,
        took,
    }
}

#[test]
fn the_end_of_the_front_is_the_end() {
    let served = serve(
        "trap 'exit 0' TERM; say L 0; while :; do sleep 0.1; done",
        VM,
        |s| s.stop(),
    );
    assert_eq!((served.code, served.ended.len()), (Ok(0), 1));
    let served = serve(
        "trap 'exit 143' TERM; say L 0; while :; do sleep 0.1; done",
        VM,
        |s| s.stop(),
    );
    assert_eq!((served.code, served.ended.len()), (Ok(143), 1));
    let served = serve("say L 0; exit 7", VM, |_| {});
    assert!(served.code.unwrap_err().contains("mote-http exited with 7"));
    assert_eq!(served.ended.len(), 1, "nothing is left behind");
}

#[test]
fn a_front_that_talks_nonsense_is_killed() {
    for message in ["printf hello >&4", "say V 1", "say F 0"] {
        let served = serve(&format!("{message}; exec sleep 60"), VM, |_| {});
        let why = served.code.unwrap_err();
        assert!(why.contains("SIGKILL"), "{message}: {why}");
    }
}

#[test]
fn a_front_has_no_more_vms_than_it_may() {
    // With the first VM, 4 are twice as many as it may have. (Messages that end VMs which are not there do nothing.)
    let front = "say L 0; for n in 1 2 3 4 5; do say W 0; say E 7; done; sleep 1; exit 0";
    let served = serve(front, VM, |_| {});
    assert_eq!(
        (served.code, served.ended.len(), served.failed.len()),
        (Ok(0), 4, 2)
    );
    assert!(served.failed[0].contains("more VMs than it may have"));
}

#[test]
fn a_vm_that_is_given_up_is_asked_and_then_killed() {
    let front = "say L 0; say E 0; exec sleep 3.5";
    let polite = serve(front, "trap 'exit 0' TERM; while :; do sleep 0.1; done", |_| {});
    assert_eq!((polite.code, polite.ended.len()), (Ok(0), 1));
    assert!(polite.ended[0] < PATIENCE, "{:?}", polite.ended);
    let stubborn = serve(front, "trap '' TERM; while :; do sleep 0.1; done", |_| {});
    assert_eq!((stubborn.code, stubborn.ended.len()), (Ok(0), 1));
    assert!(
        stubborn.ended[0] >= PATIENCE && stubborn.ended[0] < Duration::from_millis(3400),
        "{:?}",
        stubborn.ended
    );
}

#[test]
fn a_vm_that_does_not_end_by_itself_is_made_to() {
    let front = "trap 'exit 0' TERM; say L 0; while :; do sleep 0.1; done";
    let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
    let busy = serve(front, "exec sleep 60", |s| s.stop());
    assert_eq!((busy.code, busy.ended.len()), (Ok(0), 1));
    assert!(busy.took < PATIENCE, "{:?}", busy.took);
    let stopped = serve(front, stubborn, |s| s.stop());
    assert_eq!((stopped.code, stopped.ended.len()), (Ok(0), 1));
    assert!(stopped.took >= PATIENCE, "{:?}", stopped.took);
    let killed = serve(front, stubborn, |s| s.kill());
    assert_eq!(
        (killed.code, killed.ended.len()),
        (Ok(mote_config::exit::TERMINATED), 1)
    );
    assert!(killed.took < PATIENCE, "{:?}", killed.took);
}
