//! Whether Mote itself is complete: its executables, its cache, its place in containerd.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use mote_launch::Node;

use super::Check;

pub(crate) fn checks() -> Vec<Check> {
    let node = match Node::discover() {
        Ok(node) => node,
        Err(e) => return vec![Check::failed("cache", e)],
    };
    let mut checks = vec![Check::ok("cache", node.cache_dir().display().to_string())];
    checks.push(executable("mote-vmm", node.vmm()));
    checks.push(executable("mote-compile", node.compiler()));
    checks.push(executable("mote-http", node.front()));
    checks.push(match node.facts() {
        Ok(facts) => {
            let names: Vec<&str> = facts.features.iter().map(|f| f.name).collect();
            Check::ok(
                "probe VM",
                format!("a guest has {} ({:#x})", names.join(" "), facts.features.0),
            )
        }
        Err(e) => Check::failed("probe VM", e),
    });
    checks.push(containerd(Path::new("/")));
    checks
}

/// Present, and of this version.
fn executable(name: &'static str, path: Result<PathBuf, mote_launch::NodeError>) -> Check {
    let path = match path {
        Ok(path) => path,
        Err(e) => return Check::failed(name, e),
    };
    let ours = env!("CARGO_PKG_VERSION");
    let mend = "install mote, mote-vmm, mote-compile and mote-http of one release in one folder";
    match Command::new(&path).arg("--version").output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let version = text.split_whitespace().last().unwrap_or_default();
            if output.status.success() && version == ours {
                Check::ok(name, format!("{} {version}", path.display()))
            } else if output.status.success() {
                Check::fail(
                    name,
                    format!("{} is version {version:?}, this is {ours}", path.display()),
                    mend,
                )
            } else {
                Check::warn(name, format!("{} does not say its version", path.display()), mend)
            }
        }
        Err(e) => Check::fail(name, format!("{} does not start: {e}", path.display()), mend),
    }
}

/// The runtime's name in containerd's configuration.
const RUNTIME_TYPE: &str = "io.containerd.mote.v1";

/// Whether a containerd on this machine knows Mote. None at all is fine: `mote run` needs none.
fn containerd(root: &Path) -> Check {
    const NAME: &str = "containerd";
    let mut configs: Vec<PathBuf> = [
        "etc/containerd/config.toml",
        "var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        "var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        "var/snap/microk8s/current/args/containerd.toml",
    ]
    .iter()
    .map(|path| root.join(path))
    .collect();
    for dir in ["etc/containerd/conf.d", "etc/k0s/containerd.d"] {
        let files = fs::read_dir(root.join(dir))
            .into_iter()
            .flatten()
            .flatten()
            .map(|f| f.path());
        configs.extend(files.filter(|f| f.extension().is_some_and(|e| e == "toml")));
    }
    let found: Vec<(PathBuf, String)> = configs
        .into_iter()
        .filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)))
        .collect();
    let installed = ["usr/bin/containerd", "usr/local/bin/containerd"]
        .iter()
        .any(|p| root.join(p).exists());
    let names_us = |text: &str| {
        text.lines()
            .any(|l| !l.trim_start().starts_with('#') && l.contains(RUNTIME_TYPE))
    };
    match found.iter().find(|(_, text)| names_us(text)) {
        Some((path, _)) => Check::ok(NAME, format!("{} names {RUNTIME_TYPE}", path.display())),
        None if found.is_empty() && !installed => {
            Check::ok(NAME, "not installed; `mote run` does not need it")
        }
        None => Check::warn(
            NAME,
            format!("its configuration does not name {RUNTIME_TYPE}, so that pods cannot use it"),
            format!(
                "add a runtime `mote` with runtime_type = \"{RUNTIME_TYPE}\" to the CRI plugin's runtimes and restart containerd"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn the_runtime_is_found_in_drop_ins_but_not_in_comments() {
        let root = std::env::temp_dir().join(format!("mote-doctor-{}", std::process::id()));
        let dir = root.join("etc/containerd/conf.d");
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            root.join("etc/containerd/config.toml"),
            format!("# {RUNTIME_TYPE}\nversion = 3\n"),
        )
        .unwrap();
        assert_eq!(containerd(&root).verdict, Verdict::Warn);
        fs::write(
            dir.join("mote.toml"),
            format!("runtime_type = \"{RUNTIME_TYPE}\"\n"),
        )
        .unwrap();
        assert_eq!(containerd(&root).verdict, Verdict::Ok);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(containerd(&root).verdict, Verdict::Ok);
    }
}
