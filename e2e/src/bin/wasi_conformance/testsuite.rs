//! Programs of WebAssembly/wasi-testsuite, each beside a file that says what it should do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::case::{Case, Expected, Folder, Grant, Streams, programs_in, stem};

/// Commit of a suite: git's, or the text of a file `COMMIT` where the folder is no checkout.
pub(crate) fn version(folder: &str) -> Result<String> {
    if let Ok(text) = fs::read_to_string(Path::new(folder).join("COMMIT")) {
        return Ok(text.trim().to_owned());
    }
    let output = Command::new("git")
        .args(["-C", folder, "rev-parse", "HEAD"])
        .output()?;
    ensure!(
        output.status.success(),
        "{folder} has neither git's HEAD nor a file COMMIT"
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The cases of WebAssembly/wasi-testsuite for WASI 0.1. (its doc/specification.md)
pub(crate) fn testsuite(folder: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for language in ["assemblyscript", "c", "rust"] {
        let folder = Path::new(folder)
            .join("tests")
            .join(language)
            .join("testsuite/wasm32-wasip1");
        for wasm in programs_in(&folder)? {
            let name = format!("{language}/{}", stem(&wasm));
            cases.push(specified(name, wasm).with_context(|| folder.display().to_string())?);
        }
    }
    ensure!(
        !cases.is_empty(),
        "{folder} has no programs: branch prod/testsuite-base has them"
    );
    Ok(cases)
}

/// A case by the file beside its program.
fn specified(name: String, wasm: PathBuf) -> Result<Case> {
    let file = wasm.with_extension("json");
    let specification: Value = if file.exists() {
        serde_json::from_str(&fs::read_to_string(&file)?).with_context(|| file.display().to_string())?
    } else {
        Value::Null
    };
    ensure!(
        specification.get("operations").is_none(),
        "{}: a specification by operations",
        file.display()
    );
    let text = |key: &str| specification.get(key).and_then(Value::as_str).map(str::to_owned);
    let args = specification.get("args").and_then(Value::as_array);
    let env = specification.get("env").and_then(Value::as_object);
    let code = specification
        .get("exit_code")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let root = text("root").map(|root| Folder {
        from: wasm.with_file_name(root),
        guest: "/",
        grant: Grant::Write,
    });
    Ok(Case {
        name,
        args: args.into_iter().flatten().filter_map(string).collect(),
        env: env
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), string(value)?)))
            .collect(),
        inherited: BTreeMap::new(),
        options: Vec::new(),
        stdin: String::new(),
        streams: Streams::Files,
        folders: root.into_iter().collect(),
        expected: Expected {
            code: Some(i32::try_from(code)?),
            stdout: text("stdout"),
            stderr: text("stderr"),
        },
        wasm,
    })
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
