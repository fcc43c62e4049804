//! A pod that serves: an HTTP component behind the pod's own address.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use http::StatusCode;
use mote_e2e::containerd::{Containerd, HANDLER, Series, matrix};
use mote_e2e::images::{Form, Image};
use mote_e2e::kvm;
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::serve::load::get;

/// The answer, once the pod listens.
fn answer(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        match runtime.block_on(get(address, path)) {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < give_up, "{error:#}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// An image with a command that listens at port 80 on a socket of its own.
fn web() -> Image {
    Image::program("web", Form::Rootfs, "web-rust-p2").entrypoint(&["/app.wasm", "web", "80"])
}

/// What a command in another pod, with these annotations, gets for `/hello`.
fn asked(daemon: &Containerd, annotations: &[(&str, &str)], address: SocketAddr) -> String {
    let image = Image::program("asking", Form::Rootfs, "fetch-rust");
    image.import(daemon).unwrap();
    let mut pod = Pod::run(daemon, "asking").unwrap();
    let url = format!("http://{address}/hello");
    let mut spec = Spec::new("main", &image.name).args(&[&url]);
    for (name, value) in annotations {
        spec = spec.annotation(name, value);
    }
    let id = pod.start(&spec).unwrap();
    let status = pod.wait(&id).unwrap();
    let log = pod.log("main").unwrap();
    assert_eq!(status.exit_code, 0, "{log:?}");
    pod.remove().unwrap();
    log.stdout
}

#[test]
fn requests_reach_the_component_and_sigterm_drains() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        let image = Image::program("serving", Form::Rootfs, "exchange-rust");
        image.import(daemon).unwrap();
        let mut pod = Pod::run(daemon, "serving").unwrap();
        let address = SocketAddr::new(pod.ip().unwrap().parse().unwrap(), 8080);
        let id = pod.start(&Spec::new("main", &image.name)).unwrap();
        assert_eq!(answer(address, "/hello"), (StatusCode::OK, "hello\n".into()));
        assert_eq!(answer(address, "/else").0, StatusCode::NOT_FOUND);
        assert_eq!(asked(daemon, &[], address), "200 hello\n\n");
        let denied = asked(daemon, &[("mote/network", "none")], address);
        assert!(denied.contains("HttpRequestDenied"), "{denied}");
        pod.stop_container(&id, 10).unwrap();
        let status = pod.wait(&id).unwrap();
        assert_eq!(status.exit_code, 143, "{status:?}");
        pod.remove().unwrap();
    });
}

/// As a process of root in a container could: `mote-vmm` is nobody's and has no capabilities.
#[test]
fn a_command_of_root_listens_below_port_1024() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        web().import(daemon).unwrap();
        let mut pod = Pod::run(daemon, "low-port").unwrap();
        let address = SocketAddr::new(pod.ip().unwrap().parse().unwrap(), 80);
        pod.start(&Spec::new("main", &web().name)).unwrap();
        assert_eq!(answer(address, "/").0, StatusCode::OK);
        pod.remove().unwrap();
    });
}

/// Others may where the pod's sandbox says so: containerd 2.x sets `net.ipv4.ip_unprivileged_port_start` to 0 in it.
#[test]
fn the_sandbox_says_who_listens_below_port_1024() {
    if !kvm::ready() {
        return;
    }
    matrix::each(|daemon| {
        web().import(daemon).unwrap();
        let mut pod = Pod::run(daemon, "low-port-user").unwrap();
        let address = SocketAddr::new(pod.ip().unwrap().parse().unwrap(), 80);
        let id = pod.start(&Spec::new("main", &web().name).user(1000)).unwrap();
        if daemon.series == Series::V2_1 && daemon.handler == HANDLER {
            assert_eq!(answer(address, "/").0, StatusCode::OK);
        } else {
            assert_eq!(pod.wait(&id).unwrap().exit_code, 1);
            let log = pod.log("main").unwrap();
            assert!(log.stderr.contains("PermissionDenied"), "{log:?}");
        }
        pod.remove().unwrap();
    });
}
