//! Certificates, tokens and kubeconfig files. Each part of the cluster has a token and the rights of its own name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::plan::{NODE, Plan};
use super::shell::run;

/// User name and groups in Kubernetes, by the name of the kubeconfig file.
const USERS: [(&str, &str, &str); 5] = [
    ("admin", "admin", "system:masters"),
    (
        "kube-controller-manager",
        "system:kube-controller-manager",
        "system:authenticated",
    ),
    ("kube-scheduler", "system:kube-scheduler", "system:authenticated"),
    ("kube-proxy", "system:kube-proxy", "system:authenticated"),
    ("kubelet", "system:node:", "system:nodes"),
];

/// Writes all of it below the plan's folder.
///
/// # Errors
/// If a file cannot be written, or openssl fails.
pub fn write(plan: &Plan) -> Result<()> {
    let keys = plan.key("");
    fs::create_dir_all(&keys)?;
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700))?;
    certificate(plan, "ca", "/CN=mote-cluster", &[])?;
    let names = format!(
        "subjectAltName=IP:{},IP:{},IP:127.0.0.1,DNS:kubernetes.default.svc",
        plan.node_address(),
        plan.api_service()
    );
    certificate(plan, "apiserver", "/CN=kube-apiserver", &[&names])?;
    // What the API server shows the kubelet, for logs and exec.
    certificate(plan, "kubelet-client", "/O=system:masters/CN=kube-apiserver", &[])?;
    // What service accounts' tokens are signed and verified with.
    certificate(plan, "accounts", "/CN=accounts", &[])?;

    let mut tokens = String::new();
    for (index, (file, user, group)) in USERS.into_iter().enumerate() {
        let token = random()?;
        let user = if file == "kubelet" {
            format!("{user}{NODE}")
        } else {
            user.into()
        };
        tokens += &format!("{token},{user},{index},\"{group}\"\n");
        private(&plan.kubeconfig(file), &kubeconfig(plan, &token)?)?;
    }
    private(&plan.key("tokens.csv"), &tokens)
}

/// A pair `NAME.key` and `NAME.crt`; `ca` signs itself and then the others.
fn certificate(plan: &Plan, name: &str, subject: &str, extensions: &[&str]) -> Result<()> {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-nodes", "-days", "30", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", subject])
        .arg("-keyout")
        .arg(plan.key(&format!("{name}.key")))
        .arg("-out")
        .arg(plan.key(&format!("{name}.crt")));
    if name != "ca" {
        command
            .arg("-CA")
            .arg(plan.key("ca.crt"))
            .arg("-CAkey")
            .arg(plan.key("ca.key"))
            .args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    run(&mut command).map(drop)
}

fn random() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").context("/proc/sys/kernel/random/uuid")?;
    Ok(text.trim().replace('-', ""))
}

/// JSON is YAML, too. The certificate is inside, so that the file can be taken elsewhere.
fn kubeconfig(plan: &Plan, token: &str) -> Result<String> {
    let authority = run(Command::new("base64").arg("-w0").arg(plan.key("ca.crt")))?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "mote", "cluster": {
            "server": plan.server(),
            "certificate-authority-data": authority,
        }}],
        "users": [{ "name": "user", "user": { "token": token } }],
        "contexts": [{ "name": "mote", "context": { "cluster": "mote", "user": "user" } }],
        "current-context": "mote",
    });
    Ok(format!("{config:#}\n"))
}

fn private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
