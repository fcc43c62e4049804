//! The network of a program: real sockets on the loopback interface, and names from a name server of the test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;

use mote_e2e::cli::Run;
use mote_e2e::compare::Case;
use mote_e2e::serve::Server;
use mote_e2e::{kvm, paths};

const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn program() -> PathBuf {
    paths::program("net-rust-p2")
}

/// A server in a VM, and the address that it says it has.
fn server(args: &[&str]) -> (Child, SocketAddr) {
    let mut child = Run::with_options(["--net"], program())
        .args(args)
        .into_command()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim().parse().unwrap())
}

#[test]
fn a_tcp_server() {
    if !kvm::ready() {
        return;
    }
    for address in LOOPBACKS {
        let (mut child, address) = server(&["tcp-server", address, "20"]);
        for round in 0..20_usize {
            let mut stream = TcpStream::connect(address).unwrap();
            let sent = vec![round.to_le_bytes()[0]; 50_000 * round];
            let mut writer = stream.try_clone().unwrap();
            let copy = sent.clone();
            let writing = thread::spawn(move || {
                writer.write_all(&copy).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            writing.join().unwrap();
            assert!(got == sent, "{} of {} bytes came back", got.len(), sent.len());
        }
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_tcp_client() {
    if !kvm::ready() {
        return;
    }
    for address in LOOPBACKS {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let ran = Run::with_options(["-S", "inherit-network"], program())
            .args(["tcp-client", &address, "3000000"])
            .run();
        assert_eq!(
            (ran.code, ran.stdout),
            (0, format!("3000000 bytes from {address}\n")),
            "{}",
            ran.stderr
        );
        serving.join().unwrap();
    }
    // Nobody listens there any more.
    let address = TcpListener::bind(LOOPBACKS[0]).unwrap().local_addr().unwrap();
    let ran = Run::with_options(["--net"], program())
        .args(["tcp-client", &address.to_string(), "1"])
        .run();
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("ConnectionRefused"), "{}", ran.stderr);
}

#[test]
fn http_requests_of_a_command() {
    if !kvm::ready() {
        return;
    }
    let server = Server::start(&[], &paths::program("exchange-rust"));
    let url = format!("http://localhost:{}/hello", server.address.port());
    let fetch = |options: &[&str]| {
        let ran = Run::with_options(options, paths::program("fetch-rust"))
            .args([&url, &url])
            .run();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        ran.stdout
    };
    let hello = "200 hello\n\n";
    assert_eq!(fetch(&["--net"]), hello.repeat(2));
    assert_eq!(fetch(&["-S", "http"]), hello.repeat(2));
    assert!(fetch(&[]).contains("HttpRequestDenied"));
    assert!(fetch(&["--net", "-S", "http=n"]).contains("HttpRequestDenied"));
}

#[test]
fn datagrams() {
    if !kvm::ready() {
        return;
    }
    for address in LOOPBACKS {
        let (mut child, server) = server(&["udp-server", address]);
        let socket = UdpSocket::bind(address).unwrap();
        socket.send_to(&[7; 1400], server).unwrap();
        let mut buffer = [0; 2000];
        assert_eq!(socket.recv_from(&mut buffer).unwrap(), (1400, server));
        assert!(child.wait().unwrap().success());

        let peer = UdpSocket::bind(address).unwrap();
        let to = peer.local_addr().unwrap().to_string();
        let echo = thread::spawn(move || {
            for _ in 0..3 {
                let mut buffer = [0; 100];
                let (n, from) = peer.recv_from(&mut buffer).unwrap();
                peer.send_to(&buffer[..n], from).unwrap();
            }
        });
        let ran = Run::with_options(["--net"], program())
            .args(["udp-client", &to])
            .run();
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, "one\ntwo\nthree\n"),
            "{}",
            ran.stderr
        );
        echo.join().unwrap();
    }
}

#[test]
fn without_a_grant_everything_is_denied() {
    if !kvm::ready() {
        return;
    }
    let listener = TcpListener::bind(LOOPBACKS[0]).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let denied = "listen PermissionDenied\nconnect PermissionDenied\nudp PermissionDenied\n";
    let run = |options: &[&str]| {
        let ran = Run::with_options(options, program())
            .args(["denied", &address])
            .run();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    assert_eq!(run(&[]), format!("{denied}resolve true\n"));
    assert_eq!(
        run(&["-S", "allow-ip-name-lookup"]),
        format!("{denied}resolve false\n")
    );
}

/// A name server that knows a few names below `test.`, at an address of its own.
struct Names {
    files: [PathBuf; 2],
}

/// Question types. (RFC 1035 3.2.2, RFC 3596 2.1)
const A: u8 = 1;
const AAAA: u8 = 28;

impl Names {
    /// `None` if this user may not listen on the port of name servers.
    fn start(last: u8, conf: &str) -> Option<Names> {
        let address = SocketAddr::from((Ipv4Addr::new(127, 53, 0, last), 53));
        let udp = UdpSocket::bind(address).ok()?;
        let tcp = TcpListener::bind(address).ok()?;
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((n, from)) = udp.recv_from(&mut buffer) {
                // A forgery, which has to be passed over.
                let mut forged = answer(&buffer[..n], true);
                forged[0] ^= 1;
                udp.send_to(&forged, from).unwrap();
                udp.send_to(&answer(&buffer[..n], true), from).unwrap();
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut len = [0; 2];
                while stream.read_exact(&mut len).is_ok() {
                    let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
                    stream.read_exact(&mut question).unwrap();
                    let answer = answer(&question, false);
                    let len = u16::try_from(answer.len()).unwrap();
                    // In two parts, as a network may deliver it.
                    stream
                        .write_all(&[len.to_be_bytes().as_slice(), &answer[..5]].concat())
                        .unwrap();
                    stream.flush().unwrap();
                    stream.write_all(&answer[5..]).unwrap();
                }
            }
        });
        let dir = paths::work().join("scratch");
        fs::create_dir_all(&dir).unwrap();
        let files = ["resolv.conf", "hosts"].map(|name| dir.join(format!("{name}.{last}")));
        fs::write(&files[0], format!("nameserver {}\n{conf}\n", address.ip())).unwrap();
        fs::write(&files[1], "192.0.2.99 known # in hosts(5)\n").unwrap();
        Some(Names { files })
    }

    fn resolve(&self, name: &str) -> String {
        let [conf, hosts] = &self.files;
        let options = [
            "--net",
            "--resolv-conf",
            conf.to_str().unwrap(),
            "--hosts",
            hosts.to_str().unwrap(),
        ];
        let ran = Run::with_options(options, program())
            .args(["resolve", name])
            .run();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    }
}

/// The answer to a message with one question. By UDP, long answers are cut off.
fn answer(question: &[u8], udp: bool) -> Vec<u8> {
    let mut at = 12;
    let mut name = String::new();
    while question[at] > 0 {
        let end = at + 1 + usize::from(question[at]);
        name += &String::from_utf8_lossy(&question[at + 1..end]);
        name.push('.');
        at = end;
    }
    let kind = question[at + 2];
    let mut bytes = question[..at + 5].to_vec();
    let record = |owner: &[u8], kind: u8, data: &[u8]| {
        let len = u8::try_from(data.len()).unwrap();
        [owner, &[0, kind, 0, 1, 0, 0, 0, 1, 0, len], data].concat()
    };
    let own = [0xc0, 12];
    let (flags, records): (u8, Vec<Vec<u8>>) = match (name.as_str(), kind) {
        ("www.test.", A) => (0, vec![record(&own, A, &[192, 0, 2, 7])]),
        // Asked for as `bücher.test`.
        ("xn--bcher-kva.test.", A) => (0, vec![record(&own, A, &[192, 0, 2, 9])]),
        ("www.test.", AAAA) => (0, vec![record(&own, AAAA, &[0xfd; 16])]),
        ("alias.test.", A) => (
            0,
            vec![
                // www. and a pointer to test., behind which the address of that name comes.
                record(&own, 5, &[3, b'w', b'w', b'w', 0xc0, 18]),
                record(b"\x03WWW\x04test\0", A, &[192, 0, 2, 8]),
            ],
        ),
        ("big.test.", A) if udp => (2, Vec::new()),
        ("big.test.", A) => (0, (0..30).map(|i| record(&own, A, &[192, 0, 2, i])).collect()),
        ("www.test." | "alias.test." | "big.test." | "empty.test." | "xn--bcher-kva.test.", _) => {
            (0, Vec::new())
        }
        ("trouble.test.", _) => (0x20, Vec::new()),
        _ => (0x30, Vec::new()),
    };
    // Response, recursion desired and available; truncation is a bit of the third byte, the code of the fourth.
    bytes[2] = 0x81 | (flags & 2);
    bytes[3] = 0x80 | flags >> 4;
    bytes[7] = u8::try_from(records.len()).unwrap();
    bytes.extend(records.concat());
    bytes
}

#[test]
fn names() {
    if !kvm::ready() {
        return;
    }
    let Some(names) = Names::start(1, "search nothing.test test\noptions timeout:1 attempts:2") else {
        eprintln!("this user may not listen on port 53");
        return;
    };
    // There may be no way to the IPv6 address; then it comes last.
    let www = names.resolve("www.test");
    let mut lines: Vec<IpAddr> = www.lines().map(|line| line.parse().unwrap()).collect();
    lines.sort();
    assert_eq!(lines, [IpAddr::from([192, 0, 2, 7]), IpAddr::from([0xfd_u8; 16])]);
    assert_eq!(names.resolve("alias.test"), "192.0.2.8\n");
    assert_eq!(names.resolve("known"), "192.0.2.99\n");
    assert_eq!(names.resolve("alias"), "192.0.2.8\n", "by the search list");
    for name in ["bücher", "BÜCHER。test"] {
        assert_eq!(names.resolve(name), "192.0.2.9\n", "{name}");
    }
    assert_eq!(names.resolve("big.test").lines().count(), 30, "by TCP");
    assert_eq!(names.resolve("10.1.2.3"), "10.1.2.3\n");
    assert!(names.resolve("localhost").contains("127.0.0.1"));
    for missing in ["missing.test", "empty.test", "trouble.test"] {
        let text = names.resolve(missing);
        assert!(text.starts_with("error: "), "{missing}: {text}");
    }
}

#[test]
fn internationalised_names() {
    if !kvm::ready() {
        return;
    }
    let hosts = paths::work().join("scratch/hosts.idn");
    fs::create_dir_all(hosts.parent().unwrap()).unwrap();
    let known =
        "192.0.2.1 xn--bcher-kva.example\n192.0.2.2 XN--R8JZ45G.xn--zckzah\n192.0.2.3 xn--fa-hia.example\n";
    fs::write(&hosts, known).unwrap();
    let lookup = |options: &[&str], program: &str, args: &[&str]| {
        let hosts = ["--hosts", hosts.to_str().unwrap()];
        let ran = Run::with_options([options, &hosts].concat(), paths::program(program))
            .args(args)
            .run();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    // Each line of hosts(5) by other ways to write its name.
    let names = [
        "bücher.example",
        "BÜCHER.Example",
        "bu\u{308}cher。ｅｘａｍｐｌｅ",
        "b%C3%BCcher.example",
        "XN--Bcher-KVA.example",
        "例え.テスト",
        "例え｡テスト",
        "faß.example",
        "FAẞ.example",
    ];
    let addresses = [1, 1, 1, 1, 1, 2, 2, 3, 3].map(|last| format!("192.0.2.{last}\n"));
    let granted = ["-S", "allow-ip-name-lookup"];
    assert_eq!(lookup(&granted, "lookup-rust", &names), addresses.concat());
    for (name, address) in names.iter().zip(&addresses) {
        assert_eq!(lookup(&["--net"], "net-rust-p2", &["resolve", name]), *address);
    }
    let denied = "permanent-resolver-failure\n";
    assert_eq!(lookup(&[], "lookup-rust", &names), denied.repeat(names.len()));
}

/// What can be told of a name without asking for it.
#[test]
fn names_are_read_as_under_wasmtime() {
    if !kvm::ready() {
        return;
    }
    let long = ["ü.".repeat(40), "ü.".repeat(2000), "a.".repeat(200)];
    let addresses = ["１２７．０。０｡１", "%31%32%37.1", "①②⑦.1", "[::1]", "::1"];
    let mut names = addresses.to_vec();
    names.extend([
        "",
        "\u{ad}",
        "%",
        "%ff",
        "a%2fb",
        "ü b",
        "ü:80",
        "\u{2100}",
        "1.2.3.４５６",
        "0ｘfffffffff",
    ]);
    // Not Punycode, Punycode of ASCII, of what would be mapped, of what stands for nothing.
    names.extend([
        "xn--",
        "xn--a.example",
        "xn--a-",
        "xn--Bcher-KV.example",
        "xn--ü",
        "xn--zn7c.com",
    ]);
    // Marks, joiners and directions where they may not be.
    names.extend(["\u{301}a", "a\u{200d}b", "aא", "א1.٣א", "1.א"]);
    names.extend(long.iter().map(String::as_str));
    let told = Case::new("lookup-rust", &names).names().compare().ran.stdout;
    let invalid = names.len() - addresses.len() - long.len();
    let expected = [
        "127.0.0.1\n".repeat(3),
        "::1\n".repeat(2),
        "invalid-argument\n".repeat(invalid),
        "name-unresolvable\n".repeat(long.len()),
    ];
    assert_eq!(told, expected.concat());
}
