//! The sections of the document that this program writes, each between two markers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::Verdict;
use crate::programs::{FAMILIES, REASONS};

/// Rewrites the section of wasi-testsuite.
pub(crate) fn testsuite(path: &Path, suite: &str, results: &[Verdict]) -> Result<()> {
    let failed = results.iter().filter(|r| r.failure.is_some()).count();
    let mut section = format!(
        "| suite | programs | passed | failed |\n|---|---|---|---|\n| {suite}, WASI 0.1 | {} | {} | {failed} |\n",
        results.len(),
        results.len() - failed,
    );
    for result in results {
        if let Some(why) = &result.failure {
            writeln!(section, "\n- `{}`: {why}", result.name)?;
        }
    }
    rewrite(path, "wasi", &section)
}

/// Rewrites the section of Wasmtime's test programs.
pub(crate) fn programs(path: &Path, results: &[Verdict], left_out: &[(String, &str)]) -> Result<()> {
    let mut section = String::from(
        "| programs | run | alike | of those, fail by both | otherwise | not run |\n|---|---|---|---|---|---|\n",
    );
    // Each program belongs to the first family that fits.
    let family = |name: &str| {
        FAMILIES
            .iter()
            .position(|(_, names)| names.iter().any(|n| name.starts_with(n)))
    };
    for (number, (what, _)) in FAMILIES.iter().enumerate() {
        let run = results.iter().filter(|r| family(&r.name) == Some(number));
        let (alike, otherwise): (Vec<&Verdict>, Vec<&Verdict>) = run.partition(|r| r.failure.is_none());
        let both = alike.iter().filter(|r| r.expected != Some(0)).count();
        let left_out = left_out.iter().filter(|(name, _)| family(name) == Some(number));
        let (run, left_out) = (alike.len() + otherwise.len(), left_out.count());
        if run + left_out > 0 {
            writeln!(
                section,
                "| {what} | {run} | {} | {both} | {} | {left_out} |",
                alike.len(),
                otherwise.len()
            )?;
        }
    }
    let reason = |name: &str| {
        let found = REASONS.iter().find(|(program, _)| *program == name);
        found.map_or("not explained yet", |(_, reason)| reason)
    };
    section.push_str("\nOtherwise:\n\n");
    for result in results.iter().filter(|r| r.failure.is_some()) {
        writeln!(section, "- `{}`: {}", result.name, reason(&result.name))?;
    }
    section.push_str("\nFail by both:\n\n");
    for result in results {
        if let (None, Some(code @ 1..)) = (&result.failure, result.expected) {
            writeln!(section, "- `{}`, {code}: {}", result.name, reason(&result.name))?;
        }
    }
    if !left_out.is_empty() {
        section.push_str("\nNot run:\n\n");
    }
    let mut reasons: Vec<&str> = left_out.iter().map(|(_, why)| *why).collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let names = left_out.iter().filter(|(_, why)| *why == reason);
        let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
        writeln!(section, "- {}: {reason}", names.join(", "))?;
    }
    rewrite(path, "programs", &section)
}

fn rewrite(path: &Path, name: &str, section: &str) -> Result<()> {
    let start = format!("<!-- {name}: written by `make conformance` -->\n");
    let end = format!("<!-- {name}: end -->\n");
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (before, rest) = text
        .split_once(&start)
        .with_context(|| format!("{}: no line {start}", path.display()))?;
    let (_, behind) = rest
        .split_once(&end)
        .with_context(|| format!("{}: no line {end}", path.display()))?;
    fs::write(path, format!("{before}{start}{section}{end}{behind}"))?;
    Ok(())
}
