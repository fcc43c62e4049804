//! What the Helm chart renders to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use mote_e2e::{chart, paths};
use serde_json::Value;

/// The objects of release `r1` in namespace `ns`, and what is printed after it was installed.
fn render(values: &str) -> (Vec<Value>, String) {
    chart::render("r1", "ns", values).unwrap()
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "{kind} {name} twice");
    object
}

fn args(container: &Value) -> Vec<&str> {
    container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect()
}

#[test]
fn by_default() {
    let (objects, notes) = render("{}");
    let set = one(&objects, "DaemonSet", "r1-installer");
    let pod = &set["spec"]["template"];
    let selector = set["spec"]["selector"]["matchLabels"].as_object().unwrap();
    for (name, value) in selector {
        assert_eq!(&pod["metadata"]["labels"][name], value, "{name}");
    }
    assert_eq!(pod["spec"]["hostPID"], true);
    assert_eq!(pod["spec"]["serviceAccountName"], "r1-installer");
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], "mote-install:0.1.0");
    assert!(args(container).starts_with(&["daemon", "--root=/host", "--from=/opt/mote/bin"]));
    assert_eq!(pod["spec"]["volumes"][0]["hostPath"]["path"], "/");
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/host");

    let class = one(&objects, "RuntimeClass", "mote");
    assert_eq!(class["handler"], "mote");
    assert_eq!(class["scheduling"]["nodeSelector"]["mote.dev/ready"], "true");
    assert!(class["overhead"]["podFixed"]["memory"].is_string());
    assert!(notes.contains("runtimeClassName: mote") && notes.contains("daemonset/r1-installer"));
}

/// Nodes that were set up by hand get the same class.
#[test]
fn the_manifest_says_what_the_chart_says() {
    let (objects, _) = render("{}");
    let class = one(&objects, "RuntimeClass", "mote");
    let manifest = chart::object(&paths::root().join("manifests/runtimeclass.yaml")).unwrap();
    for part in ["apiVersion", "handler", "overhead", "scheduling"] {
        assert_eq!(manifest[part], class[part], "{part}");
    }
}

#[test]
fn the_clean_up_keeps_the_rights_that_it_needs() {
    let (objects, _) = render("{}");
    let mut hooks = 0;
    for object in &objects {
        let hook = object["metadata"]["annotations"]["helm.sh/hook"].as_str();
        let name = object["metadata"]["name"].as_str().unwrap();
        assert_eq!(hook == Some("pre-delete"), name.ends_with("-uninstall"), "{name}");
        hooks += usize::from(hook.is_some());
    }
    assert_eq!(hooks, 6);
    // Rights come before the job that uses them.
    let weight = |kind: &str| -> i32 {
        let object = one(&objects, kind, "r1-uninstall");
        let text = object["metadata"]["annotations"]["helm.sh/hook-weight"]
            .as_str()
            .unwrap();
        text.parse().unwrap()
    };
    for kind in [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    ] {
        assert!(weight(kind) < weight("Job"), "{kind}");
    }
    let role = one(&objects, "Role", "r1-uninstall");
    assert_eq!(role["rules"][1]["resourceNames"][0], "r1-installer");
    let job = one(&objects, "Job", "r1-uninstall");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let args = args(container);
    assert!(args.contains(&"--daemon-set=r1-installer"), "{args:?}");
    let set = one(&objects, "DaemonSet", "r1-installer");
    let selector = args.iter().find_map(|a| a.strip_prefix("--selector=")).unwrap();
    for pair in selector.split(',') {
        let (name, value) = pair.split_once('=').unwrap();
        assert_eq!(set["spec"]["selector"]["matchLabels"][name], value);
    }
    // The pods of the job itself must not count as installers.
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/component"], "uninstall");
    assert_eq!(container["securityContext"]["runAsNonRoot"], true);
}

#[test]
fn with_everything_set() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let (objects, notes) = render(&format!(
        "{{image: {{repository: r.test/m, digest: '{digest}'}}, imagePullSecrets: [{{name: s}}], fullnameOverride: m,
          node: {{prefix: /var/mote, distribution: k3s, config: /c.toml, socket: /s.sock, unit: k3s-x.service}},
          podAnnotations: {{a: b}}, podLabels: {{c: d}}, priorityClassName: high, affinity: {{nodeAffinity: {{}}}},
          runtimeClass: {{name: wasm, overhead: {{memory: 1Mi, cpu: 1m}}, nodeSelector: {{x: 'y'}},
                          tolerations: [{{operator: Exists}}]}}}}"
    ));
    let pod = &one(&objects, "DaemonSet", "m-installer")["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], format!("r.test/m@{digest}"));
    let args = args(container);
    for arg in [
        "--prefix=/var/mote",
        "--distribution=k3s",
        "--config=/c.toml",
        "--socket=/s.sock",
        "--unit=k3s-x.service",
    ] {
        assert!(args.contains(&arg), "{arg}: {args:?}");
    }
    assert_eq!(pod["metadata"]["annotations"]["a"], "b");
    assert_eq!(pod["metadata"]["labels"]["c"], "d");
    assert_eq!(pod["spec"]["priorityClassName"], "high");
    let class = one(&objects, "RuntimeClass", "wasm");
    assert_eq!(class["scheduling"]["nodeSelector"]["x"], "y");
    assert_eq!(class["scheduling"]["nodeSelector"]["mote.dev/ready"], "true");
    assert_eq!(class["scheduling"]["tolerations"][0]["operator"], "Exists");
    assert_eq!(class["overhead"]["podFixed"]["memory"], "1Mi");
    assert!(notes.contains("runtimeClassName: wasm"));
}

#[test]
fn with_parts_left_out() {
    let (objects, notes) =
        render("{runtimeClass: {create: false}, uninstall: {enabled: false}, node: {restart: false}}");
    assert_eq!(objects.len(), 4);
    assert!(!notes.contains("runtimeClassName"));
    let pod = &one(&objects, "DaemonSet", "r1-installer")["spec"]["template"];
    assert!(args(&pod["spec"]["containers"][0]).contains(&"--no-restart"));
}

/// The commands of the chart are ones that the installer takes.
#[test]
fn the_installer_takes_its_arguments() {
    let (objects, _) = render("{node: {distribution: rke2, config: /c, socket: /s, unit: u}}");
    let pods = [
        &one(&objects, "DaemonSet", "r1-installer")["spec"]["template"],
        &one(&objects, "Job", "r1-uninstall")["spec"]["template"],
    ];
    for pod in pods {
        let output = Command::new(paths::bin("mote-install"))
            .args(args(&pod["spec"]["containers"][0]))
            .env("NODE_NAME", "n")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("KUBERNETES_SERVICE_HOST is not set"), "{said}");
    }
}

/// Every value has its place in the schema, and the other way round.
#[test]
fn values_and_schema_name_the_same() {
    let values = chart::object(&chart::dir().join("values.yaml")).unwrap();
    let schema = fs::read(chart::dir().join("values.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_slice(&schema).unwrap();
    // Helm's own.
    schema["properties"].as_object_mut().unwrap().remove("global");
    compare("", &values, &schema);
}

fn compare(path: &str, values: &Value, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let values = values
        .as_object()
        .unwrap_or_else(|| panic!("{path} is no object"));
    let named: Vec<&String> = values.keys().collect();
    let known: Vec<&String> = properties.keys().collect();
    for name in &named {
        assert!(known.contains(name), "{path}.{name} is not in the schema");
    }
    for name in &known {
        assert!(named.contains(name), "{path}.{name} is not in values.yaml");
        compare(&format!("{path}.{name}"), &values[*name], &properties[*name]);
    }
}
