//! Runs test files in VMs and natively.

mod component;
mod engines;
mod parse;
mod reference;
pub(crate) mod report;
mod values;
mod vm;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, anyhow};
use wasmtime::Engine;

use parse::Step;
use reference::Reference;
use vm::Vms;

/// Wasm code may use 512 KiB of a native thread's stack, and Wasmtime's runtime some more.
const STACK: usize = 8 << 20;

/// A test file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) suite: &'static str,
    pub(crate) name: String,
    pub(crate) text: String,
}

/// How a line of a file is named in lists.
fn at(suite: &str, name: &str, line: u32) -> String {
    format!("{suite}/{name}:{line}")
}

/// How the directives of one file ended.
#[derive(Debug)]
pub(crate) struct FileResult {
    pub(crate) suite: &'static str,
    pub(crate) name: String,
    pub(crate) directives: Vec<DirectiveResult>,
}

#[derive(Debug)]
pub(crate) struct DirectiveResult {
    pub(crate) line: u32,
    pub(crate) outcome: Outcome,
}

/// How a directive ended, here and there.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Decided by text parser and compiler, which run on the host in production as well.
    Host(Result<(), String>),
    /// Run in both places; natively perhaps on an earlier day.
    Run {
        native: Result<(), String>,
        vm: Result<(), String>,
    },
    Skipped(&'static str),
}

/// What runs files.
struct Runner {
    vms: Vms,
    engine: Engine,
    reference: Reference,
}

/// Runs files with the `mote-vmm` in `bin`. `record` names the record of what fails natively; without one, nothing does.
///
/// # Errors
/// If a VM or an engine cannot be had at all; what fails in a file is in its result.
pub(crate) fn run(bin: &Path, work: &Path, files: &[File], record: Option<&Path>) -> Result<Vec<FileResult>> {
    let vms = Vms::new(bin, work)?;
    let runner = Runner {
        engine: engines::mote(vms.features())?,
        reference: Reference::new(vms.features(), record)?,
        vms,
    };
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work_off = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else {
                return Ok(());
            };
            let result = runner.run(file)?;
            results
                .lock()
                .map_err(|_| anyhow!("a thread panicked"))?
                .push((at, result));
        }
    };
    thread::scope(|scope| -> Result<()> {
        let mut threads = Vec::new();
        for _ in 0..thread::available_parallelism().map_or(1, |n| n.get()) {
            threads.push(
                thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, work_off)?,
            );
        }
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(())
    })?;
    let mut results = results.into_inner().map_err(|_| anyhow!("a thread panicked"))?;
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Writes the record of what fails natively, if this program has found it out.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn record(path: &Path, results: &[FileResult]) -> Result<()> {
    let failures = results.iter().flat_map(|file| {
        file.directives.iter().filter_map(|d| match &d.outcome {
            Outcome::Run { native: Err(why), .. } => {
                Some((at(file.suite, &file.name, d.line), report::short(why)))
            }
            _ => None,
        })
    });
    reference::write(path, failures)
}

impl Runner {
    fn run(&self, file: &File) -> Result<FileResult> {
        let result = |directives| FileResult {
            suite: file.suite,
            name: file.name.clone(),
            directives,
        };
        let steps = match parse::parse(file, &self.engine) {
            Ok(steps) => steps,
            Err(error) => {
                let outcome = Outcome::Host(Err(error));
                return Ok(result(vec![DirectiveResult { line: 1, outcome }]));
            }
        };
        let native = self.reference.run(file, &steps)?;
        let vm = self.vms.run(file, &self.engine, &steps)?;
        let mut ran = native.into_iter().zip(vm);
        let mut directives = Vec::new();
        for step in steps.steps {
            let (line, outcome) = match step {
                Step::Host { line, verdict } => (line, Outcome::Host(verdict)),
                Step::Skipped { line, reason } => (line, Outcome::Skipped(reason)),
                Step::Run(directive) => {
                    let (native, vm) = ran.next().ok_or_else(|| anyhow!("outcomes are missing"))?;
                    (directive.line, Outcome::Run { native, vm })
                }
            };
            directives.push(DirectiveResult { line, outcome });
        }
        Ok(result(directives))
    }
}
