//! Runs conformance suites inside the micro-VM and, for comparison, in a plain process with the same Wasmtime, the
//! same Wasm features and the same interpreter.
//!
//! What passes natively must pass in the VM: anything else is a failure of this program. What fails in both is listed
//! with its reason in `docs/CONFORMANCE.md`.

mod components;
mod core;
mod document;
mod scripts;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use scripts::report;

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
    /// Test files of the component model, natively and in the VM.
    Components(ComponentsArgs),
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

#[derive(Debug, clap::Args)]
struct ComponentsArgs {
    /// Folder with a `mote-vmm` that carries the conformance image.
    #[arg(long)]
    bin: PathBuf,
    /// Folder for code files and output.
    #[arg(long)]
    work: PathBuf,
    /// Wasmtime's source with its submodules: all files for the component model that it is tested with. For a program
    /// that runs things natively too.
    #[arg(long, required_unless_present = "files")]
    tree: Option<PathBuf>,
    /// Document whose section on components is rewritten.
    #[arg(long, requires = "tree")]
    document: Option<PathBuf>,
    /// Prints every directive that failed, in both places too.
    #[arg(long)]
    verbose: bool,
    /// Test files, in which nothing may fail.
    #[arg(conflicts_with = "tree")]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.suite {
        Suite::Core(args) => run_core(args),
        Suite::Components(args) => run_components(args),
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
    let files = core::files(&args.only);
    let results = scripts::run(&args.bin, &args.work, &files, Some(&args.native_failures))?;
    if cfg!(feature = "native") && args.only.is_empty() {
        scripts::record(&args.native_failures, &results)?;
    }
    let section = core::table::section(&results);
    let mut good = report::print("core suite", &results, args.verbose).worse == 0;
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

fn run_components(args: &ComponentsArgs) -> Result<bool> {
    let Some(root) = &args.tree else {
        let files = args.files.iter().map(|path| components::named(path));
        let results = scripts::run(&args.bin, &args.work, &files.collect::<Result<Vec<_>>>()?, None)?;
        let counts = report::print("components", &results, true);
        return Ok(counts.worse == 0 && counts.failed == 0 && counts.skipped == 0);
    };
    ensure!(
        cfg!(feature = "native"),
        "what fails natively has to be found out; `make conformance-components` builds what does"
    );
    let tree = components::Tree::read(root)?;
    let results = scripts::run(&args.bin, &args.work, &tree.files, None)?;
    let counts = report::print("components", &results, args.verbose);
    if let Some(path) = &args.document {
        document::rewrite(path, "components", &components::table::section(&tree, &results))?;
    }
    Ok(counts.worse == 0)
}
