//! `make conformance`, the part of WASI: runs suites of programs with `bin/mote run` and tells which of them pass.
//!
//! `wasi_conformance testsuite FOLDER` takes a checkout of WebAssembly/wasi-testsuite with its built programs (branch
//! `prod/testsuite-base`) and runs its WASI 0.1 part. `wasi_conformance programs FOLDER REFERENCE` takes a folder of
//! programs that fail by their exit code, such as Wasmtime's own test programs, and compares each run with the same by
//! another executable that understands `run --env NAME=VALUE --dir HOST::GUEST FILE ARGUMENTS`.
//!
//! With `--document FILE` the suite's section of that file is rewritten. `--only TEXT` runs what has TEXT in its name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mote_e2e::paths;
use serde_json::Value;

/// How long a program may run.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program and how it is started.
struct Case {
    name: String,
    wasm: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// Copied for each run; the path that the program knows the copy by.
    root: Option<(PathBuf, &'static str)>,
    expected: Expected,
}

/// What a run has to leave behind; what is `None` is not looked at.
struct Expected {
    code: Option<i32>,
    stdout: Option<String>,
    stderr: Option<String>,
}

/// What a run left behind.
struct Ran {
    status: Option<ExitStatus>,
    stdout: String,
    stderr: String,
}

fn main() -> Result<ExitCode> {
    paths::require_binaries();
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let only = option(&mut words, "--only")?.unwrap_or_default();
    let document = option(&mut words, "--document")?;
    let (suite, cases) = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["testsuite", folder] => (format!("wasi-testsuite {}", version(folder)?), testsuite(folder)?),
        ["programs", folder, reference] => (
            format!("{} against {reference}", folder),
            programs(folder, reference, &only)?,
        ),
        _ => bail!("usage: wasi_conformance testsuite FOLDER | programs FOLDER REFERENCE"),
    };
    let mut failures = Vec::new();
    let mut run = 0;
    for case in cases.iter().filter(|case| case.name.contains(&only)) {
        run += 1;
        if let Some(why) = judge(case, &execute(&paths::bin("mote"), case)?) {
            println!("FAIL {}: {why}", case.name);
            failures.push((case.name.clone(), why));
        } else {
            println!("ok   {}", case.name);
        }
    }
    println!("{suite}: {} of {run} pass", run - failures.len());
    if let Some(path) = document {
        ensure!(only.is_empty(), "--document with --only would tell half of it");
        rewrite(Path::new(&path), &suite, run, &failures)?;
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Takes an option and its value out of the command line.
fn option(words: &mut Vec<String>, name: &str) -> Result<Option<String>> {
    let Some(at) = words.iter().position(|word| word == name) else {
        return Ok(None);
    };
    ensure!(at + 1 < words.len(), "{name} needs a value");
    words.remove(at);
    Ok(Some(words.remove(at)))
}

/// Commit of a suite: git's, or the text of a file `COMMIT` where the folder is no checkout.
fn version(folder: &str) -> Result<String> {
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
fn testsuite(folder: &str) -> Result<Vec<Case>> {
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
    let root = text("root").map(|root| (wasm.with_file_name(root), "/"));
    Ok(Case {
        name,
        args: args.into_iter().flatten().filter_map(string).collect(),
        env: env
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), string(value)?)))
            .collect(),
        root,
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

/// Every program of a folder, with what the reference makes of it as expectation. What it cannot run is left out.
fn programs(folder: &str, reference: &str, only: &str) -> Result<Vec<Case>> {
    let empty = tempdir("empty")?;
    let mut cases = Vec::new();
    for wasm in programs_in(Path::new(folder))? {
        let mut case = Case {
            name: stem(&wasm),
            wasm,
            // As Wasmtime's tests start them: the scratch folder's name, and what to expect of this host.
            args: vec![".".into()],
            env: BTreeMap::from([("ERRNO_MODE_UNIX".into(), "1".into())]),
            root: Some((empty.clone(), ".")),
            expected: Expected {
                code: Some(0),
                stdout: None,
                stderr: None,
            },
        };
        if !case.name.contains(only) {
            continue;
        }
        let ran = execute(Path::new(reference), &case)?;
        let Some(code) = ran.status.and_then(|status| status.code()) else {
            println!("skip {}: the reference does not end", case.name);
            continue;
        };
        if code != 0 {
            println!("note {}: the reference ends with {code}", case.name);
        }
        case.expected = Expected {
            code: Some(code),
            stdout: Some(ran.stdout),
            stderr: None,
        };
        cases.push(case);
    }
    Ok(cases)
}

fn programs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut list = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            list.push(path);
        }
    }
    list.sort();
    Ok(list)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// A new folder of this process.
fn tempdir(name: &str) -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("mote-wasi-{}-{name}", std::process::id()));
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir(&path)?;
    Ok(path)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Runs a case in a folder of its own.
fn execute(runtime: &Path, case: &Case) -> Result<Ran> {
    let scratch = tempdir("run")?;
    let root = scratch.join("root");
    fs::create_dir(&root)?;
    let mut command = Command::new(runtime);
    command.arg("run").env("MOTE_CACHE_DIR", paths::cache());
    for (name, value) in &case.env {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    if let Some((from, guest)) = &case.root {
        copy(from, &root)?;
        command.arg("--dir").arg(format!("{}::{guest}", root.display()));
    }
    let (stdout, stderr) = (scratch.join("stdout"), scratch.join("stderr"));
    let mut child = command
        .arg(&case.wasm)
        .args(&case.args)
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?)
        .spawn()
        .with_context(|| runtime.display().to_string())?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let read = |path: &Path| -> Result<String> { Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()) };
    let ran = Ran {
        status,
        stdout: read(&stdout)?,
        stderr: read(&stderr)?,
    };
    fs::remove_dir_all(&scratch)?;
    Ok(ran)
}

/// Why a run fails, if it does.
fn judge(case: &Case, ran: &Ran) -> Option<String> {
    let Some(status) = ran.status else {
        return Some(format!("still runs after {} seconds", PATIENCE.as_secs()));
    };
    if case.expected.code.is_some() && status.code() != case.expected.code {
        let last = ran.stderr.lines().find(|line| !line.trim().is_empty());
        return Some(format!(
            "{status}, not exit code {}: {}",
            case.expected.code.unwrap_or_default(),
            last.unwrap_or("nothing on stderr")
        ));
    }
    let differs =
        |wanted: &Option<String>, found: &str| wanted.as_ref().is_some_and(|wanted| wanted != found);
    if differs(&case.expected.stdout, &ran.stdout) {
        return Some(format!("standard output is {:?}", ran.stdout));
    }
    if differs(&case.expected.stderr, &ran.stderr) {
        return Some(format!("standard error is {:?}", ran.stderr));
    }
    None
}

/// Rewrites the section of WASI 0.1 in the document, between its two markers.
fn rewrite(path: &Path, suite: &str, run: usize, failures: &[(String, String)]) -> Result<()> {
    const START: &str = "<!-- wasi: written by `make conformance` -->\n";
    const END: &str = "<!-- wasi: end -->\n";
    let mut section = format!(
        "| suite | programs | passed | failed |\n|---|---|---|---|\n| {suite}, WASI 0.1 | {run} | {} | {} |\n",
        run - failures.len(),
        failures.len()
    );
    for (name, why) in failures {
        writeln!(section, "\n- `{name}`: {why}")?;
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (before, rest) = text
        .split_once(START)
        .with_context(|| format!("{}: no line {START}", path.display()))?;
    let (_, behind) = rest
        .split_once(END)
        .with_context(|| format!("{}: no line {END}", path.display()))?;
    fs::write(path, format!("{before}{START}{section}{END}{behind}"))?;
    Ok(())
}
