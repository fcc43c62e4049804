//! The test files: those that Wasmtime is tested with, or any.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::scripts::File;

/// Suites, and where Wasmtime's source has them. The first one is a submodule there.
pub(super) const SUITES: &[(&str, &str)] = &[
    ("the component model's own", "tests/component-model/test"),
    ("Wasmtime's", "tests/misc_testsuite/component-model"),
];

/// Features that a file may ask for in a line `;;! feature = true`, for which it is not run, and why.
const OFF: &[(&str, &str)] = &[
    (
        "component_model_fixed_length_lists",
        "lists of fixed length: not part of WASI 0.2; off in Wasmtime by default",
    ),
    (
        "component_model_map",
        "maps: not part of WASI 0.2; off in Wasmtime by default",
    ),
    (
        "component_model_memory64",
        "components with 64-bit memories: not part of WASI 0.2; off in Wasmtime by default",
    ),
    (
        "component_model_implements",
        "imports that name what they implement: not part of WASI 0.2; off in Wasmtime by default",
    ),
    (
        "component_model_error_context",
        "error contexts: not part of WASI 0.2; off in Wasmtime by default",
    ),
    (
        "component_model_gc",
        "values of the garbage collector across components: not part of WASI 0.2; off in Wasmtime by default",
    ),
];

const ASYNC: &str = "asynchronous functions, streams, futures and threads: WASI 0.2 does not have them, and Mote's compiler refuses them";

/// Folders whose files are not run, and files, and why.
const LEFT_OUT: &[(&str, &str)] = &[("async/", ASYNC), ("values/post-return.wast", ASYNC)];

/// The files of a source tree of Wasmtime.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Wasmtime's version.
    pub(crate) version: String,
    pub(crate) files: Vec<File>,
    /// Files that are not run, each with its suite before, and the reason.
    pub(crate) left_out: Vec<(&'static str, String, &'static str)>,
}

impl Tree {
    /// Reads the files below `root`.
    ///
    /// # Errors
    /// If a file cannot be read, or `root` is no such tree.
    pub(crate) fn read(root: &Path) -> Result<Tree> {
        let manifest = text(&root.join("Cargo.toml"))?;
        let mut tree = Tree {
            version: version(&manifest)
                .with_context(|| format!("{}: Cargo.toml names no version", root.display()))?
                .to_string(),
            files: Vec::new(),
            left_out: Vec::new(),
        };
        for (suite, folder) in SUITES {
            tree.add(suite, &root.join(folder))?;
        }
        Ok(tree)
    }

    fn add(&mut self, suite: &'static str, folder: &Path) -> Result<()> {
        let before = self.files.len();
        for path in listed(folder)? {
            let name = path
                .strip_prefix(folder)
                .context("a file outside of its folder")?
                .display()
                .to_string();
            let text = text(&path)?;
            match reason(&name, &text) {
                Some(reason) => self.left_out.push((suite, name, reason)),
                None => self.files.push(File { suite, name, text }),
            }
        }
        ensure!(
            self.files.len() > before,
            "{}: no test files; the tree has to be the source of Wasmtime with its submodules",
            folder.display()
        );
        Ok(())
    }
}

/// A file by its path.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn named(path: &Path) -> Result<File> {
    let name = path.file_name().context("a file without a name")?;
    Ok(File {
        suite: "components",
        name: name.display().to_string(),
        text: text(path)?,
    })
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The version of the packages of a workspace.
fn version(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[workspace.package]")?;
    let (_, version) = package.split_once("version = \"")?;
    version.split('"').next()
}

/// All test files below a folder, sorted.
fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            paths.extend(listed(&entry.path())?);
        } else if entry.path().extension().is_some_and(|end| end == "wast") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Why a file is not run, if it is not.
fn reason(name: &str, text: &str) -> Option<&'static str> {
    let by_name = LEFT_OUT.iter().find(|(start, _)| name.starts_with(start));
    let asks = |feature: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix(";;!"))
            .filter_map(|line| line.split_once('='))
            .any(|(name, value)| name.trim() == feature && value.trim() == "true")
    };
    let by_feature = || OFF.iter().find(|(feature, _)| asks(feature));
    by_name.or_else(by_feature).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_left_out_for_its_name_or_for_a_feature_it_asks_for() {
        assert!(reason("async/a.wast", "").is_some());
        assert_eq!(reason("asynchronous.wast", ""), None);
        assert!(
            reason(
                "a.wast",
                ";;! multi_memory = true\n;;! component_model_map = true\n"
            )
            .is_some()
        );
        assert_eq!(reason("a.wast", ";;! component_model_map = false\n"), None);
        assert_eq!(reason("a.wast", ";; component_model_map = true\n"), None);
    }

    #[test]
    fn the_version_is_that_of_the_workspace() {
        let manifest = "[package]\nversion.workspace = true\n[workspace.package]\nversion = \"1.2.3\"\n";
        assert_eq!(version(manifest), Some("1.2.3"));
        assert_eq!(version("[package]\n"), None);
    }
}
