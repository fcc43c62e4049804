//! The list of tests that are known to fail. A line is a reason, lines below it that begin with spaces are its tests. A
//! test that fails with some series of containerd alone has them before its name: `1.6,1.7: `.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use mote_e2e::containerd::Series;

struct Line {
    reason: usize,
    /// Names of series; empty for all.
    series: Vec<String>,
    test: String,
}

pub(crate) struct Expected {
    /// In the list's order.
    pub(crate) reasons: Vec<String>,
    lines: Vec<Line>,
}

impl Expected {
    pub(crate) fn read(path: &Path) -> Result<Expected> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut expected = Expected {
            reasons: Vec::new(),
            lines: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let Some(test) = line.strip_prefix("  ") else {
                expected.reasons.push(line.to_owned());
                continue;
            };
            ensure!(
                !expected.reasons.is_empty(),
                "{}: {test}: no reason",
                path.display()
            );
            let names = Series::ALL.map(Series::name);
            let (series, test) = match test.split_once(": ") {
                Some((series, test)) if series.split(',').all(|name| names.contains(&name)) => {
                    (series.split(',').map(str::to_owned).collect(), test)
                }
                _ => (Vec::new(), test),
            };
            expected.lines.push(Line {
                reason: expected.reasons.len() - 1,
                series,
                test: test.to_owned(),
            });
        }
        Ok(expected)
    }

    /// Why a test is known to fail, if it is: a number of [`Expected::reasons`].
    pub(crate) fn reason(&self, test: &str, series: Series) -> Option<usize> {
        let applies = |line: &&Line| {
            let ours = line.series.is_empty() || line.series.iter().any(|name| name == series.name());
            ours && line.test == test
        };
        self.lines.iter().find(applies).map(|line| line.reason)
    }
}
