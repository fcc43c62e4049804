//! Wasmtime's test programs that serve HTTP: the same requests to `mote serve` and to `wasmtime serve`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mote_e2e::compare::{Response, Server, Side};

use crate::Verdict;

/// A program and what it is asked. `{echo}` stands for the echo server's address.
pub(crate) struct Served {
    name: &'static str,
    /// Options of `serve`, in words that both executables know.
    options: &'static [&'static str],
    requests: &'static [Request],
}

struct Request {
    method: &'static str,
    target: &'static str,
    fields: &'static [&'static str],
    body: Option<&'static str>,
}

const fn get(target: &'static str, fields: &'static [&'static str]) -> Request {
    Request {
        method: "GET",
        target,
        fields,
        body: None,
    }
}

const fn post(target: &'static str, fields: &'static [&'static str]) -> Request {
    Request {
        method: "POST",
        body: Some("So much of it. And then some more."),
        ..get(target, fields)
    }
}

const ROOT: Request = get("/", &[]);
const TWICE: &[Request] = &[ROOT, ROOT];

/// (Wasmtime's `tests/all/cli_tests.rs`, `crates/wasi-http/tests/all/p2`)
#[rustfmt::skip]
const SERVED: &[Served] = &[
    Served { name: "p2_api_proxy", options: &[], requests: &[ROOT, get("/early_drop", &[])] },
    Served { name: "p2_api_proxy_forward_request", options: &["-S", "http"],
        requests: &[get("http://{echo}/some/path", &[])] },
    Served { name: "p2_api_proxy_streaming", options: &["-S", "http"], requests: &[
        post("/echo", &["content-type: text/plain"]),
        get("/hash-all", &["url: http://{echo}/get"]),
        get("/nothing", &[]),
    ] },
    Served { name: "p2_cli_serve_authority_and_scheme", options: &[], requests: &[get("/", &["host: localhost"])] },
    Served { name: "p2_cli_serve_echo_env", options: &["--env", "FOO=bar"],
        requests: &[get("/", &["env: FOO"]), get("/", &["env: BAR"])] },
    Served { name: "p2_cli_serve_hello_world", options: &[], requests: TWICE },
    Served { name: "p2_cli_serve_return_before_set", options: &[], requests: TWICE },
    Served { name: "p2_cli_serve_sleep", options: &["-W", "timeout=10ms"], requests: TWICE },
    Served { name: "p2_cli_serve_trap_before_set", options: &[], requests: TWICE },
    Served { name: "p2_cli_serve_with_print", options: &[], requests: TWICE },
];

/// What a program is asked, if it is one of those.
pub(crate) fn find(name: &str) -> Option<&'static Served> {
    SERVED.iter().find(|served| served.name == name)
}

/// Compares what both make of a program.
pub(crate) fn compare(served: &Served, wasm: &Path, reference: &Path, echo: &str) -> Result<Verdict> {
    let program = wasm.with_extension("");
    let program = program.to_str().context("the folder's name is not UTF-8")?;
    let mote = serve(&Side::Mote, served, program, echo)?;
    let theirs = serve(&Side::Wasmtime(PathBuf::from(reference)), served, program, echo)?;
    Ok(Verdict {
        name: served.name.into(),
        expected: Some(0),
        failure: (mote != theirs).then(|| format!("{mote:?}, and by the wasmtime command {theirs:?}")),
    })
}

/// The answers, and what the program wrote to its standard output.
fn serve(side: &Side, served: &Served, program: &str, echo: &str) -> Result<(Vec<Response>, String)> {
    let mut server = Server::start_with(side, program, served.options)?;
    let filled = |text: &str| text.replace("{echo}", echo);
    let mut answers = Vec::new();
    for request in served.requests {
        let fields: Vec<String> = request.fields.iter().map(|field| filled(field)).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let body = request.body.map(str::as_bytes);
        let mut answer = server.request(request.method, &filled(request.target), &fields, body)?;
        // How a body is framed is the server's choice, and so is all that it says of a program that failed.
        let framing = ["connection:", "content-length:", "transfer-encoding:"];
        answer
            .fields
            .retain(|field| !framing.iter().any(|name| field.starts_with(name)));
        if answer.status >= 500 {
            answer.fields.clear();
            answer.body.clear();
        }
        answers.push(answer);
    }
    let ran = server.stop().context("the server has gone")?;
    Ok((answers, ran.stdout))
}
