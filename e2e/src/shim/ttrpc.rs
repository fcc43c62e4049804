//! ttrpc, containerd's protocol with its shims, by hand: what the shim serves with a library is checked by other means.
//! (containerd/ttrpc `PROTOCOL.md`)

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use prost::Message;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// Longest message. (PROTOCOL.md, Message Header)
const MAX: usize = 4 << 20;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, tag = "1")]
    pub service: String,
    #[prost(string, tag = "2")]
    pub method: String,
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// gRPC's, with its codes.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

/// A connection to a shim. Calls follow each other.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    next: u32,
}

impl Client {
    /// Connects to an address as a shim's answer has it.
    ///
    /// # Errors
    /// If it is no Unix socket's, or nobody listens.
    pub fn connect(address: &str) -> Result<Client> {
        let path = address
            .strip_prefix("unix://")
            .with_context(|| format!("address {address:?}"))?;
        let stream = UnixStream::connect(Path::new(path)).with_context(|| path.to_owned())?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream, next: 1 })
    }

    /// Calls a method.
    ///
    /// # Errors
    /// The shim's, with its code, or the connection's.
    pub fn call<Q: Message, A: Message + Default>(
        &mut self,
        service: &str,
        method: &str,
        request: &Q,
    ) -> Result<A> {
        let call = Request {
            service: service.into(),
            method: method.into(),
            payload: request.encode_to_vec(),
            timeout_nano: 0,
        };
        // A client's streams have odd numbers.
        let stream = self.next;
        self.next += 2;
        write_frame(&mut self.stream, stream, REQUEST, &call.encode_to_vec())?;
        let (of, kind, bytes) =
            read_frame(&mut self.stream).with_context(|| format!("{service}/{method}"))?;
        ensure!(
            (of, kind) == (stream, RESPONSE),
            "{service}/{method}: a frame of kind {kind} on stream {of}"
        );
        let response = Response::decode(bytes.as_slice())?;
        if let Some(status) = response.status.filter(|status| status.code != 0) {
            bail!("{service}/{method}: {} (code {})", status.message, status.code);
        }
        Ok(A::decode(response.payload.as_slice())?)
    }
}

/// Serves one connection: `answer` gets service, method and message, and gives the message that goes back.
///
/// # Errors
/// The connection's, but for its end.
pub(super) fn serve(mut stream: UnixStream, answer: impl Fn(&Request) -> Vec<u8>) -> io::Result<()> {
    loop {
        let (number, kind, bytes) = match read_frame(&mut stream) {
            Ok(frame) => frame,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if kind != REQUEST {
            continue;
        }
        let request = Request::decode(bytes.as_slice()).map_err(io::Error::other)?;
        let response = Response {
            status: None,
            payload: answer(&request),
        };
        write_frame(&mut stream, number, RESPONSE, &response.encode_to_vec())?;
    }
}

/// Length, stream, kind, flags; then the message.
fn write_frame(stream: &mut UnixStream, number: u32, kind: u8, message: &[u8]) -> io::Result<()> {
    let len = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut frame = len.to_be_bytes().to_vec();
    frame.extend(number.to_be_bytes());
    frame.extend([kind, 0]);
    frame.extend(message);
    stream.write_all(&frame)
}

fn read_frame(stream: &mut UnixStream) -> io::Result<(u32, u8, Vec<u8>)> {
    let mut header = [0; 10];
    stream.read_exact(&mut header)?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let len = usize::try_from(word(0)).map_err(io::Error::other)?;
    if len > MAX {
        return Err(io::Error::other(format!("a frame of {len} bytes")));
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message)?;
    Ok((word(4), header[8], message))
}
