//! The Helm chart, rendered by Helm's own engine (Go's text/template with sprig, `e2e/chart`): Helm itself is in no
//! registry that the tests install from.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::paths;

/// The chart.
#[must_use]
pub fn dir() -> PathBuf {
    paths::root().join("charts/mote")
}

/// The object of a YAML file.
///
/// # Errors
/// If it cannot be read.
pub fn object(file: &Path) -> Result<Value> {
    let output = renderer(&["--json".as_ref(), file.as_ref()])?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The objects of a release, and what Helm would print after installing it.
///
/// # Errors
/// If the values or a template are wrong, with what the engine says.
pub fn render(release: &str, namespace: &str, values: &str) -> Result<(Vec<Value>, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("values.yaml");
    fs::write(&file, values)?;
    let output = renderer(&[
        dir().as_ref(),
        release.as_ref(),
        namespace.as_ref(),
        file.as_ref(),
    ])
    .with_context(|| values.to_string())?;
    let objects = String::from_utf8(output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    Ok((objects, String::from_utf8(output.stderr)?))
}

/// Runs the renderer; `e2e/chart/main.go` has its arguments.
fn renderer(args: &[&OsStr]) -> Result<Output> {
    let output = Command::new(paths::work().join("chart/render"))
        .args(args)
        .output()
        .context("no renderer of charts; `make install-deps` builds it")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}
