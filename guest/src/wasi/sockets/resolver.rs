//! Names: asks the servers for [`Lookup`], which decides what to ask and reads the answers.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};

use mote_abi::boot::grant;
use mote_abi::net::{ASCII_NAME_MAX, kind};
use mote_abi::ring::{Submission, op};
use mote_resolver::{Conf, Failure, Host as Name, Lookup, MESSAGE_MAX, PORT, Server, Step, Transport};

use super::{ADDRESS_LEN, Connecting, call_with, close, family_of, from_bytes, open};
use crate::vm::clock;
use crate::vm::ring::{Errno, Ring, Token};
use crate::wasi::Host;
use crate::wasi::errno::EILSEQ;

/// A port for the question whether an address can be reached at all. (RFC 863; nothing is sent)
const DISCARD: u16 = 9;

/// A lookup under way.
pub(crate) struct Resolution {
    lookup: Lookup,
    /// The server that was asked last.
    asked: Option<Asked>,
}

/// What a lookup needs.
pub(crate) enum Progress {
    /// To be looked at again when a submission is answered, or at this time.
    Wait(u64),
    Done(Result<Vec<IpAddr>, Failure>),
}

struct Asked {
    handle: u64,
    transport: Transport,
    server: SocketAddr,
    /// A TCP connection that is being made.
    connecting: Option<Connecting>,
    receiving: Option<Token>,
    /// Where answers are received: an address, then the data.
    buffer: Vec<u8>,
    /// What has come by TCP and is no whole message yet.
    collected: Vec<u8>,
    /// What is being sent by TCP.
    sending: Option<(Token, Vec<u8>)>,
}

impl Resolution {
    pub(crate) fn new(host: &Host, name: &Name) -> Resolution {
        let conf = Conf::parse(host.resolv_conf);
        Resolution {
            lookup: Lookup::new(conf, host.hosts, name),
            asked: None,
        }
    }

    /// Does what can be done now.
    pub(crate) fn advance(&mut self, host: &mut Host) -> wasmtime::Result<Progress> {
        loop {
            while self.hear(&mut host.ring) {}
            // Ids come from the host's entropy: they are what keeps others from answering. (RFC 5452)
            let mut random = host.entropy.next_u64()?;
            let mut id = || {
                let [low, high, ..] = random.to_le_bytes();
                random >>= 16;
                u16::from_le_bytes([low, high])
            };
            match self.lookup.step(clock::monotonic_ns(), &mut id) {
                Step::Wait { until } => {
                    host.ring.kick();
                    return Ok(Progress::Wait(until));
                }
                Step::Ask { server, transport } => {
                    self.drop_server(&mut host.ring);
                    match Asked::new(&mut host.ring, server, transport) {
                        Ok(asked) => {
                            self.asked = Some(asked);
                            self.send(&mut host.ring);
                        }
                        Err(_) => self.lookup.failed(),
                    }
                }
                Step::Done(result) => {
                    self.drop_server(&mut host.ring);
                    return Ok(Progress::Done(result.map(|found| in_order(host, found))));
                }
            }
        }
    }

    /// The program has lost interest.
    pub(crate) fn cancel(mut self, ring: &mut Ring) {
        self.drop_server(ring);
    }

    fn drop_server(&mut self, ring: &mut Ring) {
        if let Some(asked) = self.asked.take() {
            asked.close(ring);
        }
    }

    /// Sends the questions, once there is a connection.
    fn send(&mut self, ring: &mut Ring) {
        let Some(asked) = self.asked.as_mut().filter(|a| a.connecting.is_none()) else {
            return;
        };
        let sent = match asked.transport {
            Transport::Datagram => self
                .lookup
                .questions()
                .try_for_each(|question| asked.send_datagram(ring, &question)),
            Transport::Stream => {
                let mut data = Vec::new();
                for question in self.lookup.questions() {
                    data.extend(u16::try_from(question.len()).unwrap_or(0).to_be_bytes());
                    data.extend(question);
                }
                asked.send_stream(ring, data);
                Ok(())
            }
        };
        match sent {
            Ok(()) => asked.receive(ring),
            Err(_) => self.lookup.failed(),
        }
    }

    /// Takes in what has come. Whether there may be more.
    fn hear(&mut self, ring: &mut Ring) -> bool {
        let Some(asked) = &mut self.asked else {
            return false;
        };
        if let Some(connecting) = &asked.connecting {
            let Some(result) = connecting.poll(ring) else {
                return false;
            };
            asked.connecting = None;
            match result {
                Ok(()) => self.send(ring),
                Err(_) => self.give_up(ring),
            }
            return self.asked.is_some();
        }
        let Some(result) = asked.receiving.and_then(|token| ring.take(token)) else {
            return false;
        };
        asked.receiving = None;
        let data = ADDRESS_LEN..ADDRESS_LEN + usize::try_from(result).unwrap_or(0);
        match asked.transport {
            // Nobody listens at the server's port, or there is no way to it.
            _ if result < 0 => self.give_up(ring),
            Transport::Datagram => {
                let from = from_bytes(&asked.buffer);
                if from.ip() == asked.server.ip() && from.port() == asked.server.port() {
                    self.lookup.received(asked.buffer.get(data).unwrap_or(&[]));
                }
                asked.receive(ring);
            }
            Transport::Stream if data.is_empty() => self.give_up(ring),
            Transport::Stream => {
                let data = asked.buffer.get(data).unwrap_or(&[]);
                asked.collected.extend_from_slice(data);
                while let Some(message) = asked.next_message() {
                    self.lookup.received(&message);
                }
                asked.receive(ring);
            }
        }
        self.asked.is_some()
    }

    fn give_up(&mut self, ring: &mut Ring) {
        self.drop_server(ring);
        self.lookup.failed();
    }
}

impl Asked {
    fn new(ring: &mut Ring, server: Server, transport: Transport) -> Result<Asked, Errno> {
        let kind = match transport {
            Transport::Datagram => kind::UDP,
            Transport::Stream => kind::TCP,
        };
        let address = match server.ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, PORT)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, PORT, 0, server.scope).into(),
        };
        let handle = open(ring, family_of(&server.ip), kind)?;
        let mut connecting = None;
        match transport {
            // A connected socket is told of errors, and has only the server's datagrams.
            Transport::Datagram => {
                if let Err(errno) = call_with(ring, op::CONNECT, handle, &address) {
                    close(ring, handle);
                    return Err(errno);
                }
            }
            Transport::Stream => connecting = Some(Connecting::start(ring, handle, &address)),
        }
        Ok(Asked {
            handle,
            transport,
            server: address,
            connecting,
            receiving: None,
            buffer: Vec::new(),
            collected: Vec::new(),
            sending: None,
        })
    }

    fn send_datagram(&self, ring: &mut Ring, message: &[u8]) -> Result<(), Errno> {
        let request = Submission {
            op: op::SEND_TO,
            handle: self.handle,
            address: message.as_ptr() as u64,
            len: message.len() as u64,
            ..Submission::default()
        };
        ring.request(request).map(drop)
    }

    fn send_stream(&mut self, ring: &mut Ring, data: Vec<u8>) {
        let token = ring.submit(Submission {
            op: op::WRITE,
            handle: self.handle,
            address: data.as_ptr() as u64,
            len: data.len() as u64,
            ..Submission::default()
        });
        self.sending = Some((token, data));
    }

    /// Waits for the next datagram or more of the stream.
    fn receive(&mut self, ring: &mut Ring) {
        if self.receiving.is_some() {
            return;
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; ADDRESS_LEN + MESSAGE_MAX];
        }
        let start = self.buffer.as_mut_ptr() as u64;
        let mut request = Submission {
            op: op::READ,
            handle: self.handle,
            address: start + ADDRESS_LEN as u64,
            len: MESSAGE_MAX as u64,
            ..Submission::default()
        };
        if self.transport == Transport::Datagram {
            (request.op, request.offset) = (op::RECEIVE_FROM, start);
        }
        self.receiving = Some(ring.submit(request));
    }

    /// Takes a whole message out of what has come by TCP. (RFC 1035 4.2.2)
    fn next_message(&mut self) -> Option<Vec<u8>> {
        let &[high, low, ref rest @ ..] = self.collected.as_slice() else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let message = rest.get(..len)?.to_vec();
        self.collected.drain(..2 + len);
        Some(message)
    }

    fn close(self, ring: &mut Ring) {
        if let Some(connecting) = self.connecting {
            connecting.cancel(ring);
        }
        if let Some(token) = self.receiving {
            ring.abandon(token, self.buffer);
        }
        if let Some((token, data)) = self.sending {
            ring.abandon(token, data);
        }
        close(ring, self.handle);
    }
}

/// The ASCII form of an internationalised name, which the VMM has the tables for. EILSEQ if it has none.
pub(crate) fn to_ascii(ring: &mut Ring, name: &[u8]) -> Result<String, Errno> {
    let mut ascii = vec![0; ASCII_NAME_MAX];
    let len = ring.request(Submission {
        op: op::NAME_TO_ASCII,
        address: name.as_ptr() as u64,
        len: name.len() as u64,
        offset: ascii.as_mut_ptr() as u64,
        ..Submission::default()
    })?;
    ascii.truncate(usize::try_from(len).unwrap_or(0));
    String::from_utf8(ascii).map_err(|_| EILSEQ)
}

/// The addresses with those first that can be reached: IPv6 goes behind IPv4 if there is no way to it. (RFC 6724 5,
/// rule 1)
fn in_order(host: &mut Host, found: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut v6, mut v4): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(IpAddr::is_ipv6);
    let both = !v4.is_empty() && host.grants & grant::UDP != 0;
    match v6.first() {
        Some(first) if both && !is_reachable(&mut host.ring, *first) => {
            v4.append(&mut v6);
            v4
        }
        _ => {
            v6.append(&mut v4);
            v6
        }
    }
}

fn is_reachable(ring: &mut Ring, ip: IpAddr) -> bool {
    let Ok(handle) = open(ring, family_of(&ip), kind::UDP) else {
        return false;
    };
    let reachable = call_with(ring, op::CONNECT, handle, &SocketAddr::new(ip, DISCARD)).is_ok();
    close(ring, handle);
    reachable
}
