//! Mote on a node, by its chart: what `helm install` and `helm uninstall` do.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::components::RESTART_CONTAINERD;
use super::kubectl::Kubectl;
use super::node::Node;
use super::plan::NODE;
use super::shell::wait;
use crate::chart;
use crate::images::{Form, Image};
use crate::paths;

/// Name of the release and of its RuntimeClass.
pub const RELEASE: &str = "mote";
/// Where the installer runs.
pub const NAMESPACE: &str = "mote-system";
/// What a node is labelled with when it has run a program in a micro-VM.
pub const READY: &str = "mote.dev/ready";

const IMAGE: &str = "mote-install";
const EXECUTABLES: [&str; 6] = [
    "mote",
    "mote-vmm",
    "mote-compile",
    "mote-http",
    "containerd-shim-mote-v1",
    "mote-install",
];

/// The installer's image, as `charts/mote/image/Containerfile` has it.
///
/// # Errors
/// If an executable is missing.
pub fn image() -> Result<Image> {
    let mut image =
        Image::new(IMAGE, Form::LinuxRootfs, Vec::new()).entrypoint(&["/opt/mote/bin/mote-install"]);
    for name in EXECUTABLES {
        let path = paths::bin(name);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        image = image.executable(&format!("opt/mote/bin/{name}"), &bytes);
    }
    Ok(image)
}

fn objects() -> Result<Vec<Value>> {
    let values = json!({
        "image": { "repository": format!("mote.test/{IMAGE}"), "tag": "1", "pullPolicy": "Never" },
        "node": { "restartCommand": RESTART_CONTAINERD, "intervalSeconds": 2 },
    });
    Ok(chart::render(RELEASE, NAMESPACE, &values.to_string())?.0)
}

fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string()
}

/// Installs the chart and waits until the node is ready for pods.
///
/// # Errors
/// If it does not become ready, with what the installer says.
pub fn install(node: &Node) -> Result<()> {
    node.import(&image()?)?;
    let kubectl = node.kubectl().in_namespace(NAMESPACE);
    kubectl.run(&["create", "namespace", NAMESPACE])?;
    for object in objects()?.iter().filter(|object| !is_hook(object)) {
        kubectl.apply(object)?;
    }
    let ready = || {
        let label = label(&kubectl)?;
        ensure!(label == "true", "the label {READY} is {label:?}");
        Ok(())
    };
    wait("a node with Mote", Duration::from_secs(90), ready).with_context(|| said(&kubectl))
}

/// The node's label, empty if it has none.
///
/// # Errors
/// If the node cannot be read.
pub fn label(kubectl: &Kubectl) -> Result<String> {
    let path = format!("jsonpath={{.metadata.labels.{}}}", READY.replace('.', "\\."));
    kubectl.run(&["get", "node", NODE, "-o", &path])
}

fn said(kubectl: &Kubectl) -> String {
    let words = ["logs", "daemonset/mote-installer", "--tail=20"];
    let logs = kubectl.run(&words);
    let pods = kubectl.run(&["describe", "pods"]);
    format!("the installer: {logs:?}; its pods: {}", pods.unwrap_or_default())
}

/// Uninstalls the chart: the hooks first, in the order of their weight, and the rest when they have succeeded.
///
/// # Errors
/// If a node cannot be cleaned.
pub fn uninstall(kubectl: &Kubectl) -> Result<()> {
    let kubectl = kubectl.in_namespace(NAMESPACE);
    let (mut hooks, rest): (Vec<Value>, Vec<Value>) = objects()?.into_iter().partition(is_hook);
    hooks.sort_by_key(|hook| {
        let weight = hook["metadata"]["annotations"]["helm.sh/hook-weight"].as_str();
        weight.and_then(|weight| weight.parse::<i32>().ok())
    });
    for hook in &hooks {
        kubectl.apply(hook)?;
    }
    let job = format!("job/{RELEASE}-uninstall");
    kubectl
        .run(&["wait", "--for=condition=complete", &job, "--timeout=90s"])
        .with_context(|| format!("{:?}", kubectl.run(&["logs", &job])))?;
    for object in hooks.iter().chain(&rest) {
        let kind = object["kind"].as_str().context("an object has a kind")?;
        let name = object["metadata"]["name"].as_str().context("and a name")?;
        kubectl.run(&["delete", kind, name, "--ignore-not-found"])?;
    }
    Ok(())
}
