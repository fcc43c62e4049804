//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args as Group, Parser, Subcommand};

use crate::options;

/// Runs a WASI program in a hardware micro-VM of its own.
#[derive(Debug, Parser)]
#[command(name = "mote", version, about, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a program.
    Run(Run),
    /// Serves HTTP with a component.
    Serve(Serve),
    /// Compiles a program into the cache, so that it starts at once later.
    Compile(Compile),
    /// Says what this machine lacks to run programs, and how to mend it.
    Doctor(Doctor),
    /// Shows or empties the cache of compiled programs.
    #[command(subcommand)]
    Cache(Cache),
    /// Prints the version.
    Version,
}

const RUN_HELP: &str = "\
Examples:
  mote run hello.wasm one two
  mote run --env KEY=VALUE --dir ./data::/data --dir-ro /etc/app::/conf tool.wasm --flag-of-the-program
  mote run --memory 64Mi --timeout 5s --stats untrusted.wasm
  mote run --net client.wasm https://example.org/

Exit codes:
  the program's own, or
  1    the file was refused, or an argument or variable is wrong
  2    the command line is wrong
  125  Mote itself failed, or the machine lacks something: see `mote doctor`
  134  the program trapped, or ran into --timeout
  137  the program needed more memory than --memory, or was killed
  143  the program was ended by SIGTERM";

/// Runs a program: a WASI 0.1 core module or a WASI 0.2 command component.
///
/// Options stand before FILE; everything after FILE belongs to the program.
#[derive(Debug, Group)]
#[command(after_help = RUN_HELP)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Most memory that the program and its runtime may use: 512MiB, 512Mi, 1G, or bytes.
    #[arg(long, value_name = "SIZE", value_parser = options::size)]
    pub(crate) memory: Option<u64>,
    /// Interrupts the program after this time: 10s, 500ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = options::time)]
    pub(crate) timeout: Option<Duration>,
    /// The program's own name, its first argument; the file's name by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) argv0: Option<String>,
    /// Prints one line of JSON on standard error at the end: the phases of the start in microseconds and more.
    #[arg(long)]
    pub(crate) stats: bool,
    /// The program, and its arguments.
    #[arg(value_name = "FILE", required = true, trailing_var_arg = true)]
    pub(crate) file_and_args: Vec<OsString>,
}

const SERVE_HELP: &str = "\
Each request has an instance of its own. VMs are started as requests have to wait, and let go when they are idle.
HTTP/1.1, and HTTP/2 without TLS by prior knowledge. SIGTERM and SIGINT let the requests under way finish; a second one
ends them.

Examples:
  mote serve app.wasm
  mote serve --addr 127.0.0.1:3000 --net --env KEY=VALUE app.wasm
  mote serve --dir-ro ./static::/static --timeout 30s --max-vms 4 app.wasm

Exit codes:
  0    it was told to end, and has
  1    the file was refused, the address is taken, or an argument or variable is wrong
  2    the command line is wrong
  125  Mote itself failed, or the machine lacks something: see `mote doctor`
  143  it was told to end a second time";

/// Serves HTTP with a component that exports wasi:http/incoming-handler.
#[derive(Debug, Group)]
#[command(after_help = SERVE_HELP)]
pub(crate) struct Serve {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub(crate) addr: SocketAddr,
    #[command(flatten)]
    pub(crate) given: Given,
    /// Most requests that are served at once, each by a VM; four for each processor, and at least 8, by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_vms: Option<u32>,
    /// Most memory that each VM may use: 512MiB, 512Mi, 1G, or bytes.
    #[arg(long, value_name = "SIZE", value_parser = options::size)]
    pub(crate) memory: Option<u64>,
    /// Ends a VM that is not done with a request after this time, and answers 500: 10s, 500ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = options::time)]
    pub(crate) timeout: Option<Duration>,
    /// Time that requests under way have to finish when it is told to end.
    #[arg(long, value_name = "TIME", value_parser = options::time, default_value = "10s")]
    pub(crate) drain: Duration,
    /// Prints what the program writes as it is, without `stdout [ID] :: ` before each line.
    #[arg(long)]
    pub(crate) no_logging_prefix: bool,
    /// The component.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// What a program is given of the host.
#[derive(Debug, Group)]
pub(crate) struct Given {
    /// Sets a variable of the program's environment; without =VALUE it is taken from this environment.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Grants a folder of the host to the program, which sees it as GUEST.
    #[arg(long = "dir", value_name = "HOST[::GUEST]", value_parser = options::Dir::writable)]
    pub(crate) dirs: Vec<options::Dir>,
    /// Grants a folder of the host that the program may only read.
    #[arg(long = "dir-ro", value_name = "HOST[::GUEST]", value_parser = options::Dir::read_only)]
    pub(crate) dirs_ro: Vec<options::Dir>,
    #[command(flatten)]
    pub(crate) network: Network,
    /// The wasmtime command's spelling: timeout=TIME, max-memory-size=SIZE.
    #[arg(
        short = 'W',
        long = "wasm",
        value_name = "KEY=VALUE[,...]",
        value_delimiter = ','
    )]
    pub(crate) wasm: Vec<options::Wasm>,
    /// The wasmtime command's spelling: inherit-env, inherit-network, tcp, udp, allow-ip-name-lookup, http, cwd=PATH,
    /// max-resources=N, max-random-size=BYTES, max-http-fields-size=BYTES.
    #[arg(
        short = 'S',
        long = "wasi",
        value_name = "KEY[=VALUE][,...]",
        value_delimiter = ','
    )]
    pub(crate) wasi: Vec<options::Wasi>,
}

/// What a program may reach of the network.
#[derive(Debug, Group)]
pub(crate) struct Network {
    /// Grants the network: TCP and UDP sockets, name lookup and outgoing HTTP requests.
    #[arg(long)]
    pub(crate) net: bool,
    /// Names are looked up by this file, as by resolv.conf(5); /etc/resolv.conf by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) resolv_conf: Option<PathBuf>,
    /// Names are first looked for in this file, as in hosts(5); /etc/hosts by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) hosts: Option<PathBuf>,
}

const COMPILE_HELP: &str = "\
A program is compiled once for its bytes, this version of Mote and this processor; `mote run`, `mote serve` and pods share
the cache.

Examples:
  mote compile app.wasm
  mote compile /srv/programs/*.wasm";

#[derive(Debug, Group)]
#[command(after_help = COMPILE_HELP)]
pub(crate) struct Compile {
    /// The programs.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

const DOCTOR_HELP: &str = "\
Examples:
  mote doctor
  mote doctor --json

Exit codes:
  0    programs can run here
  1    something is missing";

#[derive(Debug, Group)]
#[command(after_help = DOCTOR_HELP)]
pub(crate) struct Doctor {
    /// Prints JSON, one object a check.
    #[arg(long)]
    pub(crate) json: bool,
}

const CACHE_HELP: &str = "\
Examples:
  mote cache list
  mote cache prune --size 1GiB
  mote cache clear --json";

#[derive(Debug, Subcommand)]
#[command(after_help = CACHE_HELP)]
pub(crate) enum Cache {
    /// Lists the compiled programs, most recently used first.
    List {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes the least recently used programs until the cache is no larger than its limit.
    Prune {
        /// The limit; 4GiB by default.
        #[arg(long, value_name = "SIZE", value_parser = options::size)]
        size: Option<u64>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes every compiled program.
    Clear {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::CommandFactory;

    /// What `mote run` makes of a line.
    pub(crate) fn run(line: &[&str]) -> Run {
        let args = Args::parse_from(["mote", "run"].iter().chain(line));
        let Command::Run(run) = args.command else {
            panic!("not run")
        };
        run
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_end_at_the_file() {
        let run = run(&[
            "--env",
            "A=1",
            "--memory",
            "64Mi",
            "-W",
            "timeout=5s,max-memory-size=7",
            "a.wasm",
            "--env",
            "x",
            "--",
            "-W",
        ]);
        assert_eq!(run.given.env, ["A=1"]);
        assert_eq!(run.memory, Some(64 << 20));
        assert_eq!(run.given.wasm.len(), 2);
        assert_eq!(run.file_and_args, ["a.wasm", "--env", "x", "--", "-W"]);
    }

    #[test]
    fn an_unknown_option_is_no_file() {
        let error = Args::try_parse_from(["mote", "run", "--invoke", "f", "a.wasm"]).unwrap_err();
        assert!(error.to_string().contains("'--invoke'"), "{error}");
        let run = run(&["--", "-odd.wasm", "--net"]);
        assert_eq!(run.file_and_args, ["-odd.wasm", "--net"]);
    }
}
