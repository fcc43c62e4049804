//! Frames of one exchange (`mote_abi::http`) on its stream.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use mote_abi::http::{
    Failure, Fields, FrameHead, HEAD_MAX, Malformed, PAYLOAD_MAX, RequestHead, ResponseHead, frame,
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, Interest, ReadBuf, unix::AsyncFd},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};

/// What is read at once: at first, where most messages end, and after reads that were full. Larger pieces of memory come
/// from mmap(2) each time.
const FIRST: usize = 4 << 10;
const MOST: usize = 32 << 10;

/// Why the stream gives no more frames.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the stream ended within an exchange")]
    Ended,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the stream of an exchange: {0}")]
    Io(#[from] io::Error),
}

/// What the other side says. A body comes in pieces of any length.
#[derive(Debug)]
pub(crate) enum Frame {
    Request(RequestHead),
    Response(ResponseHead),
    Body(Bytes),
    Trailers(Fields),
    End,
    Failed(Failure),
    Idle,
}

/// Reads frames.
#[derive(Debug)]
pub(crate) struct Reader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    /// Length of the next read.
    chunk: usize,
    /// Bytes that are still to come of the body frame that is being read.
    body: usize,
}

impl Reader {
    pub(crate) fn new(half: OwnedReadHalf) -> Reader {
        Reader {
            half,
            buffer: BytesMut::new(),
            chunk: FIRST,
            body: 0,
        }
    }

    /// The next frame.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, FrameError>> {
        loop {
            if let Some(frame) = self.take()? {
                return Poll::Ready(Ok(frame));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(FrameError::Ended));
            }
        }
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Result<Frame, FrameError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Takes the end of the body if it is what comes next and is here already, sent along with the frame before it.
    pub(crate) fn take_end(&mut self) -> bool {
        let ended = self.body == 0 && self.buffer.starts_with(&FrameHead::END.to_bytes());
        if ended {
            self.buffer.advance(FrameHead::LEN);
        }
        ended
    }

    fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.body > 0 {
            let len = self.body.min(self.buffer.len());
            if len == 0 {
                return Ok(None);
            }
            self.body -= len;
            return Ok(Some(Frame::Body(self.buffer.split_to(len).freeze())));
        }
        let Some(head) = self.buffer.first_chunk() else {
            return Ok(None);
        };
        let head = FrameHead::from_bytes(*head)?;
        let len = head.len as usize;
        if head.kind == frame::BODY {
            self.buffer.advance(FrameHead::LEN);
            self.body = len;
            return self.take();
        }
        if self.buffer.len() < FrameHead::LEN + len {
            return Ok(None);
        }
        self.buffer.advance(FrameHead::LEN);
        let payload = self.buffer.split_to(len);
        Ok(Some(match head.kind {
            frame::REQUEST => Frame::Request(RequestHead::decode(&payload)?),
            frame::RESPONSE => Frame::Response(ResponseHead::decode(&payload)?),
            frame::TRAILERS => Frame::Trailers(mote_abi::http::decode_fields(&payload)?),
            frame::FAILED => Frame::Failed(Failure::decode(&payload)?),
            frame::IDLE => Frame::Idle,
            // There is no other kind: `FrameHead::from_bytes` has checked it.
            _ => Frame::End,
        }))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        const _: () = assert!(HEAD_MAX as usize + FrameHead::LEN < 1 << 20);
        self.buffer.reserve(self.chunk);
        let mut chunk = ReadBuf::uninit(&mut self.buffer.spare_capacity_mut()[..self.chunk]);
        ready!(Pin::new(&mut self.half).poll_read(cx, &mut chunk))?;
        let read = chunk.filled().len();
        // SAFETY: `poll_read` has initialised so many bytes of the spare capacity.
        unsafe { self.buffer.set_len(self.buffer.len() + read) };
        if read == self.chunk {
            self.chunk = (self.chunk * 2).min(MOST);
        }
        Poll::Ready(Ok(read))
    }

    /// Whether the guest waits for the next exchange, and has said so along with what came before.
    pub(crate) fn take_idle(&mut self) -> bool {
        let idle = self.body == 0 && self.buffer == FrameHead::IDLE.to_bytes()[..];
        if idle {
            self.buffer.advance(FrameHead::LEN);
            self.rest();
        }
        idle
    }

    /// Reads on, whatever comes, until the guest waits for the next exchange, or the stream has ended: whether it waits.
    pub(crate) async fn idle(&mut self) -> bool {
        loop {
            match self.next().await {
                Ok(Frame::Idle) => {
                    self.rest();
                    // It has not been asked anything yet.
                    return self.buffer.is_empty();
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Gives back memory that the last exchange took more of than most do.
    fn rest(&mut self) {
        if self.chunk > FIRST && self.buffer.is_empty() {
            (self.buffer, self.chunk) = (BytesMut::new(), FIRST);
        }
    }
}

/// Waits until the other end of `stream` is closed. (EPOLLHUP: a half that is shut down alone does not count.) It looks
/// through a descriptor of its own and disturbs neither reading nor writing.
pub(crate) async fn closed(stream: impl AsFd) {
    let Ok(fd) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    // SAFETY: an `OwnedFd` is open until it is dropped and always the same.
    let Ok(fd) = (unsafe { AsyncFd::register_with_interest(fd, Interest::PRIORITY) }) else {
        return;
    };
    while let Ok(mut guard) = fd.ready(Interest::PRIORITY).await {
        if guard.ready().is_read_closed() {
            return;
        }
        guard.clear_ready();
    }
}

/// Writes frames.
#[derive(Debug)]
pub(crate) struct Writer {
    half: OwnedWriteHalf,
}

impl Writer {
    pub(crate) fn new(half: OwnedWriteHalf) -> Writer {
        Writer { half }
    }

    /// Writes frames that are encoded already.
    pub(crate) async fn frames(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.half.write_all(bytes).await
    }

    /// Writes a piece of a body, in as many frames as it takes.
    pub(crate) async fn body(&mut self, mut data: impl Buf) -> io::Result<()> {
        while data.has_remaining() {
            let chunk = data.chunk();
            let len = chunk.len().min(PAYLOAD_MAX as usize);
            let head = FrameHead {
                kind: frame::BODY,
                len: u32::try_from(len).unwrap_or(PAYLOAD_MAX),
            };
            let head = head.to_bytes();
            let mut frame = Buf::chain(&head[..], &chunk[..len]);
            self.half.write_all_buf(&mut frame).await?;
            data.advance(len);
        }
        Ok(())
    }

    pub(crate) async fn end(&mut self) -> io::Result<()> {
        self.frames(&FrameHead::END.to_bytes()).await
    }

    pub(crate) async fn failed(&mut self, failure: &Failure) -> io::Result<()> {
        let mut frame = Vec::new();
        failure.encode(&mut frame);
        self.frames(&frame).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::UnixStream;

    fn pair() -> ((Reader, Writer), UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        let (read, write) = a.into_split();
        ((Reader::new(read), Writer::new(write)), b)
    }

    #[tokio::test]
    async fn bodies_of_any_length_are_framed_and_joined() {
        let ((_, mut writer), other) = pair();
        let (half, _keep) = other.into_split();
        let mut reader = Reader::new(half);
        let data: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[0]).collect();
        let sent = data.clone();
        tokio::spawn(async move {
            writer.body(&sent[..]).await.unwrap();
            writer.end().await.unwrap();
        });
        let mut got = Vec::new();
        loop {
            match reader.next().await.unwrap() {
                Frame::Body(bytes) => got.extend(bytes),
                Frame::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, data);
        assert!(matches!(reader.next().await, Err(FrameError::Ended)));
    }

    #[tokio::test]
    async fn nonsense_is_malformed() {
        let ((mut reader, _writer), mut other) = pair();
        other.write_all(&[9; 8]).await.unwrap();
        assert!(matches!(reader.next().await, Err(FrameError::Malformed(_))));
    }

    #[tokio::test]
    async fn the_others_end_shows_without_a_read() {
        let ((reader, _writer), mut other) = pair();
        other.write_all(&[0; 100]).await.unwrap();
        let watch = AsFd::as_fd(reader.half.as_ref()).try_clone_to_owned().unwrap();
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, closed(&watch)).await.is_err());
        drop(other);
        tokio::time::timeout(soon, closed(&watch)).await.unwrap();
    }

    #[tokio::test]
    async fn a_guest_is_idle_when_it_says_so_and_nothing_more() {
        let idle = FrameHead::IDLE.to_bytes();
        let ((mut reader, _writer), mut other) = pair();
        other
            .write_all(&[FrameHead::END.to_bytes(), idle].concat())
            .await
            .unwrap();
        assert!(!reader.take_idle(), "not read yet");
        assert!(matches!(reader.next().await, Ok(Frame::End)));
        assert!(reader.take_idle() && !reader.take_idle());
        other
            .write_all(&[FrameHead::END.to_bytes(), idle].concat())
            .await
            .unwrap();
        assert!(reader.idle().await, "whatever comes before");
        other.write_all(&idle[..4]).await.unwrap();
        drop(other);
        assert!(!reader.idle().await, "it has gone");
        let ((mut reader, _writer), mut other) = pair();
        other.write_all(&[idle, idle].concat()).await.unwrap();
        assert!(!reader.idle().await, "it goes on");
    }
}
