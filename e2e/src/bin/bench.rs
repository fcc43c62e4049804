//! `make bench`: figures, one JSON object a line, and what to hold each against.
//!
//! Cold starts are those of `mote run` with another VM alive on the node; the floor is the same KVM ioctls without
//! anything of ours around them, in the same run. `wasmtime` is a peer where the machine has it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mote_config::Stats;
use mote_e2e::cli::Run;
use mote_e2e::containerd::{Containerd, Series};
use mote_e2e::figures::{Figure, median, quantile};
use mote_e2e::images::{self, Form, Image};
use mote_e2e::native::{self, Native};
use mote_e2e::pod::{Pod, Spec};
use mote_e2e::{paths, throughput, vmm};

const RUNS: usize = 50;

type Field = fn(&Stats) -> f64;

fn main() -> Result<()> {
    paths::require_binaries();
    for program in ["hello-rust-p1", "hello-rust-p2"] {
        cold_start(program)?;
    }
    compute()?;
    throughput::files()?.iter().for_each(print);
    throughput::serving()?.iter().for_each(print);
    memory()
}

fn print(figure: &Figure) {
    println!("{}", figure.to_json());
}

fn cold_start(program: &str) -> Result<()> {
    let neighbour = Neighbour::start()?;
    let path = paths::program(program);
    // The first one compiles.
    ensure!(Run::file(&path).run().code == 0, "{program} does not run");
    // Floor and starts take turns, so that both see the same noise.
    let (mut floors, mut stats, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let features = native::features()?;
    for _ in 0..RUNS {
        floors.push(floor(&features)?);
        let before = Instant::now();
        let (ran, stat) = Run::measured(&[], &path).stats();
        whole.push(before.elapsed().as_secs_f64() * 1e6);
        ensure!(ran.code == 0, "{}", ran.stderr);
        stats.push(stat);
    }
    drop(neighbour);
    let of = |field: Field| stats.iter().map(field).collect::<Vec<f64>>();
    let starts = of(|stats| stats.cold_start_us);
    let name = |what: &str| format!("{what}/{program}");
    print(&Figure::new(&name("cold_start"), median(&starts), "us").against("floor", median(&floors)));
    print(&Figure::new(
        &name("cold_start_p90"),
        quantile(&starts, 0.9),
        "us",
    ));
    let phases: [(&str, Field); 8] = [
        ("process", |stats| stats.process_us),
        ("prepare", |stats| stats.prepare_us),
        ("vm", |stats| stats.vm_us),
        ("entry", |stats| stats.entry_us),
        ("runtime", |stats| stats.runtime_us),
        ("code", |stats| stats.code_us),
        ("instantiate", |stats| stats.instantiate_us),
        ("run", |stats| stats.run_us),
    ];
    for (phase, field) in phases {
        print(&Figure::new(
            &name(&format!("phase_{phase}")),
            median(&of(field)),
            "us",
        ));
    }
    let mut figure = Figure::new(&name("mote_run"), median(&whole), "us");
    if let Some(peer) = wasmtime_run(&path, &[])? {
        figure = figure.against("wasmtime", median(&peer));
    }
    print(&figure);
    Ok(())
}

/// The raw KVM calls of a start, with the same CPUID, in a process of their own: microseconds.
fn floor(features: &str) -> Result<f64> {
    let output = Command::new(paths::bin("mote-vmm"))
        .args(["--floor", features])
        .stdin(Stdio::null())
        .output()?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("mote-vmm --floor")?;
    answer["floor_us"].as_f64().context("no floor_us")
}

/// Times of `wasmtime run` of the same program, compiled ahead; nothing without that command.
fn wasmtime_run(wasm: &Path, args: &[&str]) -> Result<Option<Vec<f64>>> {
    let Some(compiled) = wasmtime_compile(wasm)? else {
        return Ok(None);
    };
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let before = Instant::now();
        let output = Command::new("wasmtime")
            .args(["run", "--allow-precompiled"])
            .arg(&compiled)
            .args(args)
            .stdin(Stdio::null())
            .output()?;
        times.push(before.elapsed().as_secs_f64() * 1e6);
        ensure!(
            output.status.success(),
            "wasmtime run: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(Some(times))
}

fn wasmtime_compile(wasm: &Path) -> Result<Option<PathBuf>> {
    let compiled = wasm.with_extension("cwasm");
    match Command::new("wasmtime")
        .arg("compile")
        .arg(wasm)
        .arg("-o")
        .arg(&compiled)
        .output()
    {
        Ok(output) if output.status.success() => Ok(Some(compiled)),
        Ok(output) => bail!("wasmtime compile: {}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => Ok(None),
    }
}

/// A loop of 10^9 rounds in the guest, and the very same machine code in this process.
fn compute() -> Result<()> {
    let wasm = paths::work().join("bench-loop.wasm");
    native::write_loop(&wasm)?;
    let code = Native::compile(&wasm, &native::features()?)?;
    let (mut guest, mut process) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        process.push(code.run());
        let (ran, stats) = Run::measured(&[], &wasm).stats();
        ensure!(ran.code == 0, "{}", ran.stderr);
        guest.push(stats.run_us);
    }
    print(&Figure::new("compute_loop", median(&guest), "us").against("process", median(&process)));
    Ok(())
}

/// What a pod with one sleeping guest takes.
fn memory() -> Result<()> {
    let daemon = Containerd::start(Series::chosen()?.unwrap_or(Series::V2_1))?;
    let measured = measure_memory(&daemon);
    let stopped = daemon.stop();
    measured?;
    stopped
}

fn measure_memory(daemon: &Containerd) -> Result<()> {
    images::import_pause(daemon)?;
    let image = Image::program("bench", Form::Rootfs, "probe-rust-p1");
    image.import(daemon)?;
    let mut pods = Vec::new();
    for number in 0..10 {
        let mut pod = Pod::run(daemon, &format!("bench-{number}"))?;
        pod.start(&Spec::new("main", &image.name).args(&["sleep", "600000"]))?;
        pod.wait_for_output("main", "sleeping")?;
        pods.push(pod);
        if number == 0 || number == 9 {
            thread::sleep(Duration::from_millis(200));
            let (mut shims, mut vmms) = (Vec::new(), Vec::new());
            for pod in &pods {
                shims.push(pss(&vmm::shim(&pod.id))?);
                vmms.push(pss(&vmm::of_cgroup(pod.cgroup()))?);
            }
            let pods = number + 1;
            print(&Figure::new(
                &format!("pss_shim/{pods}_pods"),
                median(&shims),
                "KiB",
            ));
            print(&Figure::new(
                &format!("pss_vmm/{pods}_pods"),
                median(&vmms),
                "KiB",
            ));
        }
    }
    for pod in pods {
        pod.remove()?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "KiB of a process are far below 2^53")]
fn pss(pids: &[u32]) -> Result<f64> {
    ensure!(!pids.is_empty(), "no process to measure");
    let mut sum = 0;
    for pid in pids {
        sum += vmm::pss_kib(*pid)?;
    }
    Ok(sum as f64)
}

/// A VM that lives on the node while others start.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Result<Neighbour> {
        let mut command = Run::program("probe-rust-p1")
            .args(["sleep", "3600000"])
            .into_command();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        thread::sleep(Duration::from_millis(500));
        Ok(Neighbour(child))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if let Ok(pid) = libc::pid_t::try_from(self.0.id()) {
            // SAFETY: a child that has not been waited for. SIGTERM, so that it takes its VM along.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let _ = self.0.wait();
    }
}
