//! From names to addresses, by `mote-resolver`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    pin::pin,
    time::Duration,
};

use mote_abi::http::{Failure, error_code};
use mote_resolver::{Conf, Host, Lookup, MESSAGE_MAX, PORT, Server, Step, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep_until},
};

use super::failure::failure;

/// Largest datagram that an answer comes in: what is longer comes by TCP. (RFC 6891 6.2.5)
const DATAGRAM_MAX: usize = 4096;

/// How names are looked up.
#[derive(Debug)]
pub(super) struct Names {
    conf: Conf,
    hosts: String,
}

/// A server that is being asked.
enum Connection {
    Datagram(UdpSocket),
    Stream(TcpStream, Vec<u8>),
}

impl Names {
    pub(super) fn new(resolv_conf: &str, hosts: &str) -> Names {
        Names {
            conf: Conf::parse(resolv_conf),
            hosts: hosts.into(),
        }
    }

    /// The addresses of a host, in the order in which they are to be tried.
    pub(super) async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let host = Host::parse(host).map_err(|_| {
            failure(
                error_code::HTTP_REQUEST_URI_INVALID,
                format!("{host:?} is neither an address nor a name"),
            )
        })?;
        let begin = Instant::now();
        let mut lookup = Lookup::new(self.conf.clone(), &self.hosts, &host);
        let mut connection = None;
        loop {
            let now = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            match lookup.step(now, &mut random) {
                Step::Done(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
                Step::Done(Ok(_)) => return Err(failure(error_code::DNS_ERROR, "address not available")),
                Step::Done(Err(e)) => {
                    use mote_resolver::Failure::{NoName, Permanent, Temporary};
                    return Err(match e {
                        NoName => failure(error_code::DNS_ERROR, "address not available"),
                        Temporary => failure(error_code::DNS_TIMEOUT, "no name server answered"),
                        Permanent => failure(error_code::DNS_ERROR, "the name servers refuse to answer"),
                    });
                }
                Step::Ask { server, transport } => match ask(server, transport, &lookup).await {
                    Ok(asked) => connection = Some(asked),
                    Err(_) => lookup.failed(),
                },
                Step::Wait { until } => {
                    let due = begin + Duration::from_nanos(until);
                    match &mut connection {
                        Some(asked) => {
                            let answer = pin!(asked.receive());
                            tokio::select! {
                                answer = answer => match answer {
                                    Ok(message) => lookup.received(&message),
                                    Err(_) => lookup.failed(),
                                },
                                () = sleep_until(due) => {}
                            }
                        }
                        None => sleep_until(due).await,
                    }
                }
            }
        }
    }
}

/// Connects to a server and sends it what is to be asked.
async fn ask(server: Server, transport: Transport, lookup: &Lookup) -> io::Result<Connection> {
    let (address, any): (SocketAddr, IpAddr) = match server.ip {
        IpAddr::V4(ip) => ((ip, PORT).into(), Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(ip) => (
            SocketAddrV6::new(ip, PORT, 0, server.scope).into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ),
    };
    match transport {
        Transport::Datagram => {
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(address).await?;
            for question in lookup.questions() {
                socket.send(&question).await?;
            }
            Ok(Connection::Datagram(socket))
        }
        Transport::Stream => {
            let limit = Duration::from_secs(5);
            let mut stream = tokio::time::timeout(limit, TcpStream::connect(address)).await??;
            for question in lookup.questions() {
                let len = u16::try_from(question.len()).map_err(io::Error::other)?;
                stream
                    .write_all(&[&len.to_be_bytes()[..], &question].concat())
                    .await?;
            }
            Ok(Connection::Stream(stream, Vec::new()))
        }
    }
}

impl Connection {
    /// The next message. What was read of it is kept if the wait is given up.
    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Connection::Datagram(socket) => {
                let mut message = vec![0; DATAGRAM_MAX];
                let len = socket.recv(&mut message).await?;
                message.truncate(len);
                Ok(message)
            }
            Connection::Stream(stream, buffer) => loop {
                if let Some((len, rest)) = buffer.split_first_chunk::<2>() {
                    let len = usize::from(u16::from_be_bytes(*len));
                    if let Some(message) = rest.get(..len) {
                        let message = message.to_vec();
                        buffer.drain(..2 + len);
                        return Ok(message);
                    }
                }
                const _: () = assert!(MESSAGE_MAX == u16::MAX as usize);
                if stream.read_buf(buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            },
        }
    }
}

/// An id that nobody can guess, so that nobody can answer who has not seen the question. (RFC 5452)
fn random() -> u16 {
    let mut id = [0; 2];
    // SAFETY: the pointer is to a local of that length.
    unsafe { libc::getrandom(id.as_mut_ptr().cast(), id.len(), 0) };
    u16::from_ne_bytes(id)
}
