//! What was found: on the terminal, and as parts of a document.

use std::fmt::Write as _;

use super::{FileResult, Outcome};

/// Counts of one suite.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    files: usize,
    host: usize,
    vm: usize,
    /// Failed on the host, or in both places.
    pub(crate) failed: usize,
    /// Passed natively and failed in the VM.
    pub(crate) worse: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    fn add(&mut self, file: &FileResult) {
        self.files += 1;
        for directive in &file.directives {
            *match &directive.outcome {
                Outcome::Host(Ok(())) => &mut self.host,
                Outcome::Run { vm: Ok(()), .. } => &mut self.vm,
                Outcome::Run {
                    native: Ok(()),
                    vm: Err(_),
                } => &mut self.worse,
                Outcome::Host(Err(_)) | Outcome::Run { .. } => &mut self.failed,
                Outcome::Skipped(_) => &mut self.skipped,
            } += 1;
        }
    }
}

/// Counts by suite, in the order of the suites.
fn counts(results: &[FileResult]) -> Vec<(&'static str, Counts)> {
    let mut rows: Vec<(&'static str, Counts)> = Vec::new();
    for file in results {
        match rows.iter_mut().find(|(suite, _)| *suite == file.suite) {
            Some((_, counts)) => counts.add(file),
            None => {
                let mut counts = Counts::default();
                counts.add(file);
                rows.push((file.suite, counts));
            }
        }
    }
    rows
}

/// Prints what failed and a summary.
pub(crate) fn print(what: &str, results: &[FileResult], verbose: bool) -> Counts {
    let mut total = Counts::default();
    for file in results {
        total.add(file);
        for directive in &file.directives {
            let at = super::at(file.suite, &file.name, directive.line);
            match &directive.outcome {
                Outcome::Run {
                    native: Ok(()),
                    vm: Err(vm),
                } => println!("FAILED {at}: passes natively; in the VM: {vm}"),
                Outcome::Run {
                    native: Err(native),
                    vm: Ok(()),
                } => println!("better {at}: passes in the VM; natively: {native}"),
                Outcome::Run {
                    native: Err(native),
                    vm: Err(vm),
                } if verbose => println!("both   {at}: natively: {native}\n    in the VM: {vm}"),
                Outcome::Host(Err(text)) if verbose => println!("host   {at}: {text}"),
                Outcome::Skipped(reason) if verbose => println!("skip   {at}: {reason}"),
                _ => {}
            }
        }
    }
    println!(
        "{what}: {} files; {} directives passed in the VM, {} on the host; {} failed that pass natively, {} failed natively as well, {} skipped",
        total.files, total.vm, total.host, total.worse, total.failed, total.skipped
    );
    total
}

/// Counts by suite as a table.
pub(crate) fn table(results: &[FileResult]) -> String {
    let mut text = String::from(
        "| suite | files | passed in the VM | passed on the host | failed in the VM only | failed natively as well | skipped |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (suite, c) in counts(results) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {suite} | {} | {} | {} | {} | {} | {} |",
            c.files, c.vm, c.host, c.worse, c.failed, c.skipped
        );
    }
    text
}

/// Failures, those of one kind in one file together, each with what `reason` says of its file and text.
pub(crate) fn failures(
    results: &[FileResult],
    reason: impl Fn(&FileResult, &str) -> Option<&'static str>,
) -> String {
    let mut text = String::new();
    for file in results {
        let mut kinds: Vec<(String, Vec<String>)> = Vec::new();
        for directive in &file.directives {
            let why = match &directive.outcome {
                Outcome::Host(Err(why)) | Outcome::Run { vm: Err(why), .. } => short(why),
                _ => continue,
            };
            let line = directive.line.to_string();
            match kinds.iter_mut().find(|(kind, _)| *kind == why) {
                Some((_, lines)) => lines.push(line),
                None => kinds.push((why, vec![line])),
            }
        }
        for (why, lines) in kinds {
            let reason = reason(file, &why).map_or(String::new(), |reason| format!(" ({reason})"));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "- {}, `{}` {}: {why}{reason}",
                file.suite,
                file.name,
                lines.join(", ")
            );
        }
    }
    if text.is_empty() {
        text.push_str("- nothing\n");
    }
    text
}

pub(crate) fn skipped(results: &[FileResult]) -> Vec<(&'static str, &'static str, usize)> {
    let mut rows: Vec<(&'static str, &'static str, usize)> = Vec::new();
    for file in results {
        for directive in &file.directives {
            let Outcome::Skipped(reason) = directive.outcome else {
                continue;
            };
            match rows
                .iter_mut()
                .find(|(suite, r, _)| *suite == file.suite && *r == reason)
            {
                Some((_, _, count)) => *count += 1,
                None => rows.push((file.suite, reason, 1)),
            }
        }
    }
    rows
}

/// A failure's text without what changes from run to run: causes and backtraces.
pub(super) fn short(why: &str) -> String {
    let line = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line
        .find(" Caused by")
        .or_else(|| line.find(" 0: 0x"))
        .unwrap_or(line.len());
    line[..end].chars().take(160).collect()
}
