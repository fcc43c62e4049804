//! A gRPC client as small as its three calls: HTTP/2 by the `h2` crate, five bytes in front of each message
//! (gRPC's `PROTOCOL-HTTP2.md`). It lives for one image and leaves nothing behind in the daemon's memory, where a
//! whole gRPC framework would stay for the pod's life.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Uri};
use prost::Message;
use tokio::net::UnixStream;

/// Longest message that is accepted; containerd's content service sends pieces of 1 MiB.
const MAX_MESSAGE: usize = 16 << 20;

/// `NOT_FOUND` of gRPC's status codes.
const NOT_FOUND: u32 = 5;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrpcError {
    #[error("connecting: {0}")]
    Connect(#[source] io::Error),
    #[error("HTTP/2: {0}")]
    Http(#[from] h2::Error),
    #[error("{method}: HTTP status {status}")]
    Status { method: &'static str, status: u16 },
    #[error("{method}: {message} (gRPC status {code})")]
    Call {
        method: &'static str,
        code: u32,
        message: String,
    },
    #[error("{method}: malformed answer ({reason})")]
    Malformed { method: &'static str, reason: String },
}

impl GrpcError {
    /// Whether the server says that the thing does not exist.
    #[must_use]
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, GrpcError::Call { code: NOT_FOUND, .. })
    }
}

/// A connection for one containerd namespace.
pub(crate) struct Channel {
    send: SendRequest<Bytes>,
    namespace: String,
}

impl Channel {
    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// [`GrpcError::Connect`] or [`GrpcError::Http`].
    pub(crate) async fn connect(address: &str, namespace: &str) -> Result<Channel, GrpcError> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let socket = UnixStream::connect(path).await.map_err(GrpcError::Connect)?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 20)
            .handshake(socket)
            .await?;
        // It ends when the channel and its streams are dropped.
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                log::debug!("connection to containerd: {e}");
            }
        });
        Ok(Channel {
            send,
            namespace: namespace.to_owned(),
        })
    }

    /// Calls a method that answers with one message.
    ///
    /// # Errors
    /// A [`GrpcError`].
    pub(crate) async fn unary<R: Message + Default>(
        &mut self,
        method: &'static str,
        request: &impl Message,
    ) -> Result<R, GrpcError> {
        let mut stream = self.call(method, request).await?;
        let Some(answer) = stream.next::<R>().await? else {
            return Err(stream.malformed("no message"));
        };
        while stream.next::<R>().await?.is_some() {}
        Ok(answer)
    }

    /// Calls a method that answers with any number of messages.
    ///
    /// # Errors
    /// A [`GrpcError`].
    pub(crate) async fn call(
        &mut self,
        method: &'static str,
        request: &impl Message,
    ) -> Result<Stream, GrpcError> {
        let malformed = |reason: String| GrpcError::Malformed { method, reason };
        // Authority and scheme mean nothing on a Unix socket, but HTTP/2 requires them.
        let uri = Uri::builder()
            .scheme("http")
            .authority("localhost")
            .path_and_query(method)
            .build()
            .map_err(|e| malformed(e.to_string()))?;
        let head = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("containerd-namespace", &self.namespace)
            .body(())
            .map_err(|e| malformed(e.to_string()))?;
        let mut send = self.send.clone().ready().await?;
        let (response, mut body) = send.send_request(head, false)?;
        body.send_data(frame(request), true)?;
        let response = response.await?;
        if !response.status().is_success() {
            return Err(GrpcError::Status {
                method,
                status: response.status().as_u16(),
            });
        }
        // A call that fails at once has its status among the headers.
        check_status(method, response.headers())?;
        Ok(Stream {
            method,
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }
}

/// The answer to a call.
pub(crate) struct Stream {
    method: &'static str,
    body: RecvStream,
    buffer: BytesMut,
}

impl Stream {
    /// The next message; `None` at the end of a successful call.
    ///
    /// # Errors
    /// A [`GrpcError`].
    pub(crate) async fn next<R: Message + Default>(&mut self) -> Result<Option<R>, GrpcError> {
        loop {
            if let Some(message) = take_message(&mut self.buffer).map_err(|reason| self.malformed(reason))? {
                return R::decode(message)
                    .map(Some)
                    .map_err(|e| self.malformed(&e.to_string()));
            }
            match self.body.data().await {
                Some(data) => {
                    let data = data?;
                    self.body.flow_control().release_capacity(data.len())?;
                    self.buffer.extend_from_slice(&data);
                }
                None => {
                    if let Some(trailers) = self.body.trailers().await? {
                        check_status(self.method, &trailers)?;
                    }
                    if !self.buffer.is_empty() {
                        return Err(self.malformed("it ends within a message"));
                    }
                    return Ok(None);
                }
            }
        }
    }

    fn malformed(&self, reason: &str) -> GrpcError {
        GrpcError::Malformed {
            method: self.method,
            reason: reason.to_owned(),
        }
    }
}

fn frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut framed = BytesMut::with_capacity(body.len() + 5);
    framed.put_u8(0);
    // Requests here are a few hundred bytes.
    framed.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&body);
    framed.freeze()
}

fn take_message(buffer: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
    let Some(head) = buffer.first_chunk::<5>() else {
        return Ok(None);
    };
    if head[0] != 0 {
        return Err("it is compressed, which was not asked for");
    }
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > MAX_MESSAGE {
        return Err("a message is too long");
    }
    if buffer.len() - 5 < len {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(len).freeze()))
}

fn check_status(method: &'static str, headers: &HeaderMap) -> Result<(), GrpcError> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let code = text("grpc-status").map_or(0, |status| status.parse().unwrap_or(2));
    if code == 0 {
        return Ok(());
    }
    Err(GrpcError::Call {
        method,
        code,
        message: percent_decode(text("grpc-message").unwrap_or_default()),
    })
}

/// gRPC writes all but printable ASCII in a status message as %XX.
fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = escaped
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 0, 3, 1, 2][..]);
        assert_eq!(take_message(&mut buffer), Ok(None));
        buffer.extend_from_slice(&[3, 0, 0, 0, 0, 0]);
        assert_eq!(take_message(&mut buffer).unwrap().unwrap().as_ref(), [1, 2, 3]);
        assert_eq!(take_message(&mut buffer).unwrap().unwrap().len(), 0);
        assert!(buffer.is_empty());
        assert!(take_message(&mut BytesMut::from(&[1, 0, 0, 0, 0][..])).is_err());
        assert!(take_message(&mut BytesMut::from(&[0, 255, 0, 0, 0][..])).is_err());
    }

    #[test]
    fn statuses() {
        let mut headers = HeaderMap::new();
        assert!(check_status("m", &headers).is_ok());
        headers.insert("grpc-status", "5".parse().unwrap());
        headers.insert("grpc-message", "image %22x%22: not found%".parse().unwrap());
        let error = check_status("m", &headers).unwrap_err();
        assert!(error.is_not_found());
        assert!(error.to_string().contains("image \"x\": not found%"), "{error}");
    }
}
