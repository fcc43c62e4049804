//! `make conformance-cri`: runs critest, the validation suite of kubernetes-sigs/cri-tools, against private containerds
//! with the handler `mote`, and images of ours under the names that it asks for.
//!
//! `cri_conformance CRITEST EXPECTED` takes the executable and the list of what is known to fail, and why. It fails if
//! anything else does, or if something of the list does not. Each series of containerd has its turn; `CONTAINERD` chooses
//! one. With `--document FILE` the suite's section of that file is rewritten. `--only REGEX` runs the tests that it
//! matches.

mod document;
mod expected;
mod images;
mod registry;
mod report;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use mote_e2e::containerd::{Containerd, HANDLER, Series};
use mote_e2e::cri::Cri;
use mote_e2e::cri::messages::{Empty, PodSandboxId};
use mote_e2e::words::option;
use mote_e2e::{images::import_pause, leaks, paths};

use expected::Expected;
use report::{Outcome, Run};

fn main() -> Result<ExitCode> {
    paths::require_binaries();
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let only = option(&mut words, "--only")?;
    let document = option(&mut words, "--document")?;
    let [critest, list] = &words[..] else {
        bail!("usage: cri_conformance CRITEST EXPECTED [--document FILE] [--only REGEX]");
    };
    let chosen = Series::chosen()?;
    ensure!(
        document.is_none() || (only.is_none() && chosen.is_none()),
        "--document with --only or CONTAINERD would tell half of it"
    );
    let critest = fs::canonicalize(critest).with_context(|| format!("CRITEST={critest}"))?;
    let expected = Expected::read(Path::new(list))?;
    let version = version(&critest)?;
    let mut runs = Vec::new();
    let mut good = true;
    for series in Series::ALL {
        if chosen.is_some_and(|chosen| chosen != series) {
            continue;
        }
        let run = run(&critest, series, only.as_deref())?;
        for test in &run.tests {
            let known = expected.reason(&test.name, series).is_some();
            let note = match (test.outcome, known) {
                (Outcome::Failed, false) => "fails, and nothing says that it would: ",
                (Outcome::Passed | Outcome::Skipped, true) => "is listed as failing and does not: ",
                _ => continue,
            };
            println!(
                "containerd {}: {note}{}\n    {}",
                series.name(),
                test.name,
                test.message
            );
            good = false;
        }
        println!("{version}, containerd {}: {}", series.name(), run.summary());
        runs.push(run);
    }
    if let Some(path) = document {
        document::write(Path::new(&path), &version, &runs, &expected)?;
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `critest v1.2.3`.
fn version(critest: &Path) -> Result<String> {
    let output = Command::new(critest).arg("-version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("critest version: "));
    Ok(format!(
        "critest {}",
        version.context("critest tells no version")?
    ))
}

/// Runs it against a containerd of its own, with images that a registry of this process serves.
fn run(critest: &Path, series: Series, only: Option<&str>) -> Result<Run> {
    let daemon = Containerd::start(series)?;
    let result = run_against(critest, &daemon, only);
    let stopped = daemon.stop();
    let run = result?;
    stopped?;
    Ok(run)
}

fn run_against(critest: &Path, daemon: &Containerd, only: Option<&str>) -> Result<Run> {
    import_pause(daemon)?;
    daemon.pull_from(registry::serve(images::repositories())?)?;
    // Its temporary folders hold volumes, logs and mounts of its own.
    let scratch = daemon.root.join("critest");
    fs::create_dir_all(&scratch)?;
    let list = scratch.join("images.yaml");
    fs::write(&list, images::LIST)?;
    let report = scratch.join("report.json");
    let log_path = paths::work().join(format!("critest-{}.log", daemon.series.name()));
    let log = File::create(&log_path)?;
    println!(
        "critest runs against containerd {}; what it says is in {}",
        daemon.series.name(),
        log_path.display()
    );
    let mut command = Command::new(critest);
    command
        .arg(format!("-runtime-endpoint=unix://{}", daemon.socket().display()))
        .arg(format!("-runtime-handler={HANDLER}"))
        .arg(format!("-test-images-file={}", list.display()))
        .arg(format!("-ginkgo.json-report={}", report.display()))
        // Tests come in an order of their own each time, unless the seed is given.
        .args(["-ginkgo.seed=1", "-ginkgo.no-color"])
        .env("TMPDIR", &scratch)
        .current_dir(&scratch)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    if let Some(only) = only {
        command.arg(format!("-ginkgo.focus={only}"));
    }
    // SAFETY: unshare takes no pointers and changes nothing but the new process.
    unsafe {
        // It makes shared memory of System V and leaves it behind: in a namespace of its own that goes with it.
        command.pre_exec(|| match libc::unshare(libc::CLONE_NEWIPC) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    // It fails if one of its tests does, so its exit status says nothing.
    let status = command.status()?;
    remove_pods(daemon)?;
    leaks::unmount_below(&[&scratch]);
    let text =
        fs::read(&report).with_context(|| format!("critest ended with {status} and without a report"))?;
    Run::parse(daemon.series, &text)
}

/// Takes away the pods that are left: some tests leave theirs behind when they fail.
fn remove_pods(daemon: &Containerd) -> Result<()> {
    let cri = Cri::connect(daemon)?;
    for pod in cri.list_pod_sandbox(Empty {})?.items {
        println!("critest has left the pod {} behind", pod.id);
        let id = PodSandboxId {
            pod_sandbox_id: pod.id,
        };
        cri.stop_pod_sandbox(id.clone())?;
        cri.remove_pod_sandbox(id)?;
    }
    Ok(())
}
