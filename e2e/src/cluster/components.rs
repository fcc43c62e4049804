//! The programs of a node with a control plane, and their configuration: etcd, containerd, and Kubernetes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::plan::{NODE, Plan};
use crate::containerd::Series;
use crate::images::PAUSE;
use crate::paths;

/// Where containerd listens in the node.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// Has the node's first process start containerd again, as `systemctl restart` would.
pub const RESTART_CONTAINERD: &str = "/etc/containerd/restart";

/// Where the number of a component's process is.
#[must_use]
pub fn pid_file(name: &str) -> String {
    format!("/run/{name}.pid")
}

/// A program that runs as long as the node does.
#[derive(Clone, Debug)]
pub struct Component {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
}

impl Component {
    fn new(name: &'static str, program: PathBuf, args: &[String]) -> Component {
        Component {
            name,
            program,
            args: args.into(),
        }
    }

    fn kubernetes(name: &'static str, args: &[String]) -> Component {
        Component::new(name, paths::work().join("kubernetes/bin").join(name), args)
    }
}

/// What needs nothing else.
#[must_use]
pub fn first(plan: &Plan) -> Vec<Component> {
    vec![etcd(), containerd(), apiserver(plan)]
}

/// What needs the API to answer and containerd to listen.
#[must_use]
pub fn second(plan: &Plan) -> Vec<Component> {
    vec![
        controller_manager(plan),
        scheduler(plan),
        kubelet(plan),
        proxy(plan),
    ]
}

// Its data is on a tmpfs: nothing is to outlive the node, and a disk's fsync costs seconds.
fn etcd() -> Component {
    Component::new(
        "etcd",
        paths::work().join("etcd/usr/bin/etcd"),
        &[
            "--data-dir=/var/lib/etcd".into(),
            "--listen-client-urls=http://127.0.0.1:2379".into(),
            "--advertise-client-urls=http://127.0.0.1:2379".into(),
            "--listen-peer-urls=http://127.0.0.1:2380".into(),
            "--logger=zap".into(),
        ],
    )
}

fn containerd() -> Component {
    Component::new(
        "containerd",
        Series::V1_7.bin("containerd"),
        &["--config=/etc/containerd/config.toml".into()],
    )
}

fn apiserver(plan: &Plan) -> Component {
    let key = |name: &str| plan.key(name).display().to_string();
    Component::kubernetes(
        "kube-apiserver",
        &[
            "--etcd-servers=http://127.0.0.1:2379".into(),
            "--secure-port=6443".into(),
            "--insecure-port=0".into(),
            format!("--advertise-address={}", plan.node_address()),
            format!("--tls-cert-file={}", key("apiserver.crt")),
            format!("--tls-private-key-file={}", key("apiserver.key")),
            format!("--client-ca-file={}", key("ca.crt")),
            format!("--token-auth-file={}", key("tokens.csv")),
            "--anonymous-auth=false".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", key("accounts.crt")),
            format!("--service-account-signing-key-file={}", key("accounts.key")),
            format!("--service-cluster-ip-range={}", plan.services()),
            format!("--kubelet-client-certificate={}", key("kubelet-client.crt")),
            format!("--kubelet-client-key={}", key("kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP".into(),
            "--allow-privileged=true".into(),
            "--profiling=false".into(),
        ],
    )
}

fn controller_manager(plan: &Plan) -> Component {
    let key = |name: &str| plan.key(name).display().to_string();
    Component::kubernetes(
        "kube-controller-manager",
        &[
            kubeconfig(plan, "kube-controller-manager"),
            format!("--service-account-private-key-file={}", key("accounts.key")),
            format!("--root-ca-file={}", key("ca.crt")),
            "--use-service-account-credentials=true".into(),
            "--flex-volume-plugin-dir=/var/lib/kubelet/plugins-exec".into(),
            "--bind-address=127.0.0.1".into(),
            "--port=0".into(),
            "--cert-dir=/var/lib/kubelet/controller-manager".into(),
            "--leader-elect=false".into(),
        ],
    )
}

fn scheduler(plan: &Plan) -> Component {
    Component::kubernetes(
        "kube-scheduler",
        &[
            kubeconfig(plan, "kube-scheduler"),
            "--bind-address=127.0.0.1".into(),
            "--port=0".into(),
            "--cert-dir=/var/lib/kubelet/scheduler".into(),
            "--leader-elect=false".into(),
        ],
    )
}

fn kubelet(plan: &Plan) -> Component {
    Component::kubernetes(
        "kubelet",
        &[
            kubeconfig(plan, "kubelet"),
            format!("--config={}", plan.dir.join("kubelet.json").display()),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={}", plan.node_address()),
            "--container-runtime=remote".into(),
            format!("--container-runtime-endpoint=unix://{SOCKET}"),
        ],
    )
}

// The limits of connection tracking are the host's: 0 leaves them alone.
fn proxy(plan: &Plan) -> Component {
    Component::kubernetes(
        "kube-proxy",
        &[
            kubeconfig(plan, "kube-proxy"),
            format!("--hostname-override={NODE}"),
            "--proxy-mode=iptables".into(),
            format!("--cluster-cidr={}", plan.pods()),
            "--conntrack-max-per-core=0".into(),
            "--conntrack-min=0".into(),
            "--conntrack-tcp-timeout-established=0s".into(),
            "--conntrack-tcp-timeout-close-wait=0s".into(),
            "--oom-score-adj=0".into(),
        ],
    )
}

fn kubeconfig(plan: &Plan, user: &str) -> String {
    format!("--kubeconfig={}", plan.kubeconfig(user).display())
}

/// Writes what is read from files, in the node's own `/etc` and in its folder.
///
/// # Errors
/// If a file cannot be written.
pub fn write_files(plan: &Plan) -> Result<()> {
    for dir in ["/etc/containerd", "/etc/cni/net.d"] {
        fs::create_dir_all(dir)?;
    }
    fs::write("/etc/containerd/config.toml", containerd_config())?;
    let script = format!("#!/bin/sh\nkill \"$(cat {})\"\n", pid_file("containerd"));
    fs::write(RESTART_CONTAINERD, script)?;
    fs::set_permissions(RESTART_CONTAINERD, Permissions::from_mode(0o755))?;
    fs::write("/etc/cni/net.d/10-pods.conflist", cni_config(plan))?;
    fs::write(plan.dir.join("kubelet.json"), kubelet_config(plan))?;
    Ok(())
}

// `restrict_oom_score_adj`: where root lacks CAP_SYS_RESOURCE, a lower score than our own is refused.
fn containerd_config() -> String {
    let plugins = paths::work().join("cni/usr/lib/cni");
    let plugins = plugins.display();
    format!(
        r#"version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#
    )
}

fn cni_config(plan: &Plan) -> String {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": plan.pods() }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    });
    format!("{config:#}\n")
}

// The kubelet is not to reserve anything of a machine that is not its own, nor to throw pods out because others need
// memory or disk; and where root lacks CAP_SYS_RESOURCE it cannot lower its own OOM score.
fn kubelet_config(plan: &Plan) -> String {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": plan.key("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        // How soon a changed ConfigMap is in a pod.
        "syncFrequency": "5s",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": plan.cgroup(),
        "oomScoreAdj": 0,
        "enforceNodeAllocatable": [],
        "evictionHard": {
            "memory.available": "1%",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "failSwapOn": false,
        "readOnlyPort": 0,
        "makeIPTablesUtilChains": false,
        "volumePluginDir": "/var/lib/kubelet/plugins-exec",
    });
    format!("{config:#}\n")
}
