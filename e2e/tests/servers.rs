//! Servers of several languages answer under Mote what they answer under wasmtime: the same file, and the same status,
//! fields and body, to the byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::compare::{Server, Side};
use mote_e2e::kvm;

/// What a server answers, and what it writes meanwhile, is the same on every side.
fn server(program: &str) {
    let mote = answers(&Side::Mote, program);
    assert!(mote[0].1.contains("hello from"), "{program}: {mote:?}");
    for side in Side::others() {
        for (ours, theirs) in mote.iter().zip(answers(&side, program)) {
            assert_eq!(
                ours.1, theirs.1,
                "{program} {}: Mote (left) and {side:?} (right) differ",
                ours.0
            );
        }
    }
}

/// What is compared, each under the name of the request.
fn answers(side: &Side, program: &str) -> Vec<(&'static str, String)> {
    let mut server = Server::start(side, program).unwrap();
    let large: Vec<u8> = (0..1_000_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let fields = ["x-b: 2", "x-a: 1", "x-b: 3", "accept: */*"];
    let mut answers = Vec::new();
    let mut ask = |name, method, target, body: Option<&[u8]>| {
        let response = server.request(method, target, &fields, body).unwrap();
        assert!(response.status < 500, "{program} {name}: {response:?}");
        if name == "double" || name == "stream" {
            assert_eq!(response.status, 200, "{program} {name}: {response:?}");
            let expected = if name == "double" {
                large.len()
            } else {
                2000 * 10 * 12
            };
            assert_eq!(response.body.len(), expected, "{program} {name}");
            assert!(name == "stream" || response.body == large, "{program} {name}");
        }
        answers.push((name, format!("{response:?}")));
    };
    ask("hello", "GET", "/", None);
    ask("echo", "POST", "/echo?a=b&c=%20d", Some(b"a body"));
    ask("echo of nothing", "GET", "/echo", None);
    ask("echo of much", "PUT", "/echo", Some(&large));
    ask("another method", "PATCH", "/echo", Some(b"patch"));
    ask("double", "POST", "/double", Some(&large));
    ask("stream", "GET", "/stream", None);
    ask("head", "HEAD", "/", None);
    ask("nothing there", "DELETE", "/nowhere", None);
    // The page that says so is the server's own.
    let trapped = server.request("GET", "/trap", &[], None).unwrap();
    answers.push(("trap", trapped.status.to_string()));
    let after = server.request("GET", "/echo", &[], None).unwrap();
    answers.push(("after the trap", format!("{after:?}")));
    let ran = server.stop().unwrap();
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("a line ")).count();
    answers.push(("log", format!("{} {}", lines(&ran.stdout), lines(&ran.stderr))));
    answers
}

/// What a program says of a request to the outside that is not granted.
fn denied(side: &Side, program: &str) -> String {
    let server = Server::start(side, program).unwrap();
    let response = server.request("GET", "/fetch", &[], None).unwrap();
    String::from_utf8(response.body).unwrap()
}

#[test]
fn rust() {
    if !kvm::ready() {
        return;
    }
    server("server-rust");
    let said = denied(&Side::Mote, "server-rust");
    assert_eq!(said, "not fetched: ErrorCode::HttpRequestDenied\n");
}

#[test]
fn python() {
    if !kvm::ready() {
        return;
    }
    server("server-python");
    // Mote refuses as `outgoing-handler.handle` returns, as its WIT has it, and the peer by the future response. Of the
    // three programs this one does not tell the two apart.
    for side in [Side::Mote, Side::Peer] {
        let said = denied(&side, "server-python");
        assert_eq!(said, "not fetched: ErrorCode_HttpRequestDenied\n", "{side:?}");
    }
}

#[test]
fn javascript() {
    if !kvm::ready() {
        return;
    }
    server("server-js");
    let said = denied(&Side::Mote, "server-js");
    assert!(said.starts_with("not fetched: "), "{said}");
}
