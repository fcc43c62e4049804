//! Whether the node runs programs in micro-VMs: what `mote doctor` says, then a program.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::command;
use crate::error::Error;
use crate::host::Host;
use crate::release::PROBE;

/// What the probe prints and how it ends.
const PROBE_LINE: &str = "this node runs Mote\n";
const PROBE_CODE: i32 = 42;

/// One line of `mote doctor --json`.
#[derive(Debug, Deserialize)]
struct Check {
    name: String,
    verdict: String,
    found: String,
    mend: Option<String>,
}

/// Runs the executables in `dir`; what is not as good as it could be, a line each.
pub(crate) fn verify(host: &Host, dir: &Path, cache: &Path) -> Result<Vec<String>, Error> {
    let warnings = doctor(host, dir, cache)?;
    probe(host, dir, cache)?;
    Ok(warnings)
}

fn doctor(host: &Host, dir: &Path, cache: &Path) -> Result<Vec<String>, Error> {
    let mut command = mote(host, dir, cache);
    let output = command
        .args(["doctor", "--json"])
        .output()
        .map_err(|e| Error::Node(format!("{} does not start: {e}", dir.join("mote").display())))?;
    let mut warnings = Vec::new();
    let mut failures = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(check) = serde_json::from_str::<Check>(line) else {
            continue;
        };
        let mut text = format!("{}: {}", check.name, check.found);
        if let Some(mend) = &check.mend {
            text = format!("{text} ({mend})");
        }
        match check.verdict.as_str() {
            "fail" => failures.push(text),
            "warn" => warnings.push(text),
            _ => {}
        }
    }
    if !output.status.success() {
        if failures.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            failures.push(format!("mote doctor: {} {}", output.status, said.trim()));
        }
        return Err(Error::Node(failures.join("; ")));
    }
    Ok(warnings)
}

fn probe(host: &Host, dir: &Path, cache: &Path) -> Result<(), Error> {
    let output = mote(host, dir, cache)
        .args(["run", "--timeout", "60s"])
        .arg(dir.join(PROBE))
        .output()
        .map_err(|e| Error::Node(format!("mote run does not start: {e}")))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(PROBE_CODE) && printed == PROBE_LINE {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Node(format!(
        "a program in a micro-VM ended with {} instead of exit code {PROBE_CODE}, and printed {printed:?}: {}",
        output.status,
        said.trim()
    )))
}

fn mote(host: &Host, dir: &Path, cache: &Path) -> Command {
    let mut command = command::on(host, &dir.join("mote"));
    command.env("MOTE_CACHE_DIR", cache).env("MOTE_BIN_DIR", dir);
    command
}
