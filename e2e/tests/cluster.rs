//! Pods of a Kubernetes cluster: the one that `KUBECONFIG` names, with the images of `make samples` on its nodes, or a node
//! of this test's own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mote_e2e::cluster::Cluster;
use mote_e2e::cluster::kubectl::{Namespace, events, pod};
use mote_e2e::cluster::shell::wait;
use mote_e2e::kvm;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const TOOL: &str = "mote.test/tool:1";
const HTTP: &str = "mote.test/http:1";

fn cluster() -> &'static Cluster {
    Cluster::shared(Path::new(env!("CARGO_BIN_EXE_cluster")))
}

fn namespace(name: &str) -> Namespace {
    Namespace::new(&cluster().kubectl, name).unwrap()
}

#[test]
fn the_manifests_do_what_the_readme_says() {
    if !kvm::ready() {
        return;
    }
    let kubectl = &cluster().kubectl;
    let run = |words: &[&str]| kubectl.run(words).unwrap();
    run(&["apply", "-f", "manifests/"]);

    run(&["wait", "--for=condition=complete", "job/hello", "--timeout=60s"]);
    assert_eq!(
        run(&["logs", "job/hello"]),
        "hello from rust, wasi 0.2\narg 1: how\narg 2: are you?\ngreeting: from the pod spec\n"
    );

    run(&["rollout", "status", "deployment/http", "--timeout=60s"]);
    let path = "/api/v1/namespaces/default/services/http:http/proxy/";
    assert_eq!(run(&["get", "--raw", path]), "hello from rust\n");
    let listed = run(&["exec", "deployment/http", "--", "/tool.wasm", "list", "/"]);
    assert!(listed.contains("tool.wasm"), "{listed}");
    let scaler = kubectl.get(&["hpa", "http"]).unwrap();
    assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], "http");

    wait("the end of the pod with volumes", MINUTE, || {
        let phase = kubectl.get(&["pod", "volumes"])?["status"]["phase"].clone();
        anyhow::ensure!(phase == "Succeeded", "{phase}");
        Ok(())
    })
    .unwrap();
    assert_eq!(
        run(&["logs", "volumes", "-c", "reader"]),
        "/etc/config/greeting: hello from the ConfigMap\n\
         /etc/secret/password: not a secret in a sample\n\
         /etc/pod/labels: app=\"volumes\"\n\
         /etc/one-file: hello from the ConfigMap\n\
         /scratch/note: left by the init container\n"
    );
    let environment = run(&["logs", "volumes", "-c", "environment"]);
    let address = run(&["get", "pod", "volumes", "-o", "jsonpath={.status.podIP}"]);
    for line in [
        "GREETING=hello from the ConfigMap",
        "PASSWORD=not a secret in a sample",
        "MEMORY=67108864",
    ] {
        assert!(environment.lines().any(|found| found == line), "{environment}");
    }
    assert!(!address.is_empty() && environment.contains(&format!("POD_IP={address}\n")));

    run(&["wait", "--for=condition=Ready", "pod/probe", "--timeout=60s"]);
    // Deleting the class would pull it from under the other tests.
    for file in ["hello", "http", "networkpolicy", "probe", "volumes"] {
        run(&["delete", "-f", &format!("manifests/sample-{file}.yaml")]);
    }
}

#[test]
fn a_service_is_reached_from_another_pod() {
    if !kvm::ready() {
        return;
    }
    let space = namespace("service");
    let mut server = pod("web", HTTP, &[]);
    server["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 8080 }]);
    server["spec"]["containers"][0]["readinessProbe"] =
        json!({ "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 });
    space.apply(&server).unwrap();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web" },
        "spec": { "selector": { "name": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    space.apply(&service).unwrap();
    space
        .run(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"])
        .unwrap();
    // Once with the pod's own address, once with that of the Service, which kube-proxy leads there.
    let address = space
        .run(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}:8080"])
        .unwrap();
    for (name, authority) in [
        ("direct", address.as_str()),
        ("by-service", "$(WEB_SERVICE_HOST):80"),
    ] {
        let mut client = pod(name, HTTP, &[&format!("http://{authority}/")]);
        client["spec"]["containers"][0]["command"] = json!(["/fetch.wasm"]);
        space.apply(&client).unwrap();
        let ended = space.ended(name).unwrap();
        let said = space.run(&["logs", name]).unwrap();
        assert_eq!(
            (&ended["exitCode"], said.as_str()),
            (&json!(0), "200 hello from rust\n\n")
        );
    }
    assert!(forwarded(&space).contains("hello from rust"));
}

/// What a request through `kubectl port-forward` gets.
fn forwarded(space: &Namespace) -> String {
    let mut child = space
        .command(&["port-forward", "pod/web", ":8080"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    // "Forwarding from 127.0.0.1:40000 -> 8080"
    let port: u16 = line
        .split(['>', ':', ' '])
        .find_map(|word| word.parse().ok())
        .unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    answer
}

#[test]
fn ends_show_their_reasons() {
    if !kvm::ready() {
        return;
    }
    let space = namespace("ends");
    let mut all = pod("ends", TOOL, &["exit", "3"]);
    for (name, args) in [("trap", "panic"), ("memory", "alloc")] {
        let mut one = pod("other", TOOL, &[args])["spec"]["containers"][0].clone();
        one["name"] = json!(name);
        one["resources"] = json!({ "limits": { "memory": "64Mi" } });
        all["spec"]["containers"].as_array_mut().unwrap().push(one);
    }
    space.apply(&all).unwrap();
    space.ended("ends").unwrap();
    let status = space.get(&["pod", "ends"]).unwrap()["status"].clone();
    assert_eq!(status["phase"], "Failed");
    let ended = |name: &str| {
        let all = status["containerStatuses"].as_array().unwrap();
        let one = all.iter().find(|one| one["name"] == name).unwrap();
        one["state"]["terminated"].clone()
    };
    let end = |name: &str| (ended(name)["exitCode"].clone(), ended(name)["reason"].clone());
    assert_eq!(end("main"), (json!(3), json!("Error")));
    assert_eq!(end("trap"), (json!(134), json!("Error")));
    let message = ended("trap")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("unreachable"), "{status:#}");
    assert_eq!(end("memory"), (json!(137), json!("OOMKilled")), "{status:#}");
}

#[test]
fn a_deleted_pod_gets_a_sigterm() {
    if !kvm::ready() {
        return;
    }
    let space = namespace("delete");
    let mut sleeper = pod("sleeper", TOOL, &["sleep", "600000"]);
    // Holds the object, so that its end can be read.
    sleeper["metadata"]["finalizers"] = json!(["mote.test/look"]);
    sleeper["spec"]["terminationGracePeriodSeconds"] = json!(40);
    space.apply(&sleeper).unwrap();
    space
        .run(&["wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s"])
        .unwrap();
    let begin = Instant::now();
    space.run(&["delete", "pod", "sleeper", "--wait=false"]).unwrap();
    let ended = space.ended("sleeper").unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert_eq!(ended["exitCode"], 143, "{ended}");
    let free = r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#;
    space
        .run(&["patch", "pod", "sleeper", "--type=json", "-p", free])
        .unwrap();
    space
        .run(&["wait", "--for=delete", "pod/sleeper", "--timeout=60s"])
        .unwrap();
}

/// Runs it with this on standard input.
fn with_input(space: &Namespace, words: &[&str], input: &str) -> Output {
    let mut child = space
        .command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn exec_attach_and_logs() {
    if !kvm::ready() {
        return;
    }
    let space = namespace("exec");
    space.apply(&pod("main", TOOL, &["sleep", "600000"])).unwrap();
    let mut cat = pod("cat", TOOL, &["cat"]);
    cat["spec"]["containers"][0]["stdin"] = json!(true);
    cat["spec"]["containers"][0]["stdinOnce"] = json!(true);
    space.apply(&cat).unwrap();
    space
        .run(&[
            "wait",
            "--for=condition=Ready",
            "pod/main",
            "pod/cat",
            "--timeout=60s",
        ])
        .unwrap();
    let exec = |words: &[&str]| {
        let all = [&["exec", "main", "--"], words].concat();
        let output = space.command(&all).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(exec(&["/app.wasm", "exit", "3"]).0, 3);
    assert_eq!(exec(&["/app.wasm", "args", "a b"]).1, "a b\n");
    let (code, _, said) = exec(&["/app.wasm", "panic"]);
    assert!(code == 134 && said.contains("as asked"), "{code} {said}");
    let (code, _, said) = exec(&["/bin/sh", "-c", "true"]);
    assert!(
        code != 0 && said.contains("\"/bin/sh\" is not in the image"),
        "{code} {said}"
    );

    let echoed = with_input(
        &space,
        &["exec", "-i", "main", "--", "/app.wasm", "cat"],
        "one\ntwo\n",
    );
    assert_eq!(
        String::from_utf8_lossy(&echoed.stdout),
        "one\ntwo\n",
        "{echoed:?}"
    );
    let attached = with_input(&space, &["attach", "-i", "cat"], "by attach\n");
    assert!(attached.status.success(), "{attached:?}");
    assert_eq!(space.ended("cat").unwrap()["exitCode"], 0);
    assert_eq!(space.run(&["logs", "cat"]).unwrap(), "by attach\n");
}

#[test]
fn what_cannot_start_says_why_in_an_event() {
    if !kvm::ready() {
        return;
    }
    let space = namespace("refused");
    for (name, program, words) in [
        (
            "import",
            "/needs-more.wasm",
            ["mote:test/absent", "does not offer"],
        ),
        ("missing", "/no/such.wasm", ["such.wasm", "not in the image"]),
    ] {
        let mut refused = pod(name, TOOL, &[]);
        refused["spec"]["containers"][0]["command"] = json!([program]);
        space.apply(&refused).unwrap();
        wait("an event that tells", MINUTE, || {
            let said = events(&space, name)?;
            anyhow::ensure!(words.iter().all(|word| said.contains(word)), "{said}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_failing_probe_restarts_the_container() {
    if !kvm::ready() {
        return;
    }
    let space = namespace("probe");
    let mut failing = pod("failing", TOOL, &["sleep", "600000"]);
    failing["spec"]["restartPolicy"] = json!("Always");
    failing["spec"]["volumes"] = json!([{ "name": "work", "emptyDir": {} }]);
    let main = &mut failing["spec"]["containers"][0];
    main["livenessProbe"] = json!({
        "exec": { "command": ["/app.wasm", "exit", "1"] }, "periodSeconds": 1, "failureThreshold": 2,
    });
    main["lifecycle"]["preStop"] =
        json!({ "exec": { "command": ["/app.wasm", "write", "/work/last", "words of the first"] } });
    main["volumeMounts"] = json!([{ "name": "work", "mountPath": "/work" }]);
    space.apply(&failing).unwrap();
    wait("a restart", MINUTE, || {
        let status = space.get(&["pod", "failing"])?["status"]["containerStatuses"][0].clone();
        anyhow::ensure!(
            status["restartCount"].as_u64() >= Some(1) && status["state"]["running"].is_object(),
            "{status}"
        );
        anyhow::ensure!(status["lastState"]["terminated"]["exitCode"] == 143, "{status}");
        Ok(())
    })
    .unwrap();
    assert!(
        events(&space, "failing")
            .unwrap()
            .contains("Liveness probe failed")
    );
    // The volume is the pod's. The container may be between two lives.
    let read = ["exec", "failing", "--", "/app.wasm", "read", "/work/last"];
    let said = wait("what preStop left", MINUTE, || space.run(&read)).unwrap();
    assert_eq!(said, "/work/last: words of the first\n");
}

#[test]
fn a_config_map_is_updated_in_the_pod() {
    if !kvm::ready() {
        return;
    }
    let space = namespace("config");
    space
        .run(&["create", "configmap", "config", "--from-literal=key=one\n"])
        .unwrap();
    let mut watching = pod("watching", TOOL, &["watch", "/etc/config/key", "2"]);
    watching["spec"]["volumes"] = json!([{ "name": "config", "configMap": { "name": "config" } }]);
    watching["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "config", "mountPath": "/etc/config" }]);
    space.apply(&watching).unwrap();
    let log = |text: &str| {
        wait("the file's text", MINUTE, || {
            let said = space.run(&["logs", "watching"])?;
            anyhow::ensure!(said == text, "{said}");
            Ok(())
        })
        .unwrap();
    };
    log("one\n");
    space
        .run(&[
            "patch",
            "configmap",
            "config",
            "-p",
            r#"{"data": {"key": "two\n"}}"#,
        ])
        .unwrap();
    assert_eq!(space.ended("watching").unwrap()["exitCode"], 0);
    log("one\ntwo\n");
}

#[test]
fn the_metrics_of_a_container_have_figures() {
    if !kvm::ready() {
        return;
    }
    let space = namespace("metrics");
    space.apply(&pod("spinning", TOOL, &["spin"])).unwrap();
    space
        .run(&["wait", "--for=condition=Ready", "pod/spinning", "--timeout=60s"])
        .unwrap();
    let node = space
        .run(&["get", "pod", "spinning", "-o", "jsonpath={.spec.nodeName}"])
        .unwrap();
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
    wait("figures", MINUTE, || {
        let summary: Value = serde_json::from_str(&space.run(&["get", "--raw", &path])?)?;
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let pod = pods
            .iter()
            .find(|pod| pod["podRef"]["namespace"] == space.namespace())
            .cloned()
            .unwrap_or_default();
        let container = &pod["containers"][0];
        let figure = |part: &str, name: &str| container[part][name].as_u64().unwrap_or(0);
        anyhow::ensure!(
            figure("cpu", "usageCoreNanoSeconds") > 100_000_000
                && figure("cpu", "usageNanoCores") > 1_000_000
                && figure("memory", "workingSetBytes") > 1 << 20,
            "{pod:#}"
        );
        thread::sleep(Duration::from_millis(500));
        Ok(())
    })
    .unwrap();
}
