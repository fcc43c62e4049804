//! What critest reports: the JSON of its test framework, ginkgo. (its `types.Report`)

use anyhow::{Context as _, Result, ensure};
use mote_e2e::containerd::Series;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// A test that was run, or that skipped itself.
pub(crate) struct Test {
    /// The names of the groups that it is in, and its own.
    pub(crate) name: String,
    /// The outermost group.
    pub(crate) group: String,
    pub(crate) outcome: Outcome,
    /// Why it failed or skipped itself.
    pub(crate) message: String,
}

/// All tests of one series of containerd, by name.
pub(crate) struct Run {
    pub(crate) series: Series,
    pub(crate) tests: Vec<Test>,
}

impl Run {
    pub(crate) fn parse(series: Series, json: &[u8]) -> Result<Run> {
        let report: Value = serde_json::from_slice(json)?;
        let specs = report[0]["SpecReports"].as_array().context("no SpecReports")?;
        let mut tests = Vec::new();
        for spec in specs {
            let message = spec["Failure"]["Message"].as_str().unwrap_or_default();
            let outcome = match spec["State"].as_str().unwrap_or_default() {
                "passed" => Outcome::Passed,
                // Not chosen: benchmarks, and whatever `--only` leaves out.
                "skipped" if message.is_empty() => continue,
                "skipped" | "pending" => Outcome::Skipped,
                _ => Outcome::Failed,
            };
            if spec["LeafNodeType"] != "It" {
                ensure!(
                    outcome == Outcome::Passed,
                    "critest's {}: {message}",
                    spec["LeafNodeType"]
                );
                continue;
            }
            let groups = spec["ContainerHierarchyTexts"].as_array();
            let words = groups.into_iter().flatten().chain([&spec["LeafNodeText"]]);
            let words: Vec<&str> = words.filter_map(Value::as_str).collect();
            let text = |text: &str| text.trim_start_matches("[k8s.io] ").to_owned();
            tests.push(Test {
                name: text(&words.join(" ")),
                group: text(words.first().unwrap_or(&"")),
                outcome,
                message: message.trim().to_owned(),
            });
        }
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Run { series, tests })
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.tests.iter().filter(|test| test.outcome == outcome).count()
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped themselves",
            self.count(Outcome::Passed),
            self.count(Outcome::Failed),
            self.count(Outcome::Skipped)
        )
    }
}
