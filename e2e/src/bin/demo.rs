//! `make demo`: a Wasm image becomes a pod in a micro-VM of its own, through CRI, and shows it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use mote_config::Stats;
use mote_e2e::cli::Run;
use mote_e2e::containerd::{Containerd, HANDLER, Series};
use mote_e2e::cri::Cri;
use mote_e2e::cri::messages::VersionRequest;
use mote_e2e::images::{self, Form, Image};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{paths, vmm};

fn main() -> Result<()> {
    ensure!(
        Path::new("/dev/kvm").exists(),
        "there is no /dev/kvm on this machine, and Mote is nothing without it"
    );
    paths::require_binaries();
    let daemon = Containerd::start(Series::chosen()?.unwrap_or(Series::V2_1))?;
    let shown = show(&daemon);
    // Also after a failure: nothing may be left.
    let stopped = daemon.stop();
    shown?;
    stopped?;
    println!("\nAll of it is gone again: no process, mount, cgroup, network namespace or file is left.");
    Ok(())
}

fn show(daemon: &Containerd) -> Result<()> {
    let version = Cri::connect(daemon)?.version(VersionRequest { version: "v1".into() })?;
    step(&format!(
        "{} {} of our own, handler `{HANDLER}`",
        version.runtime_name, version.runtime_version
    ));
    images::import_pause(daemon)?;
    let form = if daemon.takes(Form::ComponentLayer) {
        Form::ComponentLayer
    } else {
        Form::Rootfs
    };
    let hello = Image::program("hello", form, "hello-rust-p2");
    let probe = Image::program("probe", Form::Rootfs, "probe-rust-p1");
    for image in [&hello, &probe] {
        image.import(daemon)?;
        println!("imported {}", image.name);
    }

    step("a pod, as the kubelet runs it");
    let mut pod = Pod::run(daemon, "demo")?;
    println!("sandbox   {} at {}", short(&pod.id), pod.ip()?);
    let spec = Spec::new("hello", &hello.name)
        .args(&["how", "are you?"])
        .env("GREETING", "from the pod spec");
    let (status, log) = pod.run_container(&spec)?;
    for line in log.stdout.lines().chain(log.stderr.lines()) {
        println!("log       {line}");
    }
    println!("exit code {} ({})", status.exit_code, status.reason);
    println!(
        "ran for   {:.1} ms from start to exit, as containerd saw it",
        milliseconds(status.finished_at - status.started_at)
    );
    ensure!(
        status.exit_code == 0 && log.stdout.contains("hello from rust"),
        "that was not the right output"
    );

    step("proof that it is a VM: a second container of the pod, while it sleeps");
    let id = pod.start(&Spec::new("sleeper", &probe.name).args(&["sleep", "60000"]))?;
    pod.wait_for_output("sleeper", "sleeping")?;
    let pid = *vmm::of_cgroup(pod.cgroup())
        .first()
        .context("no VMM process in the pod's cgroup")?;
    let objects = vmm::kvm_objects(pid)?;
    ensure!(!objects.is_empty(), "process {pid} holds no VM");
    println!("process   {pid} ({}) in cgroup {}", vmm::VMM, pod.cgroup());
    println!("it holds  {} (/proc/{pid}/fd)", objects.join(", "));
    println!(
        "memory    {} KiB (PSS) for the micro-VM and its process",
        vmm::pss_kib(pid)?
    );
    for shim in vmm::shim(&pod.id) {
        println!("          {} KiB (PSS) for the shim", vmm::pss_kib(shim)?);
    }
    pod.stop_container(&id, 0)?;
    let status = pod.wait(&id)?;
    println!("killed    exit code {}", status.exit_code);
    ensure!(
        status.exit_code == 137,
        "that is not the exit code of a killed program"
    );
    pod.remove()?;

    step("the same program without Kubernetes: mote run --stats");
    let (ran, stats) = Run::measured(&[], paths::program("hello-rust-p2")).stats();
    ensure!(ran.code == 0, "{}", ran.stderr);
    print!("{}", ran.stdout);
    phases(&stats);
    Ok(())
}

fn phases(stats: &Stats) {
    let cold = [
        ("KVM calls until the vCPU can run", stats.vm_us),
        ("first KVM_RUN to the guest's first instruction", stats.entry_us),
        ("guest runtime set up", stats.runtime_us),
        ("compiled code loaded", stats.code_us),
        ("program instantiated", stats.instantiate_us),
    ];
    println!();
    println!("{:>9.0} µs  process started", stats.process_us);
    println!(
        "{:>9.0} µs  configuration, image and rings laid out",
        stats.prepare_us
    );
    for (what, time) in cold {
        println!("{time:>9.0} µs  {what}");
    }
    println!(
        "{:>9.0} µs  cold start: the five lines above, first KVM call to the program's main",
        stats.cold_start_us
    );
    println!("{:>9.0} µs  the program itself", stats.run_us);
    let emulated = stats
        .insn_emulation
        .map_or("unknown".into(), |count| count.to_string());
    println!(
        "{} exits from the VM, {emulated} instructions emulated by KVM",
        stats.exits
    );
}

fn step(what: &str) {
    println!("\n== {what}");
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 ns")]
fn milliseconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e6
}
