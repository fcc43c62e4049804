//! A block of ours at the end of a file, between two lines that mark it. A table's header may stand anywhere in TOML, so
//! this works for templates as well, which are not TOML yet.

/// Starts the block; up to here nothing is ours.
const BEGIN: &str = "# BEGIN mote-install: `mote-install uninstall` removes this block";
/// What follows [`BEGIN`] if the file had no newline at its end, so that taking back gives the same bytes.
const ADDED_NEWLINE: &str = " and the line break before it";
const END: &str = "# END mote-install";

/// A file without our block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The file without the block.
    pub(crate) rest: String,
    /// The block's lines between its marks; `None` if there is no block.
    pub(crate) block: Option<String>,
}

/// Takes our block out, wherever it is by now. A begin without an end takes nothing: what is behind it may be others'.
///
/// # Errors
/// What is wrong with the marks.
pub(crate) fn split(text: &str) -> Result<Parts, String> {
    let mut begin = None;
    let mut found = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare.starts_with(BEGIN) {
            if begin.is_some() || found.is_some() {
                return Err(format!("the line {BEGIN:?} is there twice; remove the copy"));
            }
            begin = Some((at, bare.ends_with(ADDED_NEWLINE), at + line.len()));
        } else if bare == END
            && let Some((start, newline, inner)) = begin.take()
        {
            found = Some((start, newline, inner, at, at + line.len()));
        }
        at += line.len();
    }
    if begin.is_some() {
        return Err(format!(
            "the line {BEGIN:?} has no line {END:?} after it; put it where the block ends"
        ));
    }
    let Some((start, newline, inner, inner_end, end)) = found else {
        return Ok(Parts {
            rest: text.into(),
            block: None,
        });
    };
    let mut before = &text[..start];
    // Something behind the block needs the line break that we added.
    if newline && end == text.len() {
        before = before.strip_suffix('\n').unwrap_or(before);
    }
    Ok(Parts {
        rest: format!("{before}{}", &text[end..]),
        block: Some(text[inner..inner_end].into()),
    })
}

/// The file with the block at its end.
pub(crate) fn append(rest: &str, block: &str) -> String {
    let newline = !rest.is_empty() && !rest.ends_with('\n');
    let (line_break, note) = if newline { ("\n", ADDED_NEWLINE) } else { ("", "") };
    let end = if block.ends_with('\n') { "" } else { "\n" };
    format!("{rest}{line_break}{BEGIN}{note}\n{block}{end}{END}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_the_byte() {
        for text in [
            "",
            "a = 1\n",
            "a = 1",
            "\n\n",
            "a = 1\r\n",
            "[x]\r\n  b = 1",
            "{{ template \"base\" . }}\n",
        ] {
            let with = append(text, "[mote]\nx = 1\n");
            let parts = split(&with).unwrap();
            assert_eq!(parts.rest, text);
            assert_eq!(parts.block.as_deref(), Some("[mote]\nx = 1\n"));
            assert_eq!(split(text).unwrap().block, None);
        }
    }

    #[test]
    fn what_others_add_stays() {
        let with = append("a = 1", "[mote]\n");
        let edited = format!("# first\n{with}[other]\nb = 2\n");
        assert_eq!(split(&edited).unwrap().rest, "# first\na = 1\n[other]\nb = 2\n");
    }

    #[test]
    fn broken_marks_are_told() {
        let with = append("a = 1\n", "[mote]\n");
        assert!(split(&with.replace(END, "")).is_err());
        assert!(split(&format!("{with}{with}")).is_err());
    }
}
