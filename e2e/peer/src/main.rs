//! The wasmtime command's behaviour, on the very machine code that runs in Mote's guest.
//!
//! `peer run` and `peer serve` take the options of `wasmtime run` and `wasmtime serve` that the tests use. Wasmtime's
//! own crates do the work: the runtime without the compiler, `wasmtime-wasi` and `wasmtime-wasi-http`. `--code` names
//! the program's code file in Mote's cache, so that a difference between the two sides is never one of code
//! generation, and so that no compiler has to be built here.
//!
//! Exit codes and messages are those of the wasmtime command: the program's own code, 134 after a trap, 1 for any
//! other error. An error is printed without the sentences that name the file and the step, which Mote's has not either.

mod code;
mod host;
mod options;
mod run;
mod serve;

use std::process::ExitCode;

use options::Command;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("peer: {text}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("peer: {error}");
            return ExitCode::from(1);
        }
    };
    let result = runtime.block_on(async {
        match &options.command {
            Command::Run => run::run(&options).await,
            Command::Serve(addr) => serve::serve(&options, *addr).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => run::ended_by(&error),
    }
}
