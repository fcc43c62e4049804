//! The front between real connections and VMs that are played.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    body,
    fake::{World, config, world},
};

/// A request's body, fed through a channel.
struct Feed(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

fn feed(frames: Vec<Frame<Bytes>>) -> Feed {
    let (sender, receiver) = mpsc::channel(frames.len().max(1));
    for frame in frames {
        sender.try_send(frame).unwrap();
    }
    Feed(receiver)
}

async fn http1(address: SocketAddr) -> conn::http1::SendRequest<Feed> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn http2(address: SocketAddr) -> conn::http2::SendRequest<Feed> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str, body: Feed) -> Request<Feed> {
    Request::post(path)
        .header("host", "there")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

async fn get(world: &World, path: &str) -> Response<Incoming> {
    let mut sender = http1(world.address).await;
    sender.send_request(request(path, feed(vec![]))).await.unwrap()
}

async fn read(response: Response<Incoming>) -> Result<(Vec<u8>, Option<HeaderMap>), hyper::Error> {
    let mut incoming = response.into_body();
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body::next(&mut incoming).await {
        match frame?.into_data() {
            Ok(bytes) => data.extend(bytes),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((data, trailers))
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(read(response).await.unwrap().0).unwrap()
}

/// What is sent and received as it stands on the wire.
async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn programs_see_requests_without_what_belongs_to_the_connection() {
    let world = world(config(1)).await;
    let wire =
        "GET /show HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\nKeep-Alive: x\r\nX-A: 1\r\nx-a: 2\r\n\r\n";
    let answer = raw(&world, wire).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("0 GET http a:1 /show\nx-a: 1\nx-a: 2\n"),
        "{answer}"
    );
    let mut sender = http2(world.address).await;
    let mut over2 = request("/show", feed(vec![]));
    *over2.uri_mut() = "http://b/show".parse().unwrap();
    over2.headers_mut().remove("host");
    let answer = text(sender.send_request(over2).await.unwrap()).await;
    assert!(answer.starts_with("1 POST http b /show\n"), "{answer}");
}

#[tokio::test]
async fn an_empty_body_has_a_length() {
    let world = world(config(1)).await;
    for _ in 0..2 {
        let answer = raw(
            &world,
            "GET /empty HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
        assert!(!answer.contains("chunked"), "{answer}");
    }
    let answer = raw(
        &world,
        "HEAD /empty HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(!answer.contains("content-length"), "{answer}");
    let mut sender = http2(world.address).await;
    let mut over2 = request("/empty", feed(vec![]));
    *over2.uri_mut() = "http://b/empty".parse().unwrap();
    let response = sender.send_request(over2).await.unwrap();
    assert!(http_body::Body::is_end_stream(response.body()));
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let world = world(config(1)).await;
    for (wire, status) in [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n",
            "501",
        ),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = raw(&world, wire).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{wire}: {answer}"
        );
    }
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(200 << 10)
    );
    assert!(raw(&world, &long).await.starts_with("HTTP/1.1 431 "));
    assert_eq!(world.started.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn bodies_and_trailers_go_both_ways() {
    let world = world(config(2)).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let frames = || {
        vec![
            Frame::data(Bytes::from(vec![1; 100_000])),
            Frame::data(Bytes::from(vec![2; 100_000])),
            Frame::trailers(trailers.clone()),
        ]
    };
    let mut over1 = request("/echo", feed(frames()));
    over1.headers_mut().insert("trailer", "x-sum".parse().unwrap());
    let (data, got) = read(http1(world.address).await.send_request(over1).await.unwrap())
        .await
        .unwrap();
    assert_eq!((data.len(), got.as_ref()), (200_000, Some(&trailers)));
    let mut over2 = request("/echo", feed(frames()));
    *over2.uri_mut() = "http://b/echo".parse().unwrap();
    let (data, got) = read(http2(world.address).await.send_request(over2).await.unwrap())
        .await
        .unwrap();
    assert_eq!((data.len(), got.as_ref()), (200_000, Some(&trailers)));
}

#[tokio::test]
async fn expectations_are_met() {
    let world = world(config(1)).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /count HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn responses_without_a_body_keep_their_connection() {
    let world = world(config(1)).await;
    let mut sender = http1(world.address).await;
    for _ in 0..3 {
        let mut head = request("/length", feed(vec![]));
        *head.method_mut() = http::Method::HEAD;
        let response = sender.send_request(head).await.unwrap();
        assert_eq!(response.headers()["content-length"], "5");
        assert_eq!(text(response).await, "");
        sender.ready().await.unwrap();
        let response = sender
            .send_request(request("/no-content", feed(vec![])))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(text(response).await, "");
        sender.ready().await.unwrap();
    }
    assert_eq!(world.started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failing_program_is_500_and_the_next_request_is_served() {
    let world = world(config(1)).await;
    for path in ["/trap", "/die", "/nonsense", "/two-lengths", "/early-hints"] {
        let response = get(&world, path).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(text(get(&world, "/length").await).await, "hello", "after {path}");
    }
    let response = get(&world, "/trap-late").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        read(response).await.is_err(),
        "a body that was cut must not look whole"
    );
    assert_eq!(text(get(&world, "/length").await).await, "hello");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_vm() {
    let world = world(config(1)).await;
    let mut sender = http1(world.address).await;
    let response = sender
        .send_request(request("/zeros", feed(vec![])))
        .await
        .unwrap();
    let mut body = response.into_body();
    assert!(body::next(&mut body).await.unwrap().is_ok());
    drop((body, sender));
    assert_eq!(text(get(&world, "/length").await).await, "hello");

    // Those that leave in the midst of their own body, and while the program thinks.
    for (path, answers) in [("/echo", true), ("/hang", false)] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let wire = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx");
        stream.write_all(wire.as_bytes()).await.unwrap();
        if answers {
            stream.read_u8().await.unwrap();
        } else {
            sleep(Duration::from_millis(50)).await;
        }
        drop(stream);
        assert_eq!(text(get(&world, "/length").await).await, "hello", "after {path}");
    }
    assert_eq!(world.started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_program_that_does_not_read_lets_its_client_finish() {
    let world = world(config(1)).await;
    let frames = (0..8)
        .map(|_| Frame::data(Bytes::from(vec![0; 60_000])))
        .collect();
    let mut sender = http1(world.address).await;
    let response = sender
        .send_request(request("/ignore", feed(frames)))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(get(&world, "/length").await).await, "hello");
}

#[tokio::test]
async fn vms_come_with_the_load_and_go_with_it() {
    let world = world(config(8)).await;
    let begin = tokio::time::Instant::now();
    let mut requests = Vec::new();
    for _ in 0..16 {
        let mut sender = http1(world.address).await;
        requests.push(tokio::spawn(async move {
            let response = sender.send_request(request("/slow", feed(vec![]))).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        }));
    }
    for request in requests {
        request.await.unwrap();
    }
    assert_eq!(world.started.load(Ordering::SeqCst), 8);
    assert!(
        begin.elapsed() < Duration::from_millis(1200),
        "{:?}",
        begin.elapsed()
    );
    sleep(Duration::from_millis(700)).await;
    assert_eq!(world.living.load(Ordering::SeqCst), 1, "one stays");
    assert_eq!(text(get(&world, "/length").await).await, "hello");
    assert_eq!(world.started.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn what_works_on_after_its_answer_is_not_disturbed() {
    let world = world(config(1)).await;
    assert_eq!(get(&world, "/after").await.status(), StatusCode::OK);
    let begin = tokio::time::Instant::now();
    assert_eq!(text(get(&world, "/length").await).await, "hello");
    assert!(begin.elapsed() > Duration::from_millis(100));
    assert_eq!(world.forced.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_stream_that_went_well_is_used_again() {
    let world = world(config(1)).await;
    let again = async |method: &str, path: &str| {
        let wire = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw(&world, &wire).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let mut turns = (0..).map(|turn: u32| turn.to_string());
    let mut next = || turns.next().unwrap();
    for path in ["/again", "/again-later", "/again-later", "/again"] {
        assert_eq!(text(get(&world, path).await).await, next(), "{path} with a body");
        let body = again("GET", path).await;
        assert_eq!(body.lines().nth(1), Some(next().as_str()), "{path}: {body:?}");
        assert_eq!(again("HEAD", path).await, "");
        next();
    }
    for path in ["/show", "/too-much", "/trap"] {
        let _ = text(get(&world, path).await).await;
        assert_eq!(text(get(&world, "/again").await).await, "0", "after {path}");
    }
    assert_eq!(world.started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_vm_that_waits_on_its_stream_can_be_let_go() {
    let world = world(config(4)).await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        let mut sender = http1(world.address).await;
        answers.push(tokio::spawn(async move {
            let response = sender
                .send_request(request("/again-later", feed(vec![])))
                .await
                .unwrap();
            text(response).await
        }));
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap().len(), 1);
    }
    assert!(world.living.load(Ordering::SeqCst) > 1);
    timeout(Duration::from_secs(5), async {
        while world.living.load(Ordering::SeqCst) > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(text(get(&world, "/again").await).await.len(), 1);
    assert_eq!(world.forced.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_queue_is_bounded_in_length_and_time() {
    let mut config = config(1);
    config.queue_max = 1;
    config.queue_ms = 300;
    let world = world(config).await;
    let hang = tokio::spawn({
        let mut sender = http1(world.address).await;
        async move { sender.send_request(request("/spin", feed(vec![]))).await }
    });
    sleep(Duration::from_millis(100)).await;
    let first = tokio::spawn({
        let mut sender = http1(world.address).await;
        async move { sender.send_request(request("/length", feed(vec![]))).await }
    });
    sleep(Duration::from_millis(100)).await;
    let second = get(&world, "/length").await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers()["retry-after"], "1");
    assert_eq!(
        first.await.unwrap().unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    hang.abort();
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_ended() {
    let mut config = config(1);
    config.request_ms = 200;
    let world = world(config).await;
    let response = get(&world, "/spin").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(world.forced.load(Ordering::SeqCst), 1);
    assert_eq!(text(get(&world, "/length").await).await, "hello");
    assert_eq!(world.started.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let mut config = config(1);
    config.idle_ms = 300;
    let world = world(config).await;
    for begin in ["", "GET / HTTP/1.1\r\nHo"] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let read = timeout(Duration::from_secs(2), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "{begin:?}");
    }
    let mut sender = http1(world.address).await;
    let response = sender
        .send_request(request("/length", feed(vec![])))
        .await
        .unwrap();
    assert_eq!(text(response).await, "hello");
    sleep(Duration::from_millis(700)).await;
    assert!(sender.is_closed(), "idle");
}

#[tokio::test]
async fn the_front_ends_when_its_parent_is_gone() {
    let mut world = world(config(1)).await;
    world.parent.abort();
    let ended = timeout(Duration::from_secs(5), &mut world.front).await;
    assert!(matches!(ended, Ok(Ok(Err(crate::Error::Orphaned)))));
}
