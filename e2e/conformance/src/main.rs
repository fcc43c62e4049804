//! Runs conformance suites inside the micro-VM and, for comparison, in a plain process with the same Wasmtime, the
//! same Wasm features and the same interpreter.
//!
//! What passes natively must pass in the VM: anything else is a failure of this program. What fails in both is listed
//! with its reason in `docs/CONFORMANCE.md`.

mod core;
mod document;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Runs conformance suites inside the micro-VM.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// The WebAssembly core suite, natively and in the VM.
    Core(CoreArgs),
}

#[derive(Debug, clap::Args)]
struct CoreArgs {
    /// Folder with a `mote-vmm` that carries the conformance image.
    #[arg(long)]
    bin: PathBuf,
    /// Folder for code files and output.
    #[arg(long)]
    work: PathBuf,
    /// Record of what fails natively: written if this program runs things natively too, else read.
    #[arg(long)]
    native_failures: PathBuf,
    /// Only files whose `suite/name` contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Document whose core section is rewritten.
    #[arg(long)]
    document: Option<PathBuf>,
    /// Document whose core section must already say what was found.
    #[arg(long, conflicts_with = "document")]
    check: Option<PathBuf>,
    /// Prints every directive that failed, in both places too.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.suite {
        Suite::Core(args) => run_core(args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("mote-conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run_core(args: &CoreArgs) -> Result<bool> {
    let results = core::run(&args.bin, &args.work, &args.only, &args.native_failures)?;
    if cfg!(feature = "native") && args.only.is_empty() {
        core::record(&args.native_failures, &results)?;
    }
    let section = core::table::section(&results);
    let mut good = core::table::print(&results, args.verbose);
    if let Some(path) = &args.document {
        document::rewrite(path, "core", &section)?;
    }
    if let Some(path) = &args.check
        && !document::says(path, "core", &section)?
    {
        eprintln!(
            "{}: the core section says something else; `make conformance` rewrites it",
            path.display()
        );
        good = false;
    }
    Ok(good)
}
