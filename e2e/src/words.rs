//! The command lines of the conformance runners.

use anyhow::{Result, ensure};

/// Takes an option and its value out of the command line.
///
/// # Errors
/// If it has no value.
pub fn option(words: &mut Vec<String>, name: &str) -> Result<Option<String>> {
    let Some(at) = words.iter().position(|word| word == name) else {
        return Ok(None);
    };
    ensure!(at + 1 < words.len(), "{name} needs a value");
    words.remove(at);
    Ok(Some(words.remove(at)))
}
