//! `make conformance`, the part of WASI: runs suites of programs with `bin/mote run` and tells which of them pass.
//!
//! `wasi_conformance testsuite FOLDER` takes a checkout of WebAssembly/wasi-testsuite with its built programs (branch
//! `prod/testsuite-base`) and runs its WASI 0.1 part. `wasi_conformance programs FOLDER WASMTIME` takes a folder with
//! programs of Wasmtime's own tests, as components where they are called `p2_`, and compares each run with the same by
//! the wasmtime command. It fails if a program does that is not known to.
//!
//! With `--document FILE` the suite's section of that file is rewritten. `--only TEXT` runs what has TEXT in its name.

mod case;
mod document;
mod echo;
mod programs;
mod serving;
mod testsuite;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use mote_e2e::paths;
use mote_e2e::words::option;

use case::Case;

fn main() -> Result<ExitCode> {
    let done = judge();
    let _ = fs::remove_dir_all(case::scratch());
    done
}

fn judge() -> Result<ExitCode> {
    paths::require_binaries();
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let only = option(&mut words, "--only")?.unwrap_or_default();
    let document = option(&mut words, "--document")?;
    ensure!(
        only.is_empty() || document.is_none(),
        "--document with --only would tell half of it"
    );
    let document = document.as_deref().map(Path::new);
    let good = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["testsuite", folder] => {
            let suite = format!("wasi-testsuite {}", testsuite::version(folder)?);
            let cases = testsuite::testsuite(folder)?;
            let results = run(cases.iter().filter(|case| case.name.contains(&only)))?;
            if let Some(path) = document {
                document::testsuite(path, &suite, &results)?;
            }
            summary(&suite, &results, &[])
        }
        ["programs", folder, wasmtime] => {
            let programs = programs::programs(folder, Path::new(wasmtime), &only)?;
            let mut results = run(programs.cases.iter())?;
            results.extend(programs.served);
            if let Some(path) = document {
                document::programs(path, &results, &programs.left_out)?;
            }
            summary(folder, &results, programs::REASONS)
        }
        _ => bail!("usage: wasi_conformance testsuite FOLDER | programs FOLDER WASMTIME"),
    };
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How a program ended.
struct Verdict {
    name: String,
    /// Exit code that it was to end with.
    expected: Option<i32>,
    /// Why it failed, if it did.
    failure: Option<String>,
}

impl Verdict {
    fn tell(&self) {
        match &self.failure {
            Some(why) => println!("FAIL {}: {why}", self.name),
            None => println!("ok   {}", self.name),
        }
    }
}

fn run<'a>(cases: impl Iterator<Item = &'a Case>) -> Result<Vec<Verdict>> {
    let mut results = Vec::new();
    for case in cases {
        let verdict = Verdict {
            name: case.name.clone(),
            expected: case.expected.code,
            failure: case.judge(&case.execute(&paths::bin("mote"))?),
        };
        verdict.tell();
        results.push(verdict);
    }
    Ok(results)
}

/// Prints a summary. Whether all passed but those whose failure has a reason.
fn summary(suite: &str, results: &[Verdict], reasons: &[(&str, &str)]) -> bool {
    let failed: Vec<&Verdict> = results.iter().filter(|r| r.failure.is_some()).collect();
    let has_reason = |verdict: &&&Verdict| reasons.iter().any(|(name, _)| *name == verdict.name);
    let known = failed.iter().filter(has_reason).count();
    println!(
        "{suite}: {} of {} pass; {known} of the others fail for a reason that is known",
        results.len() - failed.len(),
        results.len()
    );
    known == failed.len()
}
