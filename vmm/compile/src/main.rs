//! `mote-compile`: one Wasm program in, one code file out, then it is gone.
//!
//! It reads a Wasm binary from standard input, compiles it ahead of time with Cranelift for the CPU features that the
//! caller names, and writes a code file ([`mote_abi::code`]) to standard output. What it reads is untrusted and the
//! compiler is large, so the process locks itself up first ([`jail`]): it needs no file, no socket and no other
//! process for its work.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | the code file was written |
//! | 1 | the fault is this process's or its caller's |
//! | 2 | the input was refused: not Wasm, invalid, not a command, or it imports what Mote does not offer |
//!
//! On failure standard error holds one line that says why.

mod compile;
mod error;
mod inspect;
mod jail;
mod memory;
mod offer;
mod output;
mod seccomp;

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use clap::Parser;
use error::Error;
use mote_abi::cpu::Features;
use sha2::{Digest, Sha256};

#[global_allocator]
static ALLOCATOR: memory::OneShot = memory::OneShot;

/// Compiles a Wasm program for Mote: Wasm on standard input, code file on standard output.
#[derive(Parser)]
#[command(name = "mote-compile", version, about)]
struct Args {
    /// CPU features that the code may use, as `mote-vmm --probe` prints them.
    #[arg(long, value_name = "0xHEX", value_parser = parse_features)]
    features: Features,
    /// Name of the program in error messages.
    #[arg(long, default_value = "the input")]
    name: String,
    /// Address space that the compiler may use, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    memory_limit: u64,
    /// Processor time that the compiler may use, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    cpu_limit: u64,
    /// Largest Wasm file that is accepted, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20)]
    input_limit: u64,
    /// Threads to compile with; as many as there are processors by default.
    #[arg(long)]
    threads: Option<usize>,
}

fn parse_features(text: &str) -> Result<Features, String> {
    let digits = text
        .strip_prefix("0x")
        .ok_or("expected 0x and hexadecimal digits")?;
    u64::from_str_radix(digits, 16)
        .map(Features)
        .map_err(|e| e.to_string())
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) if e.use_stderr() => {
            eprintln!("mote-compile: {}", error::one_line(&e.to_string()));
            return ExitCode::from(1);
        }
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    // A panic is a bug in the compiler that some input found: one line, like any other failure.
    std::panic::set_hook(Box::new(|info| {
        let at = info
            .location()
            .map(|l| format!(" at {}:{}", l.file(), l.line()))
            .unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("no message");
        eprintln!(
            "{}",
            error::one_line(&format!("internal error: the compiler panicked{at}: {what}"))
        );
        std::process::exit(1);
    }));
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{}", error::one_line(&format!("{}: {e}", args.name)));
            ExitCode::from(e.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    if let Some(feature) = args.features.missing_required() {
        return Err(Error::Features { feature });
    }
    // Asked before the jail: the answer takes the cgroup's CPU quota from files into account.
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
        .clamp(1, 64);
    jail::enter(&jail::Limits {
        memory: args.memory_limit,
        cpu_seconds: args.cpu_limit,
    })?;

    let wasm = read_input(args.input_limit)?;
    let program = inspect::inspect(&wasm)?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(Error::Threads)?;
    let payload = compile::compile(&wasm, program.kind, args.features)?;
    let header = output::header(&program, args.features, Sha256::digest(&wasm).into(), &payload)?;
    let mut out = std::io::stdout().lock();
    output::write(&mut out, &header, &payload)
        .and_then(|()| out.flush())
        .map_err(Error::Write)
}

fn read_input(limit: u64) -> Result<Vec<u8>, Error> {
    let mut wasm = Vec::new();
    std::io::stdin()
        .lock()
        .take(limit + 1)
        .read_to_end(&mut wasm)
        .map_err(Error::Read)?;
    if u64::try_from(wasm.len()).is_ok_and(|len| len > limit) {
        return Err(Error::TooLarge { limit });
    }
    Ok(wasm)
}
