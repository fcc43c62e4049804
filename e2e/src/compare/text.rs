//! Differences between texts, and what is no difference.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Lines of context and most lines that a difference shows.
const SHOWN: usize = 30;

/// The lines that only one of the texts has, or nothing if they are equal to the byte.
#[must_use]
pub fn difference(what: &str, mote: &str, other: &str) -> Option<String> {
    if mote == other {
        return None;
    }
    let mut text = format!("{what}:");
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (mote.lines().collect(), other.lines().collect());
    let all_ours: BTreeSet<&str> = ours.iter().copied().collect();
    let all_theirs: BTreeSet<&str> = theirs.iter().copied().collect();
    let only = |lines: &[&str], others: &BTreeSet<&str>, sign: char| -> Vec<String> {
        let mut found = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            if !others.contains(line) {
                found.push(format!("{sign} line {}: {line}", number + 1));
            }
        }
        found
    };
    let mut lines = only(&ours, &all_theirs, '-');
    lines.extend(only(&theirs, &all_ours, '+'));
    if lines.is_empty() {
        let _ = write!(
            text,
            " the same lines in another order, number or ending ({} and {} bytes)\n- {mote:?}\n+ {other:?}",
            mote.len(),
            other.len()
        );
    }
    for line in lines.iter().take(SHOWN) {
        let _ = write!(text, "\n{line}");
    }
    if lines.len() > SHOWN {
        let _ = write!(text, "\n... and {} more lines", lines.len() - SHOWN);
    }
    Some(text)
}

/// What was written to stderr, with the error at its end, if there is one, reduced to what the wasmtime command and Mote
/// both say: the causes and the frames of the backtrace. The command also names the file and the step that failed,
/// numbers the causes, and hints at debug information.
#[must_use]
pub fn essence(stderr: &str) -> String {
    let mut kept = String::new();
    let mut in_error = false;
    for line in stderr.lines() {
        in_error = in_error || line.starts_with("Error: ");
        if !in_error {
            kept += line;
            kept.push('\n');
            continue;
        }
        let line = line.trim().trim_start_matches("Error: ");
        let line = match line.split_once(": ") {
            Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => rest.trim_start(),
            _ => line,
        };
        let context = [
            "failed to run main module",
            "failed to invoke",
            "Caused by:",
            "note: using the `WASMTIME_",
        ];
        if !line.is_empty() && !context.iter().any(|start| line.starts_with(start)) {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(difference("stdout", "a\nb\n", "a\nb\n"), None);
        let text = difference("stdout", "a\nb\n", "a\nc\n").unwrap();
        assert_eq!(text, "stdout:\n- line 2: b\n+ line 2: c");
        assert!(difference("stdout", "a\n", "a").unwrap().contains("ending"));
    }

    #[test]
    fn context_is_not_essential() {
        let command = "said before\nError: failed to run main module `/some/a.wasm`\n\nCaused by:\n    \
                       0: failed to invoke command default\n    1: error while executing at wasm backtrace:\n    \
                       0:   0x205c - a.wasm!main\n    1:    0x732 - a.wasm!_start\n\
                       note: using the `WASMTIME_BACKTRACE_DETAILS=1` environment variable may show more\n    \
                       2: wasm trap: integer divide by zero\n";
        let mote = "said before\nError: error while executing at wasm backtrace:\n    0:   0x205c - a.wasm!main\n    \
                    1:    0x732 - a.wasm!_start\n\nCaused by:\n    wasm trap: integer divide by zero\n";
        assert_eq!(essence(command), essence(mote));
        assert_ne!(essence(command), essence(&mote.replace("divide", "multiply")));
    }
}
