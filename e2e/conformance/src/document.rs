//! Sections of a document that this program writes, each between two markers.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

fn markers(name: &str) -> (String, String) {
    (
        format!("<!-- {name}: written by `make conformance` -->\n"),
        format!("<!-- {name}: end -->\n"),
    )
}

/// The text before the section, the section, and the text behind it.
fn split<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (start, end) = markers(name);
    let from = text.find(&start)? + start.len();
    let to = from + text.get(from..)?.find(&end)?;
    Some((&text[..from], &text[from..to], &text[to..]))
}

/// Replaces the section `name` of the document.
///
/// # Errors
/// If the document cannot be read or written, or has no such section.
pub(crate) fn rewrite(path: &Path, name: &str, section: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (before, _, behind) =
        split(&text, name).with_context(|| format!("{}: no section {name}", path.display()))?;
    fs::write(path, format!("{before}{section}{behind}")).with_context(|| path.display().to_string())
}

/// Whether the section `name` is exactly `section`.
///
/// # Errors
/// As for [`rewrite`].
pub(crate) fn says(path: &Path, name: &str, section: &str) -> Result<bool> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (_, found, _) =
        split(&text, name).with_context(|| format!("{}: no section {name}", path.display()))?;
    Ok(found == section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_section_is_found() {
        let text = "a\n<!-- x: written by `make conformance` -->\nold\n<!-- x: end -->\nb\n";
        let (before, section, behind) = split(text, "x").unwrap();
        assert_eq!(section, "old\n");
        assert!(before.starts_with("a\n<!-- x") && behind.ends_with("b\n"));
        assert!(split(text, "y").is_none());
    }
}
