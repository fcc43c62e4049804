//! `mote`: runs a WASI program in a hardware micro-VM of its own, with the option names of the `wasmtime` command.

mod args;
mod cache;
mod compile;
mod doctor;
mod folders;
mod given;
mod network;
mod options;
mod progress;
mod run;
mod serve;
mod signals;
mod stats;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let result = match args.command {
        args::Command::Run(run) => run::run(&run),
        args::Command::Serve(serve) => serve::serve(&serve),
        args::Command::Compile(compile) => compile::compile(&compile),
        args::Command::Doctor(doctor) => doctor::doctor(&doctor),
        args::Command::Cache(cache) => cache::cache(&cache),
        args::Command::Version => {
            println!("mote {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|e| {
        eprintln!("mote: {e:#}");
        ExitCode::from(exit_code(&e))
    })
}

/// 1 if what the user gave is at fault, 125 if Mote or the node is.
fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<mote_launch::Error>() {
        Some(e) if !e.is_refusal() => mote_config::exit::INTERNAL,
        _ => 1,
    }
}
