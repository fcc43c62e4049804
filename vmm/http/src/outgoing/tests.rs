use std::net::SocketAddr;

use mote_abi::http::{FrameHead, ResponseHead};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

fn client(granted: bool) -> Client {
    let outgoing = Outgoing {
        resolv_conf: String::new(),
        hosts: "127.0.0.1 there\n".into(),
        roots: String::new(),
    };
    Client::new(granted.then_some(&outgoing)).unwrap()
}

fn head(authority: &str) -> RequestHead {
    RequestHead {
        method: "POST".into(),
        scheme: "http".into(),
        authority: authority.into(),
        path_with_query: "/a?b".into(),
        fields: vec![("x-a".into(), b"1".into()), ("Host".into(), b"spoofed".into())],
        ..RequestHead::default()
    }
}

/// Sends frames, and reads all that is answered.
async fn exchange(client: Client, room: bool, frames: &[u8]) -> Vec<Frame> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(async move { client.exchange(ours, room).await });
    let (read, write) = theirs.into_split();
    let mut writer = Writer::new(write);
    writer.frames(frames).await.unwrap();
    let mut reader = Reader::new(read);
    let mut answer = Vec::new();
    while let Ok(frame) = reader.next().await {
        answer.push(frame);
    }
    answer
}

/// A server that answers one request with `answer`; what it was asked.
async fn server(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.windows(4).any(|w| w == b"\r\n\r\n") {
            stream.read_buf(&mut asked).await.unwrap();
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    (address, task)
}

fn code(answer: &[Frame]) -> Option<u32> {
    match answer {
        [Frame::Failed(failure)] => Some(failure.code),
        _ => None,
    }
}

fn encoded(head: &RequestHead) -> Vec<u8> {
    let mut bytes = Vec::new();
    head.encode(&mut bytes).unwrap();
    bytes.extend(FrameHead::END.to_bytes());
    bytes
}

#[tokio::test]
async fn a_request_goes_out_and_its_answer_comes_in() {
    let (address, asked) = server("HTTP/1.1 201 Created\r\nX-B: 2\r\nContent-Length: 2\r\n\r\nok").await;
    let authority = format!("there:{}", address.port());
    let answer = exchange(client(true), true, &encoded(&head(&authority))).await;
    let [
        Frame::Response(ResponseHead { status: 201, fields }),
        Frame::Body(body),
        Frame::End,
    ] = &answer[..]
    else {
        panic!("{answer:?}")
    };
    assert!(fields.contains(&("x-b".into(), b"2".into())));
    assert_eq!(&body[..], b"ok");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: {authority}\r\n")) && asked.contains("x-a: 1\r\n"));
    assert!(!asked.contains("chunked"), "no body, said so: {asked}");
}

#[tokio::test]
async fn failures_have_their_names() {
    assert_eq!(
        code(&exchange(client(false), true, &encoded(&head("there"))).await),
        Some(error_code::HTTP_REQUEST_DENIED)
    );
    assert_eq!(
        code(&exchange(client(true), false, &encoded(&head("there"))).await),
        Some(error_code::CONNECTION_LIMIT_REACHED)
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (cut, _asked) = server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await;
    let (nonsense, _asked) = server("I speak no HTTP\r\n\r\n").await;
    let with = |change: &dyn Fn(&mut RequestHead)| {
        let mut head = head("there");
        change(&mut head);
        encoded(&head)
    };
    for (request, expected) in [
        (
            encoded(&head(&closed.to_string())),
            error_code::CONNECTION_REFUSED,
        ),
        (
            encoded(&head(&nonsense.to_string())),
            error_code::HTTP_PROTOCOL_ERROR,
        ),
        (encoded(&head("nowhere.invalid")), error_code::DNS_TIMEOUT),
        (encoded(&head("user@there")), error_code::HTTP_REQUEST_URI_INVALID),
        (
            encoded(&head("there:99999")),
            error_code::HTTP_REQUEST_URI_INVALID,
        ),
        (encoded(&head("")), error_code::HTTP_REQUEST_URI_INVALID),
        (
            with(&|h| h.scheme = "ftp".into()),
            error_code::HTTP_PROTOCOL_ERROR,
        ),
        (
            with(&|h| h.method = "A B".into()),
            error_code::HTTP_REQUEST_METHOD_INVALID,
        ),
        (
            with(&|h| h.method = "CONNECT".into()),
            error_code::HTTP_PROTOCOL_ERROR,
        ),
    ] {
        let answer = exchange(client(true), true, &request).await;
        // Methods and fields are looked at when there is a connection.
        if answer.len() == 1 && code(&answer) == Some(error_code::CONNECTION_REFUSED) {
            continue;
        }
        assert_eq!(code(&answer), Some(expected), "{answer:?}");
    }
    let answer = exchange(client(true), true, &encoded(&head(&cut.to_string()))).await;
    let Some(Frame::Failed(failure)) = answer.last() else {
        panic!("{answer:?}")
    };
    assert_eq!(failure.code, error_code::HTTP_RESPONSE_INCOMPLETE, "{failure:?}");
}

#[tokio::test]
async fn times_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut request = head(&listener.local_addr().unwrap().to_string());
    request.timeouts.first_byte_ns = 50_000_000;
    let answer = exchange(client(true), true, &encoded(&request)).await;
    assert_eq!(code(&answer), Some(error_code::CONNECTION_READ_TIMEOUT));
}

#[tokio::test]
async fn a_program_that_leaves_ends_its_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = encoded(&head(&listener.local_addr().unwrap().to_string()));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let task = tokio::spawn(async move { client(true).exchange(ours, true).await });
    theirs.write_all(&request).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    drop(theirs);
    task.await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}
