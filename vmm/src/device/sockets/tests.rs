//! Real sockets on the loopback interface, through the rings. The broker is made of this process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mote_abi::net::{Address, family, kind, option};
use mote_abi::ring::{Submission, op};

use super::{Grants, Network, Reach};
use crate::device::fixture::{Fixture, fixture};

mod front;

/// Where tests put addresses and data in guest memory.
const ADDRESS: u64 = 0;
const DATA: u64 = 4096;

fn pair() -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, fds.as_mut_ptr()) };
    assert_eq!(made, 0);
    // SAFETY: both are new and unowned.
    unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) }
}

/// Sends a message, with a descriptor if there is one.
fn hand_over(to: &OwnedFd, bytes: &[u8], fd: Option<RawFd>) {
    let mut bytes = bytes.to_vec();
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = [0_u64; 4];
    // SAFETY: an all-zero header is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    if let Some(fd) = fd {
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the control buffer has room for a header and a descriptor.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(4);
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4);
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        }
    }
    // SAFETY: the message points to locals.
    assert!(unsafe { libc::sendmsg(to.as_raw_fd(), &raw const message, 0) } >= 0);
}

fn received(from: &OwnedFd) -> Vec<u8> {
    let mut bytes = [0_u8; 64];
    // SAFETY: the buffer is valid for its length.
    let len = unsafe {
        libc::recv(
            from.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            64,
            libc::MSG_DONTWAIT,
        )
    };
    bytes[..usize::try_from(len).unwrap_or(0)].to_vec()
}

struct Net {
    f: Fixture,
    broker: OwnedFd,
    front: OwnedFd,
    next: u64,
}

fn net(reach: Reach) -> Net {
    net_of(reach.clone(), reach)
}

fn net_of(tcp: Reach, udp: Reach) -> Net {
    let (broker, theirs) = pair();
    let (front, front_theirs) = pair();
    let mut f = fixture();
    f.server.grant(Network::new(Grants {
        tcp,
        udp,
        broker: Some(theirs),
        front: Some(front_theirs),
        http: true,
        name_lookup: true,
    }));
    Net {
        f,
        broker,
        front,
        next: 1,
    }
}

impl Net {
    fn submit(&mut self, submission: Submission) -> u64 {
        self.next += 1;
        let token = self.next;
        self.f.submit(Submission { token, ..submission });
        token
    }

    /// The result of a submission that may park.
    fn result(&mut self, submission: Submission) -> i64 {
        let token = self.submit(submission);
        self.wait(token)
    }

    fn wait(&mut self, token: u64) -> i64 {
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if let Some((_, result)) = self.f.completions().into_iter().find(|(t, _)| *t == token) {
                return result;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no answer");
    }

    fn call(&mut self, op: u64, handle: u64, address: u64, extra: [u64; 2]) -> i64 {
        self.result(Submission {
            op,
            handle,
            address,
            extra,
            ..Submission::default()
        })
    }

    fn ask(&mut self, kind: u64) -> u64 {
        self.submit(Submission {
            op: op::SOCKET,
            extra: [family::IPV4, kind],
            ..Submission::default()
        })
    }

    /// A socket, as the broker makes one.
    fn socket(&mut self, kind: u64) -> u64 {
        let token = self.ask(kind);
        assert!(self.f.completions().is_empty());
        let asked = received(&self.broker);
        assert_eq!((asked.len(), asked[0], u64::from(asked[4])), (16, 4, kind));
        let fd = raw_socket(if kind == kind::TCP {
            libc::SOCK_STREAM
        } else {
            libc::SOCK_DGRAM
        });
        hand_over(&self.broker, &0_i32.to_le_bytes(), Some(fd.as_raw_fd()));
        u64::try_from(self.wait(token)).unwrap()
    }

    fn put(&self, address: SocketAddr) -> u64 {
        let SocketAddr::V4(v4) = address else { panic!() };
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&4_u16.to_le_bytes());
        bytes[2..4].copy_from_slice(&v4.port().to_le_bytes());
        bytes[16..20].copy_from_slice(&v4.ip().octets());
        self.f.put(ADDRESS, &bytes)
    }

    fn address(&self) -> SocketAddr {
        let bytes = self.f.get(ADDRESS, size_of::<Address>());
        assert_eq!(bytes[0], 4);
        let port = u16::from_le_bytes([bytes[2], bytes[3]]);
        SocketAddr::from(([bytes[16], bytes[17], bytes[18], bytes[19]], port))
    }
}

fn raw_socket(kind: i32) -> OwnedFd {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_NONBLOCK, 0) };
    assert!(fd >= 0);
    // SAFETY: it is new and unowned.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_client() {
    let mut net = net(Reach::Everything);
    let listener = TcpListener::bind(loopback(0)).unwrap();
    let socket = net.socket(kind::TCP);
    let at = net.put(listener.local_addr().unwrap());
    assert_eq!(net.call(op::CONNECT, socket, at, [0; 2]), 0);
    let (mut peer, from) = listener.accept().unwrap();
    assert_eq!(net.call(op::LOCAL_ADDRESS, socket, at, [0; 2]), 0);
    assert_eq!(net.address(), from);
    assert_eq!(net.call(op::REMOTE_ADDRESS, socket, at, [0; 2]), 0);
    assert_eq!(net.address(), listener.local_addr().unwrap());
    let data = net.f.put(DATA, b"hello");
    let transfer = |op, len| Submission {
        op,
        handle: socket,
        address: data,
        len,
        ..Submission::default()
    };
    assert_eq!(net.result(transfer(op::WRITE, 5)), 5);
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    let token = net.submit(transfer(op::READ, 64));
    assert!(net.f.completions().is_empty());
    peer.write_all(b"answer").unwrap();
    assert_eq!(net.wait(token), 6);
    assert_eq!(net.f.get(DATA, 6), b"answer");
    assert_eq!(net.call(op::SHUTDOWN, socket, 0, [1, 0]), 0);
    assert_eq!(peer.read(&mut got).unwrap(), 0);
    assert_eq!(net.call(op::CLOSE, socket, 0, [0; 2]), 0);
}

#[test]
fn a_connection_that_is_refused() {
    let mut net = net(Reach::Everything);
    let port = TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap();
    let socket = net.socket(kind::TCP);
    let at = net.put(port);
    assert_eq!(
        net.call(op::CONNECT, socket, at, [0; 2]),
        -i64::from(libc::ECONNREFUSED)
    );
}

#[test]
fn a_server() {
    let mut net = net(Reach::Everything);
    let socket = net.socket(kind::TCP);
    let at = net.put(loopback(0));
    assert_eq!(net.call(op::BIND, socket, at, [0; 2]), 0);
    assert_eq!(net.call(op::LISTEN, socket, 0, [16, 0]), 0);
    assert_eq!(net.call(op::LOCAL_ADDRESS, socket, at, [0; 2]), 0);
    let address = net.address();
    let token = net.submit(Submission {
        op: op::ACCEPT,
        handle: socket,
        address: at,
        ..Submission::default()
    });
    assert!(net.f.completions().is_empty());
    let peer = TcpStream::connect(address).unwrap();
    let accepted = u64::try_from(net.wait(token)).unwrap();
    assert_ne!(accepted, socket);
    assert_eq!(net.address(), peer.local_addr().unwrap());
}

#[test]
fn datagrams() {
    let mut net = net(Reach::Everything);
    let peer = UdpSocket::bind(loopback(0)).unwrap();
    let socket = net.socket(kind::UDP);
    let at = net.put(loopback(0));
    assert_eq!(net.call(op::BIND, socket, at, [0; 2]), 0);
    assert_eq!(net.call(op::LOCAL_ADDRESS, socket, at, [0; 2]), 0);
    let own = net.address();
    let to = net.put(peer.local_addr().unwrap());
    let data = net.f.put(DATA, b"datagram");
    let message = |op, len, offset| Submission {
        op,
        handle: socket,
        address: data,
        len,
        offset,
        ..Submission::default()
    };
    assert_eq!(net.result(message(op::SEND_TO, 8, to)), 8);
    let mut got = [0; 64];
    assert_eq!(peer.recv_from(&mut got).unwrap(), (8, own));
    let token = net.submit(message(op::RECEIVE_FROM, 4, at));
    assert!(net.f.completions().is_empty());
    peer.send_to(b"back again", own).unwrap();
    assert_eq!(net.wait(token), 4);
    assert_eq!(
        (net.f.get(DATA, 5), net.address()),
        (b"backg".to_vec(), peer.local_addr().unwrap())
    );
    assert_eq!(
        net.result(message(op::SEND_TO, 65536, to)),
        -i64::from(libc::EMSGSIZE)
    );
    // Without an address it has to be connected, which can be taken back.
    assert_eq!(
        net.result(message(op::SEND_TO, 8, 0)),
        -i64::from(libc::EDESTADDRREQ)
    );
    let at = net.put(peer.local_addr().unwrap());
    assert_eq!(net.call(op::CONNECT, socket, at, [0; 2]), 0);
    assert_eq!(net.result(message(op::SEND_TO, 8, 0)), 8);
    assert_eq!(net.call(op::CONNECT, socket, 0, [0; 2]), 0);
    assert_eq!(
        net.call(op::REMOTE_ADDRESS, socket, at, [0; 2]),
        -i64::from(libc::ENOTCONN)
    );
}

#[test]
fn options() {
    let mut net = net(Reach::Everything);
    let tcp = net.socket(kind::TCP);
    for (name, value, read) in [
        (option::KEEP_ALIVE, 1, 1),
        (option::KEEP_IDLE, 99_999, 32767),
        (option::KEEP_INTERVAL, 3, 3),
        (option::KEEP_COUNT, 4, 4),
        (option::HOP_LIMIT, 42, 42),
        (option::REUSE_ADDRESS, 1, 1),
        (option::NO_DELAY, 1, 1),
        (option::SEND_BUFFER, 10_000, 10_000),
    ] {
        assert_eq!(net.call(op::SET_OPTION, tcp, 0, [name, value]), 0, "{name}");
        assert_eq!(net.call(op::GET_OPTION, tcp, 0, [name, 0]), read, "{name}");
    }
    assert_eq!(
        net.call(op::SET_OPTION, tcp, 0, [option::RECEIVE_BUFFER, u64::MAX]),
        0
    );
    let invalid = -i64::from(libc::EINVAL);
    assert_eq!(net.call(op::SET_OPTION, tcp, 0, [option::HOP_LIMIT, 0]), invalid);
    let unknown = -i64::from(libc::ENOPROTOOPT);
    assert_eq!(net.call(op::GET_OPTION, tcp, 0, [99, 0]), unknown);
    let udp = net.socket(kind::UDP);
    assert_eq!(net.call(op::GET_OPTION, udp, 0, [option::KEEP_IDLE, 0]), unknown);
}

#[test]
fn without_a_grant_there_is_nothing() {
    let denied = -i64::from(libc::EACCES);
    let mut none = net(Reach::Nothing);
    assert_eq!(none.call(op::SOCKET, 0, 0, [family::IPV4, kind::TCP]), denied);
    assert!(received(&none.broker).is_empty());
    // Name servers alone.
    let server = loopback(53);
    let mut net = net(Reach::Only(vec![server]));
    let udp = net.socket(kind::UDP);
    let at = net.put(server);
    assert_eq!(net.call(op::BIND, udp, at, [0; 2]), denied);
    assert_eq!(net.call(op::LISTEN, udp, 0, [1, 0]), denied);
    assert_eq!(net.call(op::CONNECT, udp, at, [0; 2]), 0);
    for other in [loopback(54), SocketAddr::from(([127, 0, 0, 2], 53))] {
        let at = net.put(other);
        assert_eq!(net.call(op::CONNECT, udp, at, [0; 2]), denied);
        let send = Submission {
            op: op::SEND_TO,
            handle: udp,
            address: at,
            len: 1,
            offset: at,
            ..Submission::default()
        };
        assert_eq!(net.result(send), denied);
    }
}

#[test]
fn each_kind_of_socket_is_granted_by_itself() {
    let denied = -i64::from(libc::EACCES);
    let mut net = net_of(Reach::Nothing, Reach::Everything);
    assert_eq!(net.call(op::SOCKET, 0, 0, [family::IPV4, kind::TCP]), denied);
    net.socket(kind::UDP);
    // What TCP may reach says nothing of UDP.
    let server = loopback(53);
    let mut net = net_of(Reach::Everything, Reach::Only(vec![server]));
    let at = net.put(loopback(0));
    let (tcp, udp) = (net.socket(kind::TCP), net.socket(kind::UDP));
    assert_eq!(net.call(op::BIND, tcp, at, [0; 2]), 0);
    assert_eq!(net.call(op::BIND, udp, at, [0; 2]), denied);
}

#[test]
fn bad_addresses_and_handles() {
    let mut net = net(Reach::Everything);
    let tcp = net.socket(kind::TCP);
    let fault = -i64::from(libc::EFAULT);
    assert_eq!(net.call(op::CONNECT, tcp, 1, [0; 2]), fault);
    assert_eq!(net.call(op::LOCAL_ADDRESS, tcp, 1, [0; 2]), fault);
    let v6 = net.f.put(ADDRESS, &[[6, 0, 0, 0].as_slice(), &[0; 28]].concat());
    assert_eq!(net.call(op::BIND, tcp, v6, [0; 2]), -i64::from(libc::EINVAL));
    assert_eq!(net.call(op::BIND, 1, v6, [0; 2]), -i64::from(libc::ENOTSOCK));
    assert_eq!(net.call(op::BIND, 9999, v6, [0; 2]), -i64::from(libc::EBADF));
    assert_eq!(net.call(op::SHUTDOWN, tcp, 0, [3, 0]), -i64::from(libc::EINVAL));
    for extra in [[5, kind::TCP], [family::IPV6, 3]] {
        assert!(net.call(op::SOCKET, 0, 0, extra) < 0);
    }
}

#[test]
fn answers_of_the_broker_find_those_who_asked() {
    let mut net = net(Reach::Everything);
    let (first, second, third) = (net.ask(kind::TCP), net.ask(kind::UDP), net.ask(kind::TCP));
    assert!(net.f.completions().is_empty());
    assert_eq!(net.call(op::CANCEL, 0, 0, [first, 0]), 0);
    let udp = raw_socket(libc::SOCK_DGRAM);
    hand_over(
        &net.broker,
        &0_i32.to_le_bytes(),
        Some(raw_socket(libc::SOCK_STREAM).as_raw_fd()),
    );
    hand_over(&net.broker, &0_i32.to_le_bytes(), Some(udp.as_raw_fd()));
    hand_over(&net.broker, &libc::EMFILE.to_le_bytes(), None);
    let got = net.f.completions();
    let of = |token| got.iter().find(|(t, _)| *t == token).map(|(_, result)| *result);
    assert_eq!(of(third), Some(-i64::from(libc::EMFILE)));
    let handle = u64::try_from(of(second).unwrap()).unwrap();
    let at = net.put(loopback(0));
    assert_eq!(net.call(op::CONNECT, handle, 0, [0; 2]), 0, "a UDP socket");
    assert_eq!(net.call(op::BIND, handle, at, [0; 2]), 0);
    // A broker that has gone.
    let Net { broker, mut f, .. } = net;
    drop(broker);
    let ask = Submission {
        op: op::SOCKET,
        extra: [family::IPV4, kind::TCP],
        ..Submission::default()
    };
    assert_eq!(f.call(ask), -i64::from(libc::EPIPE));
}
