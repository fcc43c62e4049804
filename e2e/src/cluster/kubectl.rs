//! kubectl, as a user runs it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::shell::{run, wait};
use crate::paths;

/// A cluster and a namespace of it.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    #[must_use]
    pub fn new(kubeconfig: &Path) -> Kubectl {
        Kubectl {
            kubeconfig: kubeconfig.into(),
            namespace: "default".into(),
        }
    }

    /// The same cluster, another namespace.
    #[must_use]
    pub fn in_namespace(&self, name: &str) -> Kubectl {
        Kubectl {
            namespace: name.into(),
            ..self.clone()
        }
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The command, with these words.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(paths::work().join("kubectl/usr/bin/kubectl"));
        command
            .env("KUBECONFIG", &self.kubeconfig)
            // Not in the home of whoever runs the tests.
            .arg("--cache-dir")
            .arg(paths::work().join("kubectl/cache"))
            .current_dir(paths::root());
        if !words.contains(&"--all-namespaces") {
            command.args(["--namespace", &self.namespace]);
        }
        command.args(words);
        command
    }

    /// Runs it; what it printed.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        run(&mut self.command(words))
    }

    /// `kubectl get WORDS -o json`.
    ///
    /// # Errors
    /// If it fails.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend_from_slice(words);
        Ok(serde_json::from_str(&self.run(&all)?)?)
    }

    /// `kubectl apply -f -` of an object.
    ///
    /// # Errors
    /// If it is not taken.
    pub fn apply(&self, object: &Value) -> Result<()> {
        let mut child = self
            .command(&["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("a pipe")?
            .write_all(object.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "kubectl apply: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// A namespace of a test's own. What is in it goes when this is dropped.
#[derive(Debug)]
pub struct Namespace(Kubectl);

impl Namespace {
    /// # Errors
    /// If it cannot be made.
    pub fn new(kubectl: &Kubectl, name: &str) -> Result<Namespace> {
        let name = format!("mote-{name}-{}", std::process::id());
        kubectl.run(&["create", "namespace", &name])?;
        let space = Namespace(kubectl.in_namespace(&name));
        // A controller makes the account that pods need.
        wait("the namespace's account", Duration::from_secs(20), || {
            space.run(&["get", "serviceaccount", "default"])
        })?;
        Ok(space)
    }

    /// Waits for the end of all containers of a pod; `state.terminated` of the first.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn ended(&self, pod: &str) -> Result<Value> {
        wait("the pod's end", Duration::from_secs(60), || {
            let status = self.get(&["pod", pod])?["status"].clone();
            let containers = status["containerStatuses"].as_array().context("no status")?;
            let all = containers
                .iter()
                .all(|one| one["state"]["terminated"].is_object());
            ensure!(!containers.is_empty() && all, "{status:#}");
            Ok(containers[0]["state"]["terminated"].clone())
        })
    }
}

impl std::ops::Deref for Namespace {
    type Target = Kubectl;

    fn deref(&self) -> &Kubectl {
        &self.0
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let name = self.namespace();
        let _ = self.run(&["delete", "namespace", name, "--wait=false"]);
    }
}

/// A pod of one container, `main`, of an image that is on the node.
#[must_use]
pub fn pod(name: &str, image: &str, args: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "name": name } },
        "spec": {
            "runtimeClassName": "mote",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "main",
                "image": image,
                "imagePullPolicy": "Never",
                "args": args,
            }],
        },
    })
}

/// The messages of a pod's events.
///
/// # Errors
/// If they cannot be read.
pub fn events(kubectl: &Kubectl, pod: &str) -> Result<String> {
    let selector = format!("involvedObject.name={pod}");
    let path = "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}";
    kubectl.run(&["get", "events", "--field-selector", &selector, "-o", path])
}
