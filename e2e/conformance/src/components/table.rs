//! The section of the document.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Tree;
use super::files::FOLDER;
use crate::wast::FileResult;
use crate::wast::report;

/// The section of the document.
pub(crate) fn section(tree: &Tree, results: &[FileResult]) -> String {
    let mut text = format!(
        "\nThe files `{FOLDER}` of Wasmtime {}; Wasmtime {}.\n\n",
        tree.version,
        mote_engine::compiler::WASMTIME
    );
    text.push_str(&report::table(results));
    text.push_str("\nFailed:\n\n");
    text.push_str(&report::failures(results, |_| None));
    text.push_str("\nNot run:\n\n");
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, reason) in &tree.left_out {
        reasons.entry(reason).or_default().push(name);
    }
    for (reason, names) in reasons {
        // Writing to a string cannot fail.
        let _ = match names.as_slice() {
            [name] => writeln!(text, "- `{name}`: {reason}"),
            _ => writeln!(text, "- {} files: {reason}", names.len()),
        };
    }
    for (_, reason, count) in report::skipped(results) {
        let _ = writeln!(text, "- {count} directives: {reason}");
    }
    text.push('\n');
    text
}
