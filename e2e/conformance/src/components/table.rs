//! The section of the document.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Tree;
use super::files::SUITES;
use crate::scripts::FileResult;
use crate::scripts::report;

/// Directives that fail because Mote does not have what they are about, by a part of the compiler's refusal.
const MISSING: &[(&str, &str)] = &[
    ("component model async feature", "WASI 0.2 does not have it"),
    ("component model threading feature", "WASI 0.2 does not have it"),
    (
        "`cm-implements` feature",
        "not part of WASI 0.2; off in Wasmtime by default",
    ),
    (
        "`cm64` feature",
        "not part of WASI 0.2; off in Wasmtime by default",
    ),
    (
        "threads must be enabled",
        "Mote refuses shared memories and atomics",
    ),
];

/// The section of the document.
pub(crate) fn section(tree: &Tree, results: &[FileResult]) -> String {
    let mut text = format!(
        "\nWhat Wasmtime {} is tested with; Wasmtime {}.\n\n",
        tree.version,
        mote_engine::compiler::WASMTIME
    );
    text.push_str(&report::table(results));
    text.push('\n');
    for (suite, folder) in SUITES {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {suite}: `{folder}` in the source of Wasmtime");
    }
    text.push_str("\nFailed:\n\n");
    text.push_str(&report::failures(results, |_, why| {
        let missing = MISSING.iter().find(|(part, _)| why.contains(part));
        missing.map(|(_, reason)| *reason)
    }));
    text.push_str("\nNot run:\n\n");
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (suite, name, reason) in &tree.left_out {
        reasons
            .entry(reason)
            .or_default()
            .push(format!("{suite}, `{name}`"));
    }
    for (reason, names) in reasons {
        // Writing to a string cannot fail.
        let _ = match names.as_slice() {
            [name] => writeln!(text, "- {name}: {reason}"),
            _ => writeln!(text, "- {} files: {reason}", names.len()),
        };
    }
    for (suite, reason, count) in report::skipped(results) {
        let _ = writeln!(text, "- {suite}, {count} directives: {reason}");
    }
    text.push('\n');
    text
}
