//! Changes to TOML files that leave every byte of others as it is, and can be taken back to the byte. What is there is
//! parsed (toml_edit) to find out where things are; what is written is text.

pub(crate) mod block;
pub(crate) mod imports;

use std::path::Path;

use toml_edit::{Document, Table};

use crate::error::Error;

/// Parses a file to look at it.
pub(crate) fn parse<'a>(path: &Path, text: &'a str) -> Result<Document<&'a str>, Error> {
    Document::parse(text).map_err(|e| Error::Toml {
        path: path.into(),
        reason: e.to_string(),
    })
}

/// The table at a path of keys, be it written with headers, dots or braces.
pub(crate) fn has(table: &Table, keys: &[&str]) -> bool {
    let mut item = match keys.first().and_then(|key| table.get(key)) {
        Some(item) => item,
        None => return false,
    };
    for key in &keys[1..] {
        match item.get(key) {
            Some(inner) => item = inner,
            None => return false,
        }
    }
    true
}
