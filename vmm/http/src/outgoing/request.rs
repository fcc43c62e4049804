//! One request to the outside, from frames to hyper and back.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, Version, header, uri::Authority};
use http_body::Frame as Piece;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mote_abi::http::{Failure, RequestHead, ResponseHead, encode_fields, error_code};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};

use super::{
    Granted,
    connect::connect,
    failure::{self, failure},
};
use crate::{
    body,
    fields::{to_fields, to_headers},
    frames::{Frame, Reader, Writer},
};

/// A time that the program did not limit; the wasmtime command's.
const DEFAULT_TIME: Duration = Duration::from_secs(600);

/// Most bytes of a response's line and header fields.
const HEADER_MAX: usize = 128 << 10;

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    authority: Authority,
    tls: bool,
    port: u16,
}

fn time(ns: u64) -> Duration {
    if ns == 0 {
        DEFAULT_TIME
    } else {
        Duration::from_nanos(ns)
    }
}

impl Target {
    /// Reads where a request goes; without a scheme it is https, as under the wasmtime command.
    pub(super) fn of(head: &RequestHead) -> Result<Target, Failure> {
        let invalid = |text: String| failure(error_code::HTTP_REQUEST_URI_INVALID, text);
        let tls = match head.scheme.to_ascii_lowercase().as_str() {
            "" | "https" => true,
            "http" => false,
            other => {
                let text = format!("scheme {other:?} is neither http nor https");
                return Err(failure(error_code::HTTP_PROTOCOL_ERROR, text));
            }
        };
        if head.authority.is_empty() {
            return Err(invalid("the request has no authority".into()));
        }
        let authority: Authority = head
            .authority
            .parse()
            .map_err(|e| invalid(format!("authority {:?}: {e}", head.authority)))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(invalid(format!(
                "authority {authority} is more or less than a host and a port"
            )));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') => {
                return Err(invalid(format!("authority {authority} has no number for a port")));
            }
            None if tls => 443,
            None => 80,
        };
        Ok(Target { authority, tls, port })
    }

    /// Sends the request and brings back what is answered.
    pub(super) async fn send(
        self,
        granted: &Granted,
        head: RequestHead,
        body: Reader,
        writer: &mut Writer,
    ) -> Result<(), Failure> {
        let limit = time(head.timeouts.connect_ns);
        let late = |_| {
            failure(
                error_code::CONNECTION_TIMEOUT,
                "the connection took too long to be made",
            )
        };
        let connected = async {
            let addresses = granted.names.look_up(self.authority.host()).await?;
            let stream = connect(&addresses, self.port).await?;
            if !self.tls {
                return Ok((Stream::Plain(stream), false));
            }
            let (stream, http2) = granted.tls.connect(self.authority.host(), stream).await?;
            Ok((Stream::Tls(Box::new(stream)), http2))
        };
        let (stream, http2) = timeout(limit, connected).await.map_err(late)??;
        let io = TokioIo::new(stream);
        let (body, done) = RequestBody::new(body).await?;
        let request = self.request(&head, http2, body)?;
        let first_byte = time(head.timeouts.first_byte_ns);
        let between = time(head.timeouts.between_bytes_ns);
        if http2 {
            let mut builder = conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(HEADER_MAX).unwrap_or(u32::MAX));
            let (mut sender, connection) = builder.handshake(io).await.map_err(|e| failure::http(&e))?;
            let response = sender.send_request(request);
            exchange(connection, response, first_byte, between, done, writer).await
        } else {
            let mut builder = conn::http1::Builder::new();
            builder.max_buf_size(HEADER_MAX);
            let (mut sender, connection) = builder.handshake(io).await.map_err(|e| failure::http(&e))?;
            let response = sender.send_request(request);
            exchange(connection, response, first_byte, between, done, writer).await
        }
    }

    fn request(
        &self,
        head: &RequestHead,
        http2: bool,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, Failure> {
        let invalid = |e: http::Error| failure(error_code::HTTP_REQUEST_URI_INVALID, e);
        let method = Method::from_bytes(head.method.as_bytes()).map_err(|_| {
            let text = format!("method {:?}", head.method.chars().take(40).collect::<String>());
            failure(error_code::HTTP_REQUEST_METHOD_INVALID, text)
        })?;
        // wasi:http has no way to use the tunnel that would be opened.
        if method == Method::CONNECT {
            return Err(failure(
                error_code::HTTP_PROTOCOL_ERROR,
                "CONNECT opens no tunnel here",
            ));
        }
        let path = if head.path_with_query.is_empty() {
            "/"
        } else {
            &head.path_with_query
        };
        let mut uri = Uri::builder().path_and_query(path);
        if http2 {
            let scheme = if self.tls { "https" } else { "http" };
            uri = uri.scheme(scheme).authority(self.authority.clone());
        }
        let mut headers =
            to_headers(&head.fields).map_err(|e| failure(error_code::HTTP_PROTOCOL_ERROR, e))?;
        if !http2 {
            let host = HeaderValue::from_str(self.authority.as_str())
                .map_err(|e| failure(error_code::HTTP_REQUEST_URI_INVALID, e))?;
            headers.insert(header::HOST, host);
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.build().map_err(invalid)?;
        *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Drives the connection while the response is awaited and handed on.
async fn exchange(
    connection: impl Future<Output = hyper::Result<()>>,
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    first_byte: Duration,
    between: Duration,
    done: oneshot::Receiver<()>,
    writer: &mut Writer,
) -> Result<(), Failure> {
    let hand_on = async {
        let late = |_| failure(error_code::CONNECTION_READ_TIMEOUT, "no response in time");
        let response = timeout(first_byte, response)
            .await
            .map_err(late)?
            .map_err(|e| failure::http(&e))?;
        hand_on(response, between, writer).await?;
        // The response may be complete before the request is.
        let _ = done.await;
        Ok(())
    };
    let drive = async {
        // An error of the connection is the response's as well, which tells it better.
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        result = hand_on => result,
        never = drive => never,
    }
}

/// Writes a response into the program's stream.
async fn hand_on(
    response: Response<Incoming>,
    between: Duration,
    writer: &mut Writer,
) -> Result<(), Failure> {
    let (parts, mut incoming) = response.into_parts();
    let head = ResponseHead {
        status: parts.status.as_u16(),
        fields: to_fields(&parts.headers),
    };
    let mut bytes = Vec::new();
    head.encode(&mut bytes)
        .map_err(|e| failure(error_code::HTTP_RESPONSE_HEADER_SECTION_SIZE, e))?;
    // A write that fails: the program has closed its stream, and there is nobody to tell.
    let gone = |e| failure(error_code::CONNECTION_TERMINATED, e);
    writer.frames(&bytes).await.map_err(gone)?;
    loop {
        let late = |_| failure(error_code::CONNECTION_READ_TIMEOUT, "the response stopped");
        let Some(frame) = timeout(between, body::next(&mut incoming)).await.map_err(late)? else {
            return writer.end().await.map_err(gone);
        };
        match frame.map_err(|e| failure::http(&e))?.into_data() {
            Ok(data) => writer.body(data).await.map_err(gone)?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let mut bytes = Vec::new();
                    encode_fields(&to_fields(&trailers), &mut bytes)
                        .map_err(|e| failure(error_code::HTTP_RESPONSE_TRAILER_SECTION_SIZE, e))?;
                    return writer.frames(&bytes).await.map_err(gone);
                }
            }
        }
    }
}

/// A request's body, as the program writes it.
#[derive(Debug)]
pub(super) struct RequestBody {
    reader: Option<Reader>,
    first: Option<Frame>,
    /// Dropped with the body, which tells that hyper is done with it.
    _done: oneshot::Sender<()>,
}

/// What a program's body can fail by.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the program gave up its request: {0}")]
    GivenUp(String),
}

impl RequestBody {
    /// Waits a moment for the first frame: a body that is empty is told to the server as none, and a program that has
    /// no body says so at once.
    async fn new(mut reader: Reader) -> Result<(RequestBody, oneshot::Receiver<()>), Failure> {
        const MOMENT: Duration = Duration::from_millis(1);
        let first = match timeout(MOMENT, reader.next()).await {
            Ok(Ok(frame)) => Some(frame),
            Ok(Err(e)) => return Err(failure(error_code::CONNECTION_TERMINATED, e)),
            Err(_) => None,
        };
        let reader = Some(reader).filter(|_| !matches!(first, Some(Frame::End)));
        let (sender, done) = oneshot::channel();
        let body = RequestBody {
            reader,
            first,
            _done: sender,
        };
        Ok((body, done))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(reader) = &mut this.reader else {
            return Poll::Ready(None);
        };
        let frame = match this.first.take() {
            Some(first) => Ok(first),
            None => ready!(reader.poll_next(cx)),
        };
        if let Ok(Frame::Body(bytes)) = frame {
            return Poll::Ready(Some(Ok(Piece::data(bytes))));
        }
        // Whatever else it is, it is the last.
        this.reader = None;
        Poll::Ready(match frame {
            Ok(Frame::End) => None,
            Ok(Frame::Trailers(fields)) => match to_headers(&fields) {
                Ok(trailers) => Some(Ok(Piece::trailers(trailers))),
                Err(e) => Some(Err(BodyError::GivenUp(e.to_string()))),
            },
            Ok(Frame::Failed(failure)) => Some(Err(BodyError::GivenUp(failure.text))),
            Ok(_) => Some(Err(BodyError::GivenUp("a frame that is no body".into()))),
            Err(e) => Some(Err(BodyError::GivenUp(e.to_string()))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.reader.is_none()
    }
}

/// A connection to a server.
enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
