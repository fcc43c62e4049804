//! An incoming request, from hyper to a VM and back.

use std::{
    convert::Infallible,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use mote_abi::http::{FrameHead, RequestHead, Timeouts};
use tokio::task::JoinHandle;

use crate::{
    body::{self, Body},
    fields::{to_fields, to_headers},
    frames::{Frame, FrameError, Reader, Writer},
    pool::{Busy, Lease, Pool},
    vm::Stream,
};

/// How long a program may go on writing a body that nobody will get, as that of a response to HEAD.
const DISCARD: Duration = Duration::from_secs(5);

/// How long a pump may take to end when all that it brings has been received.
const PUMP_END: Duration = Duration::from_secs(1);

/// So many VMs more are tried if one has ended before it read a request.
const RETRIES: u32 = 2;

/// Serves incoming requests.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) pool: Arc<Pool>,
    /// Longest that a VM may be busy with one request.
    pub(crate) limit: Option<Duration>,
    /// Requests so far.
    pub(crate) count: AtomicU64,
}

/// Why a request is answered by the front itself.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the request has no Host field")]
    NoHost,
    #[error("CONNECT is not supported")]
    Connect,
    #[error("the request's header fields are too large")]
    TooLarge,
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("the program did not answer")]
    NoAnswer,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoAnswer => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::text(format!("{self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if matches!(self, Self::Busy(_)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl Front {
    /// Answers one request, come what may.
    pub(crate) async fn serve(
        self: Arc<Front>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        Ok(self.answer(request).await.unwrap_or_else(|e| e.response()))
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(Refusal::Connect);
        }
        let mut head = request_head(&parts)?;
        head.id = self.count.fetch_add(1, Ordering::Relaxed);
        let mut bytes = Vec::new();
        head.encode(&mut bytes).map_err(|_| Refusal::TooLarge)?;

        let (mut exchange, answer) = self.exchange(&bytes, body).await?;
        let head = match answer {
            // 1xx are not a program's to send: hyper makes them.
            Ok(Frame::Response(head)) if head.status >= 200 => head,
            // A program that fails, and says so, is one that runs. It has told its standard error why.
            Ok(Frame::Failed(_)) => {
                exchange.served();
                exchange.finished = true;
                return Err(Refusal::NoAnswer);
            }
            answer => {
                if matches!(answer, Err(FrameError::Ended)) && exchange.vm_is_alive() {
                    exchange.served();
                }
                return Err(Refusal::NoAnswer);
            }
        };
        exchange.served();
        let headers = to_headers(&head.fields).map_err(|_| Refusal::NoAnswer)?;
        let status = StatusCode::from_u16(head.status).map_err(|_| Refusal::NoAnswer)?;
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        exchange.discard = parts.method == Method::HEAD || bodiless;
        exchange.end_if_empty();
        let mut response = Response::new(Body::Guest(exchange));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Hands the request to a VM and waits for the first frame of its answer. A VM that has ended before it read the
    /// request is not held against it.
    async fn exchange(
        &self,
        head: &[u8],
        body: Incoming,
    ) -> Result<(Exchange, Result<Frame, FrameError>), Refusal> {
        if !body.is_end_stream() {
            let mut exchange = self.begin(head).await?;
            if let Some(rest) = &mut exchange.rest {
                rest.send(body);
            }
            let answer = exchange.next().await;
            return Ok((exchange, answer));
        }
        let head = [head, &FrameHead::END.to_bytes()].concat();
        let mut again = 0..RETRIES;
        loop {
            let mut exchange = self.begin(&head).await?;
            let answer = exchange.next().await;
            // The kernel says so of a stream that was closed with something unread in it. (unix_release_sock)
            let unread = matches!(&answer, Err(FrameError::Io(e)) if e.kind() == ErrorKind::ConnectionReset);
            if !unread || again.next().is_none() {
                return Ok((exchange, answer));
            }
        }
    }

    /// Sends a VM the request's head.
    async fn begin(&self, head: &[u8]) -> Result<Exchange, Refusal> {
        loop {
            let lease = self.pool.acquire().await?;
            let Ok(Stream { reader, writer }) = lease.vm().incoming(head).await else {
                lease.vm().shut();
                continue;
            };
            let watchdog = self.limit.map(|limit| watch(&self.pool, &lease, limit));
            return Ok(Exchange {
                rest: Some(Rest {
                    reader,
                    writer: Some(writer),
                    pump: None,
                    lease,
                    _watchdog: watchdog,
                }),
                finished: false,
                discard: false,
            });
        }
    }
}

/// Ends the VM when the time is up.
fn watch(pool: &Arc<Pool>, lease: &Lease, limit: Duration) -> Abort<()> {
    let pool = Arc::clone(pool);
    let vm = Arc::clone(lease.vm());
    Abort(tokio::spawn(async move {
        tokio::time::sleep(limit).await;
        pool.end(&vm);
    }))
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Abort<T>(JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request_head(parts: &http::request::Parts) -> Result<RequestHead, Refusal> {
    let host = || parts.headers.get(header::HOST)?.to_str().ok();
    let authority = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => host().ok_or(Refusal::NoHost)?,
    };
    Ok(RequestHead {
        id: 0,
        timeouts: Timeouts::default(),
        method: parts.method.as_str().into(),
        scheme: "http".into(),
        authority: authority.into(),
        path_with_query: parts
            .uri
            .path_and_query()
            .map(|path| path.as_str().into())
            .unwrap_or_default(),
        fields: to_fields(&parts.headers),
    })
}

/// A request that a VM is busy with. However it ends, the VM is idle only when it says that it waits for the next request:
/// on this stream, or, having closed it, on another.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// There until the exchange is dropped.
    rest: Option<Rest>,
    /// The VM has said all that it has to say.
    finished: bool,
    /// What the VM says after the head is not for the client.
    discard: bool,
}

/// What outlives hyper's interest in an exchange.
#[derive(Debug)]
struct Rest {
    reader: Reader,
    /// The pump's while there is one.
    writer: Option<Writer>,
    /// Brings the request's body to the VM.
    pump: Option<Abort<Writer>>,
    lease: Lease,
    _watchdog: Option<Abort<()>>,
}

impl Exchange {
    async fn next(&mut self) -> Result<Frame, FrameError> {
        match &mut self.rest {
            Some(rest) => rest.reader.next().await,
            None => Err(FrameError::Ended),
        }
    }

    /// A response whose end came with its head has no body, which the client is told by its length. (RFC 9110 8.6)
    fn end_if_empty(&mut self) {
        self.finished = self.rest.as_mut().is_some_and(|rest| rest.reader.take_end());
    }

    /// The VM has done its part, be it to say that the program failed.
    fn served(&self) {
        if let Some(rest) = &self.rest {
            rest.lease.served();
        }
    }

    /// Whether the VM outlived its program's failure.
    fn vm_is_alive(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.lease.vm().alive())
    }

    /// The next piece of the response's body.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, FrameError>>> {
        let Some(rest) = self.rest.as_mut().filter(|_| !self.finished) else {
            return Poll::Ready(None);
        };
        let frame = ready!(rest.reader.poll_next(cx));
        Poll::Ready(match frame {
            Ok(Frame::Body(bytes)) => Some(Ok(http_body::Frame::data(bytes))),
            Ok(Frame::Trailers(fields)) => {
                self.finished = true;
                let trailers = to_headers(&fields).map_err(|_| FrameError::Ended);
                Some(trailers.map(http_body::Frame::trailers))
            }
            Ok(Frame::End) => {
                self.finished = true;
                None
            }
            Ok(_) => Some(Err(FrameError::Ended)),
            Err(e) => Some(Err(e)),
        })
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (finished, discard) = (self.finished, self.discard);
        let rest = match self.rest.take() {
            Some(rest) if finished => rest.pass_on(),
            rest => rest,
        };
        // Without a runtime the process is about to end, and the streams with it.
        if let Some(rest) = rest
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(rest.settle(finished, discard));
        }
    }
}

impl Rest {
    /// Has the request's body follow.
    fn send(&mut self, body: Incoming) {
        if let Some(writer) = self.writer.take() {
            self.pump = Some(Abort(tokio::spawn(body::pump(body, writer))));
        }
    }

    /// Ends it at once if the VM has said already that it is idle.
    fn pass_on(mut self) -> Option<Rest> {
        if self.writer.is_none() || !self.reader.take_idle() {
            return Some(self);
        }
        self.keep();
        None
    }

    /// Waits until the VM is done.
    async fn settle(mut self, finished: bool, discard: bool) {
        let idle = if finished {
            self.reader.idle().await
        } else {
            let idle = tokio::time::timeout(DISCARD, self.reader.idle());
            discard && idle.await.unwrap_or(false)
        };
        if let Some(mut pump) = self.pump.take_if(|_| idle) {
            // It is at its end: the VM has received all.
            self.writer = tokio::time::timeout(PUMP_END, &mut pump.0)
                .await
                .ok()
                .and_then(Result::ok);
        }
        if idle && self.writer.is_some() {
            self.keep();
        } else {
            // If the client has left, or nobody wants the body, the program's writes fail from here on.
            drop((self.reader, self.writer, self.pump));
            self.lease.vm().settled().await;
        }
    }

    /// The VM waits on the stream for its next request.
    fn keep(self) {
        let Rest {
            reader,
            writer,
            lease,
            ..
        } = self;
        if let Some(writer) = writer {
            lease.vm().keep(Stream { reader, writer });
        }
    }
}
