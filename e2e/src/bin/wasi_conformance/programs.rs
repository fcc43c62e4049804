//! Wasmtime's own test programs (its `crates/test-programs`): a folder of them, each with what Wasmtime's tests give
//! it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::case::{Case, Expected, Folder, Grant, Streams, programs_in, stem, tempdir};
use crate::echo::{self, Speaks};
use crate::{Verdict, serving};

/// What a program needs instead of a folder of its own, or why it cannot be compared.
enum Needs {
    /// Options of `run`, in words that both executables know.
    Options(&'static [&'static str]),
    /// The network and the echo server.
    Server(Speaks),
    Args(&'static [&'static str]),
    Stdin(&'static str),
    Streams(Streams),
    /// So many variables of the environment that it is started from, each of so many bytes.
    Inherits(usize, usize),
    /// Files in a folder that the program knows as `/`.
    Root(&'static [(&'static str, &'static str)]),
    /// Empty folders that the program knows by these names.
    Empty(&'static [&'static str]),
    /// Files in a folder that may only be read, which the program knows as this path. The wasmtime command has no such
    /// folders: the program has to succeed, as Wasmtime's own tests want it to.
    ReadOnly(&'static str, &'static [(&'static str, &'static str)]),
    /// The program cannot be run by both.
    Nothing(&'static str),
}

const SOCKETS: Needs = Needs::Options(&["-S", "inherit-network,allow-ip-name-lookup"]);
const NO_COMMAND: Needs = Needs::Nothing("exports neither a command nor a server");
const FUEL: Needs = Needs::Nothing(
    "is about `-S hostcall-fuel`: how much Wasmtime copies out of a program for one call. Mote has it not, as the copies \
     are in the VM's own memory",
);
const MUCH: Needs = Needs::Args(&["So much of it. ", "1000"]);
const ONE_READ_ONLY: Needs = Needs::ReadOnly("readonly", &[("test.txt", "read only test file\n")]);
const FIRST_LINE: &str = "'Twas brillig, and the slithy toves.\n";

/// How a program's name begins, and what it needs; the first that fits counts. (Wasmtime's
/// `tests/all/cli_tests.rs`, `crates/wasi/tests/all`, `crates/wasi-http/tests/all`)
#[rustfmt::skip]
const NEEDS: &[(&str, Needs)] = &[
    ("p1_cli_hostcall_fuel", FUEL),
    ("p1_cli_much_stdout", MUCH),
    ("p1_file_hardlink_across_perms", ONE_READ_ONLY),
    ("p1_file_rename_across_perms", ONE_READ_ONLY),
    ("p1_file_truncation_readonly", ONE_READ_ONLY),
    ("p1_stat_extreme_host_mtime", Needs::Nothing("needs a file of a time that only some file systems keep")),
    ("p1_stdio_isatty", Needs::Streams(Streams::Terminal)),
    ("p2_api_read_only", Needs::ReadOnly("/", &[("bar.txt", "And stood awhile in thought"), ("sub/", "")])),
    ("p2_api_time", Needs::Nothing("its clock is false; the wasmtime command has none")),
    ("p2_api_", NO_COMMAND),
    ("p2_cli_args", Needs::Args(&["hello", "this", "", "is an argument", "with 🚩 emoji"])),
    ("p2_cli_argv0", Needs::Args(&["p2_cli_argv0.wasm"])),
    ("p2_cli_directory_list", Needs::Root(&[("foo.txt", ""), ("bar.txt", ""), ("baz.txt", ""),
        ("sub/wow.txt", ""), ("sub/yay.txt", "")])),
    ("p2_cli_env", Needs::Options(&["--env", "frabjous=day", "--env", "callooh=callay"])),
    ("p2_cli_exit_with_code", Needs::Options(&["-S", "cli-exit-with-code"])),
    ("p2_cli_file_read", Needs::Root(&[("bar.txt", "And stood awhile in thought")])),
    ("p2_cli_file_", Needs::Root(&[("bar.txt", FIRST_LINE)])),
    ("p2_cli_hostcall_fuel", FUEL),
    ("p2_cli_http_headers", Needs::Nothing("imports WASI 0.3 as well")),
    ("p2_cli_initial_cwd", Needs::Options(&["-S", "cwd=/sandbox"])),
    ("p2_cli_invoke_async", NO_COMMAND),
    ("p2_cli_large_env", Needs::Inherits(512, 1024)),
    ("p2_cli_many_resources", Needs::Options(&["-S", "max-resources=100"])),
    ("p2_cli_max_resources", Needs::Options(&["-S", "max-resources=50"])),
    ("p2_cli_much_stdout", MUCH),
    ("p2_cli_multiple_preopens", Needs::Empty(&["/a", "/b", "/c"])),
    ("p2_cli_no_ip_name_lookup", Needs::Options(&["-S", "inherit-network,allow-ip-name-lookup=n"])),
    ("p2_cli_no_tcp", Needs::Options(&["-S", "inherit-network,tcp=n"])),
    ("p2_cli_no_udp", Needs::Options(&["-S", "inherit-network,udp=n"])),
    ("p2_cli_serve_", Needs::Nothing("wasi:config and wasi:keyvalue are no part of WASI 0.2; Mote names them in its error")),
    ("p2_cli_sleep_forever", Needs::Options(&["-W", "timeout=250ms"])),
    ("p2_cli_splice_stdin", Needs::Stdin("So rested he by the Tumtum tree")),
    ("p2_cli_stdin_eisdir", Needs::Streams(Streams::FolderAsInput)),
    ("p2_cli_stdin_empty", Needs::Stdin("not to be read")),
    ("p2_cli_stdin", Needs::Stdin("So rested he by the Tumtum tree")),
    ("p2_cli_stdout_epipe", Needs::Streams(Streams::ReaderLeaves)),
    ("p2_file_stream_not_permitted", Needs::ReadOnly("readonly", &[("stream-perms.txt", "stream permission test\n")])),
    ("p2_file_truncation_readonly", ONE_READ_ONLY),
    ("p2_file_hardlink_across_perms", ONE_READ_ONLY),
    ("p2_file_rename_across_perms", ONE_READ_ONLY),
    ("p2_http_outbound_request_invalid_", Needs::Server(Speaks::Http2)),
    ("p2_http_", Needs::Server(Speaks::Http1)),
    ("p2_ip_name_lookup", SOCKETS),
    ("p2_tcp_", SOCKETS),
    ("p2_tls_", Needs::Nothing("wasi:tls is a proposal and no part of WASI 0.2")),
    ("p2_udp_", SOCKETS),
];

/// Why a program fails, in one or in both.
pub(crate) const REASONS: &[(&str, &str)] = &[
    ("p1_file_hardlink_across_perms", READ_ONLY_P1),
    ("p1_file_rename_across_perms", READ_ONLY_P1),
    ("p1_file_truncation_readonly", READ_ONLY_P1),
    ("p2_cli_exit_failure", "as it is meant to"),
    ("p2_cli_exit_panic", "as it is meant to"),
    ("p2_cli_exit_with_code", "as it is meant to"),
    ("p2_cli_many_resources", LIMIT),
    ("p2_cli_max_resources", LIMIT),
    (
        "p2_cli_sleep_forever",
        "as it is meant to: it runs into its timeout",
    ),
    ("p2_file_hardlink_across_perms", READ_ONLY),
    ("p2_file_rename_across_perms", READ_ONLY),
    (
        "p2_file_stream_not_permitted",
        "it wants `not-permitted` for a stream to write by a descriptor that was opened to read, in a \
         read-only folder; Mote says `bad-descriptor`, as in any other folder",
    ),
    ("p2_file_truncation_readonly", READ_ONLY),
    (
        "p2_http_outbound_request_invalid_header",
        "it wants a header to be forbidden that only the host of Wasmtime's own test forbids",
    ),
    (
        "p2_http_outbound_request_timeout",
        "it needs an address at which nobody answers; where this was run, something does",
    ),
    ("p2_pollable_traps", "as it is meant to"),
    ("p2_stream_pollable_traps", "as it is meant to"),
    ("p2_udp_send_too_much", "as it is meant to"),
];
const LIMIT: &str = "as it is meant to: it runs into its limit";
const READ_ONLY_P1: &str = "it wants `perm` for a change in a read-only folder; Mote says `rofs`";
const READ_ONLY: &str = "it wants `not-permitted` for a change in a read-only folder; Mote says `read-only`, as the WIT of wasi:filesystem does";

/// Programs of a folder that begin with a name, as one line of a table.
pub(crate) const FAMILIES: &[(&str, &[&str])] = &[
    (
        "files",
        &[
            "p2_adapter_badfd",
            "p2_api_read_only",
            "p2_cli_directory_list",
            "p2_cli_file",
            "p2_cli_multiple_preopens",
            "p2_file",
        ],
    ),
    ("HTTP requests", &["p2_cli_http", "p2_http"]),
    ("HTTP servers", &["p2_api_proxy", "p2_cli_serve"]),
    ("sockets and names", &["p2_cli_no_", "p2_ip", "p2_tcp", "p2_udp"]),
    ("the rest of WASI 0.2", &["p2_"]),
    ("WASI 0.1", &["p1_"]),
];

/// Those of a folder whose name has `only` in it.
pub(crate) struct Programs {
    pub(crate) cases: Vec<Case>,
    /// Of those that serve HTTP, which are compared at once.
    pub(crate) served: Vec<Verdict>,
    /// Name of a program that is not compared, and why.
    pub(crate) left_out: Vec<(String, &'static str)>,
}

/// The programs of a folder, with what the reference makes of them as expectation.
pub(crate) fn programs(folder: &str, reference: &Path, only: &str) -> Result<Programs> {
    let servers = [echo::start(Speaks::Http1)?, echo::start(Speaks::Http2)?];
    let mut found = Programs {
        cases: Vec::new(),
        served: Vec::new(),
        left_out: Vec::new(),
    };
    for wasm in programs_in(Path::new(folder))? {
        let name = stem(&wasm);
        if !name.contains(only) {
            continue;
        }
        if let Some(served) = serving::find(&name) {
            let verdict = serving::compare(served, &wasm, reference, &servers[0])?;
            verdict.tell();
            found.served.push(verdict);
            continue;
        }
        let needs = NEEDS.iter().find(|(start, _)| name.starts_with(start));
        let needs = needs.map(|(_, needs)| needs);
        if let Some(Needs::Nothing(why)) = needs {
            found.left_out.push((name, why));
            continue;
        }
        let (mut case, by_reference) = case(name, wasm, needs, &servers)?;
        if by_reference {
            let ran = case.execute(reference)?;
            let Some(code) = ran.status.and_then(|status| status.code()) else {
                found
                    .left_out
                    .push((case.name, "does not end by the wasmtime command"));
                continue;
            };
            case.expected.code = Some(code);
            case.expected.stdout = Some(ran.stdout);
        }
        found.cases.push(case);
    }
    Ok(found)
}

/// A case with exit code 0 for expectation, and whether the reference can tell a better one.
fn case(name: String, wasm: PathBuf, needs: Option<&Needs>, servers: &[String; 2]) -> Result<(Case, bool)> {
    let mut case = Case {
        // As Wasmtime's tests start them: the scratch folder's name, and what to expect of this host.
        args: vec![".".into()],
        env: BTreeMap::from([("ERRNO_MODE_UNIX".into(), "1".into())]),
        inherited: BTreeMap::new(),
        options: Vec::new(),
        stdin: String::new(),
        streams: Streams::Files,
        folders: vec![Folder {
            from: tempdir("empty")?,
            guest: ".",
            grant: Grant::Write,
        }],
        expected: Expected {
            code: Some(0),
            stdout: None,
            stderr: None,
        },
        name,
        wasm,
    };
    if case.name.starts_with("p2_cli_") {
        // They look at the whole environment.
        case.env.clear();
    }
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    match needs {
        None | Some(Needs::Nothing(_)) => {}
        Some(Needs::Options(options)) => case.options = owned(options),
        Some(Needs::Empty(names)) => {
            case.folders.clear();
            for guest in *names {
                case.folders.push(Folder {
                    from: tempdir("empty")?,
                    guest,
                    grant: Grant::Write,
                });
            }
        }
        Some(Needs::Server(speaks)) => {
            let [http1, http2] = servers;
            let server = match speaks {
                Speaks::Http1 => http1,
                Speaks::Http2 => http2,
            };
            case.options = owned(&["-S", "http"]);
            case.env.insert("HTTP_SERVER".into(), server.clone());
        }
        Some(Needs::Args(args)) => {
            case.args = owned(args);
            case.folders.clear();
        }
        Some(Needs::Stdin(text)) => {
            case.stdin = (*text).into();
            case.folders.clear();
        }
        Some(Needs::Streams(streams)) => {
            case.streams = *streams;
            case.folders.clear();
        }
        Some(Needs::Inherits(count, len)) => {
            case.options = owned(&["-S", "inherit-env"]);
            case.inherited = (0..*count)
                .map(|number| (format!("KEY{number}"), "x".repeat(*len)))
                .collect();
        }
        Some(Needs::Root(files)) => {
            case.args.clear();
            case.folders = vec![Folder {
                from: filled(&case.name, files)?,
                guest: "/",
                grant: Grant::Write,
            }];
        }
        Some(Needs::ReadOnly(guest, files)) => {
            if *guest == "/" {
                case.args.clear();
                case.folders.clear();
            }
            case.folders.push(Folder {
                from: filled(&case.name, files)?,
                guest,
                grant: Grant::Read,
            });
            return Ok((case, false));
        }
    }
    Ok((case, true))
}

/// A new folder with these files; a name that ends with `/` is a folder's.
fn filled(name: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let folder = tempdir(name)?;
    for (file, text) in files {
        if let Some((parent, _)) = file.rsplit_once('/') {
            fs::create_dir_all(folder.join(parent))?;
        }
        if !file.ends_with('/') {
            fs::write(folder.join(file), text)?;
        }
    }
    Ok(folder)
}
