//! The section of the document that this program writes, between two markers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::expected::Expected;
use crate::report::{Outcome, Run};

const START: &str = "<!-- cri: written by `make conformance` -->\n";
const END: &str = "<!-- cri: end -->\n";

pub(crate) fn write(path: &Path, version: &str, runs: &[Run], expected: &Expected) -> Result<()> {
    let mut section = String::from(
        "| suite | containerd | tests | passed | failed | skipped themselves |\n|---|---|---|---|---|---|\n",
    );
    for run in runs {
        writeln!(
            section,
            "| {version} | {} | {} | {} | {} | {} |",
            run.series.name(),
            run.tests.len(),
            run.count(Outcome::Passed),
            run.count(Outcome::Failed),
            run.count(Outcome::Skipped),
        )?;
    }
    let passed = select(runs, |_, test| {
        (test.outcome == Outcome::Passed).then_some(test.group.as_str())
    });
    section.push_str("\nPassed:\n");
    for (group, tests) in &passed {
        list(&mut section, group, tests, runs)?;
    }
    let failed = select(runs, |run, test| {
        (test.outcome == Outcome::Failed).then(|| {
            let known = expected.reason(&test.name, run.series);
            known.map_or("not explained yet", |reason| &expected.reasons[reason])
        })
    });
    section.push_str("\nFailed:\n");
    let order = |reason: &&str| expected.reasons.iter().position(|known| known == reason);
    let mut reasons: Vec<&str> = failed.keys().copied().collect();
    reasons.sort_by_key(|reason| order(reason));
    for reason in reasons {
        list(&mut section, reason, &failed[reason], runs)?;
    }
    let skipped = select(runs, |_, test| {
        (test.outcome == Outcome::Skipped).then_some(test.message.as_str())
    });
    section.push_str("\nSkipped by themselves:\n");
    for (reason, tests) in &skipped {
        list(&mut section, reason, tests, runs)?;
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let missing = || format!("{} has no section between {START} and {END}", path.display());
    let (before, rest) = text.split_once(START).with_context(missing)?;
    let (_, behind) = rest.split_once(END).with_context(missing)?;
    fs::write(path, format!("{before}{START}{section}{END}{behind}"))?;
    Ok(())
}

/// Names of tests, each with the series it is about, by a reason or a group.
type ByReason<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'static str>>>;

fn select<'a>(
    runs: &'a [Run],
    reason: impl Fn(&'a Run, &'a crate::report::Test) -> Option<&'a str>,
) -> ByReason<'a> {
    let mut found = ByReason::new();
    for run in runs {
        for test in &run.tests {
            if let Some(reason) = reason(run, test) {
                let tests = found.entry(reason).or_default();
                tests.entry(&test.name).or_default().push(run.series.name());
            }
        }
    }
    found
}

fn list(
    section: &mut String,
    reason: &str,
    tests: &BTreeMap<&str, Vec<&'static str>>,
    runs: &[Run],
) -> Result<()> {
    writeln!(section, "\n- {reason}:")?;
    for (name, series) in tests {
        // Said already, where the tests are listed by groups.
        let name = name.strip_prefix(reason).map_or(*name, str::trim_start);
        if series.len() == runs.len() {
            writeln!(section, "  - {name}")?;
        } else {
            writeln!(section, "  - {name} (containerd {})", series.join(", "))?;
        }
    }
    Ok(())
}
