//! The first process of a node: file system, network, and the programs, each started again when it ends.
//!
//! A node has mount, network and process namespaces of its own. What it mounts, listens at, or leaves running ends with
//! its first process, and the host sees none of it.

use std::convert::Infallible;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::components::{self, Component, SOCKET};
use super::plan::Plan;
use super::shell::{run, wait};
use super::{kubectl, sys};
use crate::{containerd, paths};

/// Where the node's programs are found: those of the checkout, and behind them the host's.
fn path() -> String {
    let containerd = containerd::Series::V1_7.bin("");
    let runc = paths::work().join("runc/usr/sbin");
    format!(
        "{}:{}:/usr/sbin:/usr/bin:/sbin:/bin",
        containerd.display(),
        runc.display()
    )
}

/// Runs the node until it is killed.
///
/// # Errors
/// If it cannot be set up.
pub fn main(plan: &Plan) -> Result<Infallible> {
    ensure!(
        std::process::id() == 1,
        "this is for the first process of a node; `cluster up` starts it"
    );
    file_system(plan)?;
    network(plan)?;
    components::write_files(plan)?;
    let mut running = Vec::new();
    for component in components::first(plan) {
        running.push(start(plan, component)?);
    }
    wait("containerd", Duration::from_secs(30), || {
        ensure!(Path::new(SOCKET).exists(), "{SOCKET} is not there");
        Ok(())
    })?;
    wait("the API server", Duration::from_secs(60), || {
        kubectl::Kubectl::new(&plan.kubeconfig("admin")).run(&["get", "--raw=/readyz"])
    })?;
    for component in components::second(plan) {
        running.push(start(plan, component)?);
    }
    supervise(plan, running)
}

// The programs write where they always do. The folders are the node's own: over those of the host lies a layer below the
// plan's folder, and where file systems cannot be stacked (containerd's snapshots), a folder takes their place.
fn file_system(plan: &Plan) -> Result<()> {
    for (name, target) in [("etc", "/etc"), ("var", "/var"), ("opt", "/opt")] {
        let (upper, work) = (plan.files(name), plan.files(&format!("{name}.work")));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let options = format!(
            "lowerdir={target},upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        sys::mount(&["-t", "overlay", "overlay", "-o", &options, target])?;
    }
    for name in ["containerd", "kubelet", "cni"] {
        bind(&plan.files(name), &Path::new("/var/lib").join(name))?;
    }
    for name in ["pods", "containers"] {
        bind(&plan.files(name), &Path::new("/var/log").join(name))?;
    }
    fs::create_dir_all("/var/lib/etcd")?;
    sys::mount(&["-t", "tmpfs", "-o", "mode=0700", "tmpfs", "/var/lib/etcd"])?;
    sys::mount(&["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"])?;
    // The devices below /sys/class/net are those of the namespace that mounted it.
    let cgroups = Path::new("/run/cgroups");
    fs::create_dir(cgroups)?;
    sys::mount(&["--rbind", "/sys/fs/cgroup", "/run/cgroups"])?;
    sys::mount(&["-t", "sysfs", "sysfs", "/sys"])?;
    sys::mount(&["--rbind", "/run/cgroups", "/sys/fs/cgroup"])?;
    run(Command::new("umount").args(["--lazy", "/run/cgroups"]))?;
    kernel_settings(plan)?;
    // The kubelet hands mounts to containers.
    sys::mount(&["--make-rshared", "/"])
}

// The kubelet sets these for the whole machine (pkg/kubelet/cm, setupKernelTunables) unless it finds them set. They are
// the host's and not the node's, so the node is shown files in their place.
fn kernel_settings(plan: &Plan) -> Result<()> {
    for (name, value) in [
        ("vm/overcommit_memory", "1"),
        ("vm/panic_on_oom", "0"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/keys/root_maxkeys", "1000000"),
        ("kernel/keys/root_maxbytes", "25000000"),
    ] {
        let file = plan.files("sysctl").join(name);
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(&file, value)?;
        let target = Path::new("/proc/sys").join(name);
        run(Command::new("mount").arg("--bind").args([&file, &target]))?;
    }
    Ok(())
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(source)?;
    fs::create_dir_all(target)?;
    run(Command::new("mount").arg("--bind").args([source, target])).map(drop)
}

fn network(plan: &Plan) -> Result<()> {
    let ip = |words: &[&str]| run(Command::new("ip").args(words)).map(drop);
    ip(&["link", "set", "lo", "up"])?;
    wait("the link to the host", Duration::from_secs(10), || {
        ip(&["link", "show", "eth0"])
    })?;
    ip(&[
        "address",
        "add",
        &format!("{}/30", plan.node_address()),
        "dev",
        "eth0",
    ])?;
    ip(&["link", "set", "eth0", "up"])?;
    ip(&["route", "add", "default", "via", &plan.host_address().to_string()])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("ip_forward")
}

struct Running {
    component: Component,
    child: Child,
}

fn start(plan: &Plan, component: Component) -> Result<Running> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(plan.log(component.name))?;
    let child = Command::new(&component.program)
        .args(&component.args)
        .env("PATH", path())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{}; `make cluster` brings it", component.program.display()))?;
    println!("{} runs as process {}", component.name, child.id());
    fs::write(components::pid_file(component.name), child.id().to_string())?;
    Ok(Running { component, child })
}

/// Reaps whatever ends, orphans among it, and starts components again.
fn supervise(plan: &Plan, mut running: Vec<Running>) -> Result<Infallible> {
    loop {
        let (pid, status) = sys::wait_any()?;
        let Some(ended) = running.iter_mut().find(|one| one.child.id() == pid) else {
            continue;
        };
        println!("{} ended: {}", ended.component.name, ExitStatus::from_raw(status));
        thread::sleep(Duration::from_secs(1));
        *ended = start(plan, ended.component.clone())?;
    }
}
