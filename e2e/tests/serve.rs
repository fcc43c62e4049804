//! `mote serve`: HTTP from a client to a component in a VM and back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode, Version};
use mote_e2e::{
    kvm, paths,
    serve::{
        Ended, Server,
        load::{self, Bulk, Sender, connect, connect_http2, get, next, read, send},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{sleep, timeout},
};

fn program() -> PathBuf {
    paths::program("exchange-rust")
}

fn run<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// A figure that a longer run by hand sets otherwise.
fn figure(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

#[test]
fn answers_bodies_and_trailers() {
    if !kvm::ready() {
        return;
    }
    let server = Server::start(&[], &program());
    run(async {
        let answer = get(server.address, "/hello").await.unwrap();
        assert_eq!(answer, (StatusCode::OK, "hello\n".into()));
        assert_eq!(
            get(server.address, "/else").await.unwrap().0,
            StatusCode::NOT_FOUND
        );
        echo(&mut connect(server.address).await.unwrap()).await;
    });
}

/// A body and trailers go there and come back.
async fn echo(sender: &mut Sender) {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let bulk = Bulk {
        left: 1_000_000,
        trailers: Some(trailers.clone()),
    };
    let echo = read(send(sender, "/echo", bulk).await.unwrap()).await.unwrap();
    assert_eq!((echo.bytes, echo.trailers), (1_000_000, Some(trailers)));
}

#[test]
fn http2_by_prior_knowledge() {
    if !kvm::ready() {
        return;
    }
    let server = Server::start(&[], &program());
    run(async {
        let mut sender = connect_http2(server.address).await.unwrap();
        let hello = send(&mut sender, "/hello", Bulk::default()).await.unwrap();
        assert_eq!(
            (hello.version(), hello.status()),
            (Version::HTTP_2, StatusCode::OK)
        );
        assert_eq!(read(hello).await.unwrap().begin, b"hello\n");
        echo(&mut sender).await;
        // A program that fails ends its own stream, not the connection.
        let late = match send(&mut sender, "/trap-late", Bulk::default()).await {
            Ok(response) => read(response).await,
            // The reset has overtaken the head.
            Err(e) => Err(e),
        };
        assert!(late.is_err(), "{late:?}");
        echo(&mut sender).await;
    });
}

#[test]
fn an_instance_finds_nothing_of_the_one_before() {
    if !kvm::ready() {
        return;
    }
    let server = Server::start(&["--max-vms", "1"], &program());
    run(async {
        for turn in 0..20 {
            // Before it another one, which ends well, or not, or whose client leaves.
            let mut sender = connect(server.address).await.unwrap();
            match turn % 5 {
                0 => drop(get(server.address, "/hello").await.unwrap()),
                1 => echo(&mut sender).await,
                2 => drop(
                    send(&mut sender, "/zeros?1000000000", Bulk::default())
                        .await
                        .unwrap(),
                ),
                3 => drop(get(server.address, "/trap").await.unwrap()),
                _ => drop(get(server.address, "/trap-late").await.unwrap_err()),
            }
            drop(sender);
            let answer = get(server.address, "/soil").await.unwrap();
            assert_eq!(answer, (StatusCode::OK, "0\n".into()), "turn {turn}");
        }
    });
}

#[test]
fn what_fails_is_500_and_the_next_request_is_served() {
    if !kvm::ready() {
        return;
    }
    let server = Server::start(
        &["--max-vms", "1", "--memory", "96MiB", "--timeout", "1s"],
        &program(),
    );
    run(async {
        for path in ["/trap", "/error", "/eat", "/spin"] {
            let (status, text) = get(server.address, path).await.unwrap();
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {text}");
            let (status, text) = get(server.address, "/hello").await.unwrap();
            assert_eq!(status, StatusCode::OK, "after {path}: {text}");
        }
        let cut = get(server.address, "/trap-late").await;
        assert!(cut.is_err(), "{cut:?}");
        assert_eq!(get(server.address, "/hello").await.unwrap().0, StatusCode::OK);
    });
    server.signal(libc::SIGTERM);
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("as asked"), "{}", ended.stderr);
}

#[test]
fn what_is_flushed_goes_out_while_the_program_works_on() {
    if !kvm::ready() {
        return;
    }
    let server = Server::start(&["--max-vms", "1", "--drain", "0s"], &program());
    run(async {
        // The VM sleeps, and is woken for the request.
        get(server.address, "/hello").await.unwrap();
        let pieces = async {
            let mut sender = connect(server.address).await.unwrap();
            let response = send(&mut sender, "/spin-late", Bulk::default()).await.unwrap();
            let mut body = response.into_body();
            for expected in ["begin", "more"] {
                let data = next(&mut body).await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(data, expected);
            }
        };
        timeout(Duration::from_secs(10), pieces).await.unwrap();
    });
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn what_is_printed_says_of_which_request_it_is() {
    if !kvm::ready() {
        return;
    }
    let print = |options: &[&str]| {
        let server = Server::start(options, &program());
        run(async {
            get(server.address, "/hello").await.unwrap();
            get(server.address, "/print").await.unwrap();
        });
        server.signal(libc::SIGTERM);
        server.wait()
    };
    let marked = print(&[]);
    assert_eq!(marked.stdout, "stdout [1] :: one\nstdout [1] :: two\n");
    assert!(
        marked.stderr.contains("stderr [1] :: three\n"),
        "{}",
        marked.stderr
    );
    let bare = print(&["--no-logging-prefix"]);
    assert_eq!(bare.stdout, "one\ntwo\n");
    assert!(bare.stderr.ends_with("three\n"), "{}", bare.stderr);
}

#[test]
fn requests_to_the_outside_need_a_grant() {
    if !kvm::ready() {
        return;
    }
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "/fetch?http://localhost:{}/a",
            listener.local_addr().unwrap().port()
        );
        let denied = Server::start(&[], &program());
        let (_, text) = get(denied.address, &url).await.unwrap();
        assert!(text.contains("HttpRequestDenied"), "{text}");
        let answers = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 6];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, b"GET /a");
            let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            stream
        });
        let granted = Server::start(&["--net"], &program());
        let (_, text) = get(granted.address, &url).await.unwrap();
        assert_eq!(text, "202 ok\n");
        drop(answers.await.unwrap());
        let (_, text) = get(granted.address, "/fetch?http://127.0.0.1:1/").await.unwrap();
        assert!(text.contains("ConnectionRefused"), "{text}");
    });
}

#[test]
fn streams_both_ways_in_bounded_memory() {
    if !kvm::ready() {
        return;
    }
    let bytes = figure("MOTE_SERVE_MIB", 64) << 20;
    let server = Server::start(&["--memory", "64MiB"], &program());
    run(async {
        get(server.address, "/hello").await.unwrap();
        let before = server.front_memory().unwrap();
        let mut sender = connect(server.address).await.unwrap();
        let begin = Instant::now();
        let bulk = |left| Bulk { left, trailers: None };
        let count = read(send(&mut sender, "/count", bulk(bytes)).await.unwrap())
            .await
            .unwrap();
        assert_eq!(String::from_utf8(count.begin).unwrap(), format!("{bytes}\n"));
        let up = begin.elapsed();
        let path = format!("/zeros?{bytes}");
        let zeros = read(send(&mut sender, &path, bulk(0)).await.unwrap())
            .await
            .unwrap();
        assert_eq!(zeros.bytes, bytes);
        let down = begin.elapsed() - up;
        let echo = read(send(&mut sender, "/echo", bulk(bytes)).await.unwrap())
            .await
            .unwrap();
        assert_eq!(echo.bytes, bytes);
        let both = begin.elapsed() - up - down;
        let after = server.front_memory().unwrap();
        println!(
            "{} MiB: up {up:?}, down {down:?}, echo {both:?}; front {before} -> {after} bytes",
            bytes >> 20
        );
        assert!(
            after < before + (8 << 20),
            "the front grew from {before} to {after} bytes"
        );
    });
}

#[test]
fn a_thousand_connections_under_load() {
    if !kvm::ready() {
        return;
    }
    let seconds = Duration::from_secs(figure("MOTE_SERVE_SECONDS", 5));
    let server = Server::start(&[], &program());
    run(async {
        let warm = load::run(server.address, "/hello", "hello\n", 1000, Duration::from_secs(2))
            .await
            .unwrap();
        // The connections of each load take a moment to go.
        sleep(Duration::from_secs(1)).await;
        let before = server.front_memory().unwrap();
        let figures = load::run(server.address, "/hello", "hello\n", 1000, seconds)
            .await
            .unwrap();
        let give_up = Instant::now() + Duration::from_secs(10);
        let most = before + (4 << 20);
        while server.front_memory().unwrap() > most && Instant::now() < give_up {
            sleep(Duration::from_millis(100)).await;
        }
        let after = server.front_memory().unwrap();
        let rate = figures.requests as f64 / figures.seconds;
        println!("{figures:?}: {rate:.0} requests/s; front {before} -> {after} bytes");
        assert_eq!((warm.errors, figures.errors), (0, 0));
        assert!(after <= most, "the front grew from {before} to {after} bytes");
    });
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code, Some(0));
}

/// Has a VM do what does not end, and calls `end` meanwhile. How long the server lived after that, and how it ended.
fn spinning(options: &[&str], end: impl FnOnce(&Server)) -> (Duration, Ended) {
    let server = Server::start(options, &program());
    let address = server.address;
    run(async {
        // From here on there is a VM that has nothing else to do.
        get(address, "/hello").await.unwrap();
        let spin = tokio::spawn(async move { get(address, "/spin").await });
        sleep(Duration::from_millis(500)).await;
        let begin = Instant::now();
        end(&server);
        let ended = server.wait();
        let took = begin.elapsed();
        let answer = spin.await.unwrap();
        assert!(answer.is_err(), "{answer:?}");
        (took, ended)
    })
}

#[test]
fn a_request_that_does_not_end_has_the_time_of_the_drain() {
    if !kvm::ready() {
        return;
    }
    let (took, ended) = spinning(&["--drain", "2s"], |server| server.signal(libc::SIGTERM));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    if !kvm::ready() {
        return;
    }
    let (took, ended) = spinning(&["--drain", "60s"], |server| {
        server.signal(libc::SIGTERM);
        // Signals of one number that nobody has read yet are one. (signal(7))
        std::thread::sleep(Duration::from_millis(500));
        server.signal(libc::SIGTERM);
    });
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_request_under_way_is_finished_after_sigterm() {
    if !kvm::ready() {
        return;
    }
    let bytes = 64 << 20;
    let server = Server::start(&[], &program());
    run(async {
        let mut sender = connect(server.address).await.unwrap();
        let path = format!("/zeros?{bytes}");
        let zeros = send(&mut sender, &path, Bulk::default()).await.unwrap();
        server.signal(libc::SIGTERM);
        let refused = async {
            while get(server.address, "/hello").await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), refused).await.unwrap();
        assert_eq!(read(zeros).await.unwrap().bytes, bytes);
    });
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn a_front_that_is_killed_is_started_anew_unless_it_was_young() {
    if !kvm::ready() {
        return;
    }
    let server = Server::start(&[], &program());
    let address = server.address;
    let kill = || {
        let front = server.front().unwrap();
        // SAFETY: takes no pointers; the process is a child of the server's, which has not waited for it.
        assert_eq!(unsafe { libc::kill(front, libc::SIGKILL) }, 0);
        front
    };
    run(async {
        get(address, "/hello").await.unwrap();
        let spin = tokio::spawn(async move { get(address, "/spin").await });
        // It has to have worked for 5 s.
        sleep(Duration::from_millis(5500)).await;
        let killed = kill();
        assert!(spin.await.unwrap().is_err());
        // Connections wait meanwhile: the socket that listens is the parent's. The VM that spins is given some time.
        let answer = timeout(Duration::from_secs(20), get(address, "/hello")).await;
        assert_eq!(answer.unwrap().unwrap().1, "hello\n");
        assert_ne!(server.front(), Some(killed));
    });
    let (_, stderr) = server.printed();
    assert!(stderr.contains("it is started anew"), "{stderr}");
    kill();
    let ended = server.wait();
    assert_eq!(ended.code, Some(125), "{}", ended.stderr);
    assert!(ended.stderr.contains("the HTTP front failed"), "{}", ended.stderr);
}

#[test]
fn files_that_do_not_serve_are_told_apart() {
    if !kvm::ready() {
        return;
    }
    let mote = |command: &str, program: PathBuf| {
        let output = Command::new(paths::bin("mote"))
            .arg(command)
            .arg(program)
            .env("MOTE_CACHE_DIR", paths::cache())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = mote("serve", paths::program("hello-rust-p2"));
    assert!(
        code == Some(1) && text.contains("wasi:http/incoming-handler"),
        "{text}"
    );
    let (code, text) = mote("run", program());
    assert!(code == Some(1) && text.contains("use `mote serve`"), "{text}");
}
