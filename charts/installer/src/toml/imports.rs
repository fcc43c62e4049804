//! The `imports` of containerd's main file: whether they lead to a drop-in, and an entry of ours.

use std::path::{Component, Path, PathBuf};

use toml_edit::{Array, Document};

use super::parse;
use crate::error::Error;

/// Behind a line that we put in.
const MARK: &str = "# added by mote-install, and removed by its uninstall";

/// Whether the file imports `drop_in`. Relative entries begin at the file's own folder (containerd's `resolveImports`).
pub(crate) fn cover(path: &Path, text: &str, drop_in: &Path) -> Result<bool, Error> {
    let document = parse(path, text)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let entries = array(path, &document)?.into_iter().flatten();
    Ok(entries
        .filter_map(|entry| entry.as_str())
        .any(|entry| matches(&clean(&dir.join(entry)), drop_in)))
}

/// The file with an entry for `drop_in`.
pub(crate) fn add(path: &Path, text: &str, drop_in: &Path) -> Result<String, Error> {
    let entry = format!("{:?}", drop_in.display().to_string());
    let document = parse(path, text)?;
    let Some(array) = array(path, &document)? else {
        // Keys of the root stand before all tables.
        return Ok(format!("imports = [{entry}] {MARK}\n{text}"));
    };
    let span = |range: Option<std::ops::Range<usize>>| {
        range.ok_or_else(|| Error::Config {
            path: path.into(),
            reason: "the place of its imports cannot be told".into(),
        })
    };
    let (at, insertion) = match array.iter().last() {
        Some(last) => (span(last.span())?.end, format!(", {entry}")),
        None => (span(array.span())?.start + 1, entry),
    };
    Ok(format!("{}{insertion}{}", &text[..at], &text[at..]))
}

/// The file without the entry for `drop_in`; as it is if there is none.
pub(crate) fn remove(path: &Path, text: &str, drop_in: &Path) -> Result<String, Error> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        // Only while the line is as it was put in: somebody may have added entries to it.
        let alone = format!("imports = [{:?}] {MARK}", drop_in.display().to_string());
        if line.trim_end() == alone {
            return Ok(format!("{}{}", &text[..at], &text[at + line.len()..]));
        }
        at += line.len();
    }
    let document = parse(path, text)?;
    let wanted = drop_in.to_str();
    let Some(array) = array(path, &document)? else {
        return Ok(text.into());
    };
    let Some(span) = array
        .iter()
        .find(|entry| entry.as_str() == wanted)
        .and_then(|entry| entry.span())
    else {
        return Ok(text.into());
    };
    let before = text[..span.start].trim_end();
    let after = &text[span.end..];
    if let Some(before) = before.strip_suffix(',') {
        return Ok(format!("{before}{after}"));
    }
    let after = match after.trim_start().strip_prefix(',') {
        Some(rest) => rest.trim_start_matches([' ', '\t']),
        None => after,
    };
    Ok(format!("{}{after}", &text[..span.start]))
}

fn array<'a>(path: &Path, document: &'a Document<&str>) -> Result<Option<&'a Array>, Error> {
    match document.as_table().get("imports") {
        None => Ok(None),
        Some(item) => item.as_array().map(Some).ok_or_else(|| Error::Config {
            path: path.into(),
            reason: "its imports are not an array".into(),
        }),
    }
}

/// One level of Go's `filepath.Glob`, with `*` as the only sign: enough for `conf.d/*.toml`.
fn matches(pattern: &Path, path: &Path) -> bool {
    let (mut pattern, mut path) = (pattern.components(), path.components());
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(Component::Normal(p)), Some(Component::Normal(n))) => {
                let (Some(p), Some(n)) = (p.to_str(), n.to_str()) else {
                    return false;
                };
                if !wildcard(p, n) {
                    return false;
                }
            }
            (Some(Component::RootDir), Some(Component::RootDir)) => {}
            _ => return false,
        }
    }
}

fn wildcard(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(head) else {
        return false;
    };
    (0..=rest.len())
        .filter(|at| rest.is_char_boundary(*at))
        .any(|at| wildcard(tail, &rest[at..]))
}

fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "/etc/containerd/config.toml";
    const DROP_IN: &str = "/etc/containerd/conf.d/mote.toml";

    fn covers(text: &str) -> bool {
        cover(Path::new(MAIN), text, Path::new(DROP_IN)).unwrap()
    }

    #[test]
    fn what_is_imported() {
        assert!(covers("imports = ['/etc/containerd/conf.d/*.toml']"));
        assert!(covers("imports = ['conf.d/*.toml']"));
        assert!(covers("imports = ['./conf.d/mote.toml', '/x']"));
        assert!(covers("imports = ['/etc/*/../containerd/conf.d/m*e.toml']"));
        assert!(!covers("imports = []"));
        assert!(!covers("version = 3"));
        assert!(!covers("imports = ['/etc/containerd/*.toml']"));
        assert!(!covers("[x]\nimports = ['/etc/containerd/conf.d/*.toml']"));
    }

    #[test]
    fn an_entry_goes_in_and_out_to_the_byte() {
        for text in [
            "version = 3\n",
            "version = 3",
            "# c\n\n[plugins]\n x = 1\n",
            "imports = []\nversion = 3\n",
            "imports = [ ]",
            "imports = [ # none\n]\n[x]\n",
            "imports = ['/a']",
            "imports = [\"/a\", '/b',]  # why\nversion = 3\n",
            "version = 3\nimports = [\n  \"/a\", # one\n  \"/b\" # two\n]\n",
        ] {
            let (main, drop_in) = (Path::new(MAIN), Path::new(DROP_IN));
            let with = add(main, text, drop_in).unwrap();
            assert!(covers(&with), "{with}");
            assert_eq!(remove(main, &with, drop_in).unwrap(), text, "{with}");
            assert_eq!(remove(main, text, drop_in).unwrap(), text);
        }
    }

    #[test]
    fn entries_of_others_stay() {
        let (main, drop_in) = (Path::new(MAIN), Path::new(DROP_IN));
        let with = add(main, "version = 3\n", drop_in).unwrap();
        let edited = with.replace("] #", ", '/new'] #");
        let without = remove(main, &edited, drop_in).unwrap();
        assert!(without.starts_with("imports = ['/new'] #"), "{without}");
        let first = format!("imports = [\"{DROP_IN}\", '/b']");
        assert_eq!(remove(main, &first, drop_in).unwrap(), "imports = ['/b']");
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let (main, drop_in) = (Path::new(MAIN), Path::new(DROP_IN));
        assert!(add(main, "imports = 'x'", drop_in).is_err());
        assert!(add(main, "imports = [", drop_in).is_err());
    }
}
