//! A small load generator: connections that are kept, each with one request after the other.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// A request's body: so many bytes in blocks, then trailers if there are any.
#[derive(Debug, Default)]
pub struct Bulk {
    pub left: u64,
    pub trailers: Option<HeaderMap>,
}

/// A block of a [`Bulk`].
static BLOCK: [u8; 64 << 10] = [7; 64 << 10];

impl Body for Bulk {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let len = self.left.min(64 << 10);
        self.left -= len;
        let block = &BLOCK[..usize::try_from(len).unwrap_or(BLOCK.len())];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(block)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.trailers.is_none()
    }
}

/// A connection.
#[derive(Debug)]
pub enum Sender {
    Http1(http1::SendRequest<Bulk>),
    Http2(http2::SendRequest<Bulk>),
}

/// Connects, for HTTP/1.1.
///
/// # Errors
/// If there is no connection to be had.
pub async fn connect(address: SocketAddr) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(address).await.context("connecting")?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Sender::Http1(sender))
}

/// Connects, for HTTP/2 by prior knowledge. (RFC 9113, 3.3)
///
/// # Errors
/// As [`connect`].
pub async fn connect_http2(address: SocketAddr) -> anyhow::Result<Sender> {
    let stream = TcpStream::connect(address).await.context("connecting")?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Sender::Http2(sender))
}

/// Sends a request.
///
/// # Errors
/// If there is no answer.
pub async fn send(sender: &mut Sender, path: &str, body: Bulk) -> anyhow::Result<Response<Incoming>> {
    let mut request = match sender {
        Sender::Http1(_) => Request::post(path).header("host", "there"),
        Sender::Http2(_) => Request::post(format!("http://there{path}")),
    }
    .header("te", "trailers");
    if body.trailers.is_some() {
        request = request.header("trailer", "x-sum");
    }
    let request = request.body(body)?;
    let ready = "waiting for the connection";
    let answer = match sender {
        Sender::Http1(sender) => {
            sender.ready().await.context(ready)?;
            sender.send_request(request).await
        }
        Sender::Http2(sender) => {
            sender.ready().await.context(ready)?;
            sender.send_request(request).await
        }
    };
    answer.context("no answer")
}

/// The next piece of a body.
pub async fn next(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// A body that was read to its end.
#[derive(Debug, Default)]
pub struct Read {
    /// The first 64 KiB.
    pub begin: Vec<u8>,
    pub bytes: u64,
    pub trailers: Option<HeaderMap>,
}

/// Reads a body to its end.
///
/// # Errors
/// If it is cut.
pub async fn read(response: Response<Incoming>) -> anyhow::Result<Read> {
    let mut body = response.into_body();
    let mut read = Read::default();
    while let Some(frame) = next(&mut body).await {
        match frame.context("a body")?.into_data() {
            Ok(data) => {
                read.bytes += u64::try_from(data.len())?;
                if read.begin.len() < BLOCK.len() {
                    read.begin.extend(data);
                }
            }
            Err(frame) => read.trailers = frame.into_trailers().ok(),
        }
    }
    Ok(read)
}

/// Status and text of one answer, over a connection of its own.
///
/// # Errors
/// If there is no whole answer.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let response = send(&mut connect(address).await?, path, Bulk::default()).await?;
    let status = response.status();
    Ok((status, String::from_utf8(read(response).await?.begin)?))
}

/// What came of a load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub requests: u64,
    pub errors: u64,
    pub seconds: f64,
    /// Longest that a request took.
    pub slowest: Duration,
}

/// Keeps `connections` busy with requests for `path`, which is to be answered with 200 and `expected`.
///
/// # Errors
/// If the connections cannot be made. What fails later is counted.
pub async fn run(
    address: SocketAddr,
    path: &'static str,
    expected: &'static str,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Figures> {
    let mut senders = Vec::new();
    for _ in 0..connections {
        senders.push(connect(address).await?);
    }
    let begin = Instant::now();
    let tasks = senders.into_iter().map(|mut sender| {
        tokio::spawn(async move {
            let mut figures = Figures::default();
            while begin.elapsed() < time {
                let asked = Instant::now();
                let answer = one(&mut sender, path, expected).await;
                figures.requests += 1;
                figures.slowest = figures.slowest.max(asked.elapsed());
                if let Err(e) = answer {
                    figures.errors += 1;
                    // One of many says enough.
                    if figures.errors == 1 {
                        eprintln!("{e:#}");
                    }
                    match connect(address).await {
                        Ok(new) => sender = new,
                        Err(_) => break,
                    }
                }
            }
            figures
        })
    });
    let mut all = Figures::default();
    for task in tasks.collect::<Vec<_>>() {
        let one = task.await?;
        all.requests += one.requests;
        all.errors += one.errors;
        all.slowest = all.slowest.max(one.slowest);
    }
    all.seconds = begin.elapsed().as_secs_f64();
    ensure!(all.requests > 0, "no request was made");
    Ok(all)
}

async fn one(sender: &mut Sender, path: &str, expected: &str) -> anyhow::Result<()> {
    let response = send(sender, path, Bulk::default()).await?;
    let status = response.status();
    let read = read(response).await?;
    if status != StatusCode::OK || read.begin != expected.as_bytes() {
        bail!("{status}: {:?}", String::from_utf8_lossy(&read.begin));
    }
    Ok(())
}
