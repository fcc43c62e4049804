//! The two streams of a TCP connection.
//!
//! They belong to the socket, so that it can end them; the resources that the program has only name it.

use alloc::vec::Vec;

use mote_abi::ring::{Submission, op};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::tcp::TcpSocket;
use crate::vm::ring::{Errno, Ring};
use crate::wasi::Host;
use crate::wasi::p2::io::StreamFailure as Failure;
use crate::wasi::streams::{Input, Output};

/// A connection's bytes.
pub(super) struct Connection {
    handle: u64,
    input: Input,
    output: Output,
    /// Nothing more is read.
    receiving_ended: bool,
    /// Nothing more is written, for this reason.
    sending_ended: Option<Ended>,
}

/// What the functions of streams come to.
type Outcome<T> = core::result::Result<T, Failure>;

#[derive(Clone, Copy)]
enum Ended {
    Closed,
    Failed(Errno),
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Failure {
        match ended {
            Ended::Closed => Failure::Closed,
            Ended::Failed(errno) => Failure::from(errno),
        }
    }
}

impl Connection {
    pub(super) const fn new(handle: u64) -> Connection {
        Connection {
            handle,
            input: Input::new(handle),
            output: Output::new(handle),
            receiving_ended: false,
            sending_ended: None,
        }
    }

    /// Up to `len` bytes that are there, `None` if none are yet. A stream that has ended says so even of 0 bytes.
    fn read(&mut self, ring: &mut Ring, len: usize) -> Outcome<Option<Vec<u8>>> {
        if self.receiving_ended {
            return Err(Failure::Closed);
        }
        if len == 0 {
            return Ok(Some(Vec::new()));
        }
        let read = if self.input.readable_now(ring) {
            self.input.read(ring, len)
        } else {
            return Ok(None);
        };
        match read {
            Ok(None) => Ok(None),
            Ok(Some([])) => {
                self.receiving_ended = true;
                Err(Failure::Closed)
            }
            Ok(Some(data)) => Ok(Some(data.to_vec())),
            Err(errno) => {
                self.receiving_ended = true;
                Err(errno.into())
            }
        }
    }

    /// Whether [`Self::read`] has something to say.
    fn readable(&mut self, ring: &mut Ring) -> bool {
        self.receiving_ended || self.input.readable(ring)
    }

    /// Bytes that can be written without waiting.
    fn permit(&mut self, ring: &mut Ring) -> Outcome<usize> {
        if let Some(ended) = self.sending_ended {
            return Err(ended.into());
        }
        self.output.permit(ring).map_err(|errno| {
            self.sending_ended = Some(Ended::Failed(errno));
            Failure::from(errno)
        })
    }

    /// Whether [`Self::permit`] has something to say.
    fn writable(&mut self, ring: &mut Ring) -> bool {
        self.sending_ended.is_some() || self.output.writable(ring)
    }

    /// Starts to write what was permitted.
    fn write(&mut self, ring: &mut Ring, data: Vec<u8>) -> Outcome<()> {
        if let Some(ended) = self.sending_ended {
            return Err(ended.into());
        }
        self.output.write(ring, data).map_err(|errno| {
            self.sending_ended = Some(Ended::Failed(errno));
            Failure::from(errno)
        })
    }

    /// The program has dropped the input stream: what comes stays in the host.
    fn drop_input(&mut self, ring: &mut Ring) {
        self.input.stop(ring);
    }

    /// The program has dropped the output stream: waits until what was written is on its way, for then the socket may
    /// be dropped.
    fn drop_output(&mut self, ring: &mut Ring) {
        // There is nobody left to tell of an error.
        let _ = self.output.flush(ring);
    }

    pub(super) fn end_receiving(&mut self, ring: &mut Ring) {
        if !self.receiving_ended {
            self.receiving_ended = true;
            self.input.stop(ring);
            self.shut_down(ring, 0);
        }
    }

    /// What was written before goes out first: the VMM keeps the order.
    pub(super) fn end_sending(&mut self, ring: &mut Ring) {
        if self.sending_ended.is_none() {
            self.sending_ended = Some(Ended::Closed);
            self.shut_down(ring, 1);
        }
    }

    fn shut_down(&self, ring: &mut Ring, direction: u64) {
        ring.detach(Submission {
            op: op::SHUTDOWN,
            handle: self.handle,
            extra: [direction, 0],
            ..Submission::default()
        });
    }
}

/// The connection of a socket, by the socket's number in the table, and the ring for it. Its streams are dropped before
/// the socket, so only a socket that is no connection has none.
fn of(host: &mut Host, socket: u32) -> Result<Option<(&mut Connection, &mut Ring)>> {
    let socket = host.table.get_mut(&Resource::<TcpSocket>::new_borrow(socket))?;
    Ok(socket.connection().map(|connection| (connection, &mut host.ring)))
}

/// Up to `len` bytes that are there; see [`Connection::read`].
pub(in crate::wasi::p2) fn read(
    host: &mut Host,
    socket: u32,
    len: usize,
) -> Result<Outcome<Option<Vec<u8>>>> {
    Ok(match of(host, socket)? {
        Some((connection, ring)) => connection.read(ring, len),
        None => Err(Failure::Closed),
    })
}

/// Whether [`read`] has something to say.
pub(in crate::wasi::p2) fn readable(host: &mut Host, socket: u32) -> Result<bool> {
    Ok(of(host, socket)?.is_none_or(|(connection, ring)| connection.readable(ring)))
}

/// Bytes that can be written without waiting.
pub(in crate::wasi::p2) fn permit(host: &mut Host, socket: u32) -> Result<Outcome<u64>> {
    Ok(match of(host, socket)? {
        Some((connection, ring)) => connection.permit(ring).map(|len| len as u64),
        None => Err(Failure::Closed),
    })
}

/// Whether [`permit`] has something to say.
pub(in crate::wasi::p2) fn writable(host: &mut Host, socket: u32) -> Result<bool> {
    Ok(of(host, socket)?.is_none_or(|(connection, ring)| connection.writable(ring)))
}

/// Starts to write what was permitted.
pub(in crate::wasi::p2) fn write(host: &mut Host, socket: u32, data: Vec<u8>) -> Result<Outcome<()>> {
    Ok(match of(host, socket)? {
        Some((connection, ring)) => connection.write(ring, data),
        None => Err(Failure::Closed),
    })
}

/// The program has dropped the input stream.
pub(in crate::wasi::p2) fn input_dropped(host: &mut Host, socket: u32) {
    if let Ok(Some((connection, ring))) = of(host, socket) {
        connection.drop_input(ring);
    }
}

/// The program has dropped the output stream.
pub(in crate::wasi::p2) fn output_dropped(host: &mut Host, socket: u32) {
    if let Ok(Some((connection, ring))) = of(host, socket) {
        connection.drop_output(ring);
    }
}
