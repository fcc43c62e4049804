//! TCP connections to the outside.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use mote_abi::http::Failure;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::failure;

/// Head start of an address before the next is tried. (RFC 8305, 5)
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that answers.
pub(super) async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Failure> {
    let mut addresses = addresses.iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut next = Instant::now();
    loop {
        let more = addresses.len() > 0;
        if !more && attempts.is_empty() {
            return Err(failure::connect(&last));
        }
        tokio::select! {
            biased;
            Some(result) = attempts.join_next() => match result {
                Ok(Ok(stream)) => {
                    let stream: TcpStream = stream;
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(e)) => {
                    last = e;
                    next = Instant::now();
                }
                Err(e) => last = io::Error::other(e),
            },
            () = sleep_until(next), if more => {
                if let Some(ip) = addresses.next() {
                    attempts.spawn(TcpStream::connect(SocketAddr::new(*ip, port)));
                }
                next = Instant::now() + HEAD_START;
            }
        }
    }
}
