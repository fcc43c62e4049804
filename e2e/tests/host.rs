//! The harness itself: containerd is up as a node's would be. Needs no KVM.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::containerd::Containerd;
use mote_e2e::cri::Cri;
use mote_e2e::cri::messages::{StatusRequest, VersionRequest};
use mote_e2e::images::{self, FORMS, Image};

#[test]
fn cri_and_network_are_ready() {
    let daemon = Containerd::shared();
    let cri = Cri::connect(daemon).unwrap();
    let version = cri.version(VersionRequest { version: "v1".into() }).unwrap();
    assert_eq!(
        (
            version.runtime_name.as_str(),
            version.runtime_api_version.as_str()
        ),
        ("containerd", "v1")
    );
    let status = cri
        .status(StatusRequest { verbose: false })
        .unwrap()
        .status
        .unwrap();
    for condition in status
        .conditions
        .iter()
        .filter(|condition| condition.kind.ends_with("Ready"))
    {
        assert!(condition.status, "{condition:?}");
    }
}

#[test]
fn every_form_of_image_is_taken() {
    let daemon = Containerd::shared();
    images::import_pause(daemon).unwrap();
    for form in FORMS.into_iter().filter(|form| daemon.takes(*form)) {
        let image = Image::program(&format!("taken-{form:?}").to_lowercase(), form, "hello-c-p1");
        image.import(daemon).unwrap();
        for namespace in ["default", "k8s.io"] {
            let output = daemon
                .ctr()
                .args(["--namespace", namespace, "images", "ls", "-q"])
                .output()
                .unwrap();
            let names = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                names.lines().any(|name| name == image.name),
                "{} is not in {namespace}: {names}",
                image.name
            );
        }
    }
}
