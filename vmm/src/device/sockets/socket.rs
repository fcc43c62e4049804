//! One socket: the system calls on it. All are non-blocking.

use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use mote_abi::net::option;
use mote_config::broker::{Family, Kind};

use super::super::answer::Errno;
use super::super::stream::Stream;
use super::address::Raw;

/// A socket of the Internet.
#[derive(Debug)]
pub struct Socket {
    pub(super) family: Family,
    pub(super) kind: Kind,
    /// For reading and writing; it owns the descriptor.
    pub stream: Stream,
}

/// What became of a call.
pub(super) enum Outcome<T> {
    Done(T),
    Blocked,
}

impl Socket {
    /// Takes over a socket, which must be non-blocking.
    pub(super) fn new(fd: OwnedFd, family: Family, kind: Kind) -> Socket {
        Socket {
            family,
            kind,
            stream: Stream::nonblocking(fd),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.stream.fd()
    }

    pub(super) fn bind(&self, address: &SocketAddr) -> Result<(), Errno> {
        if self.kind == Kind::Tcp {
            // A server's address can be bound again while old connections fade away. (wasi:sockets/tcp, `start-bind`)
            self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        }
        let raw = Raw::new(address);
        // SAFETY: the address is valid for its length.
        check(unsafe { libc::bind(self.fd(), (&raw const raw.storage).cast(), raw.len) })
    }

    /// Begins to connect: [`Outcome::Blocked`] if the end is to be waited for and asked with [`Self::connected`].
    /// `None` dissolves the association of a UDP socket.
    pub(super) fn connect(&self, address: Option<&SocketAddr>) -> Result<Outcome<()>, Errno> {
        let raw = address.map_or_else(Raw::unspecified, Raw::new);
        // SAFETY: the address is valid for its length.
        let connect =
            |raw: &Raw| check(unsafe { libc::connect(self.fd(), (&raw const raw.storage).cast(), raw.len) });
        match connect(&raw) {
            Ok(()) => Ok(Outcome::Done(())),
            Err(Errno(libc::EINPROGRESS | libc::EINTR)) => Ok(Outcome::Blocked),
            // A bound UDP socket that was connected keeps the source address of that route until it is dissolved.
            Err(Errno(libc::EINVAL)) if self.kind == Kind::Udp && address.is_some() => {
                connect(&Raw::unspecified())?;
                connect(&raw).map(Outcome::Done)
            }
            Err(errno) => Err(errno),
        }
    }

    /// What became of a connection that was begun.
    pub(super) fn connected(&self) -> Result<Outcome<()>, Errno> {
        let mut poll = libc::pollfd {
            fd: self.fd(),
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one valid entry.
        if unsafe { libc::poll(&raw mut poll, 1, 0) } == 0 {
            return Ok(Outcome::Blocked);
        }
        match self.get(libc::SOL_SOCKET, libc::SO_ERROR)? {
            0 => Ok(Outcome::Done(())),
            errno => Err(Errno(errno)),
        }
    }

    pub(super) fn listen(&self, backlog: u64) -> Result<(), Errno> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        // SAFETY: takes no pointers.
        check(unsafe { libc::listen(self.fd(), backlog) })
    }

    /// Takes the next connection, and its peer's address.
    pub(super) fn accept(&self) -> Result<Outcome<(Socket, SocketAddr)>, Errno> {
        let mut raw = Raw::empty();
        // SAFETY: the address is valid for its length, which is valid too.
        let fd = unsafe {
            libc::accept4(
                self.fd(),
                (&raw mut raw.storage).cast(),
                &raw mut raw.len,
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        };
        if fd < 0 {
            return match Errno::last() {
                Errno(libc::EAGAIN | libc::EINTR) => Ok(Outcome::Blocked),
                errno => Err(errno),
            };
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let peer = raw.to_address().ok_or(Errno(libc::EAFNOSUPPORT))?;
        Ok(Outcome::Done((Socket::new(fd, self.family, self.kind), peer)))
    }

    pub(super) fn local(&self) -> Result<SocketAddr, Errno> {
        let mut raw = Raw::empty();
        // SAFETY: the address is valid for its length, which is valid too.
        check(unsafe { libc::getsockname(self.fd(), (&raw mut raw.storage).cast(), &raw mut raw.len) })?;
        raw.to_address().ok_or(Errno(libc::EAFNOSUPPORT))
    }

    pub(super) fn remote(&self) -> Result<SocketAddr, Errno> {
        let mut raw = Raw::empty();
        // SAFETY: as above.
        check(unsafe { libc::getpeername(self.fd(), (&raw mut raw.storage).cast(), &raw mut raw.len) })?;
        raw.to_address().ok_or(Errno(libc::ENOTCONN))
    }

    pub(super) fn shutdown(&self, how: u64) -> Result<(), Errno> {
        let how = match how {
            0 => libc::SHUT_RD,
            1 => libc::SHUT_WR,
            2 => libc::SHUT_RDWR,
            _ => return Err(Errno(libc::EINVAL)),
        };
        // SAFETY: takes no pointers.
        check(unsafe { libc::shutdown(self.fd(), how) })
    }

    /// Sends a datagram, to the peer without an address. EAGAIN if there is no room.
    pub(super) fn send(&self, data: &[u8], to: Option<&SocketAddr>) -> Result<u64, Errno> {
        let raw = to.map(Raw::new);
        let (address, len) = raw.as_ref().map_or((std::ptr::null(), 0), |raw| {
            ((&raw const raw.storage).cast(), raw.len)
        });
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: data and address are valid for their lengths.
        let sent = unsafe { libc::sendto(self.fd(), data.as_ptr().cast(), data.len(), flags, address, len) };
        u64::try_from(sent).map_err(|_| Errno::last())
    }

    /// Receives a datagram, cut to the buffer, and its sender.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Outcome<(usize, SocketAddr)>, Errno> {
        let mut raw = Raw::empty();
        // SAFETY: buffer and address are valid for their lengths.
        let got = unsafe {
            libc::recvfrom(
                self.fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut raw.storage).cast(),
                &raw mut raw.len,
            )
        };
        let Ok(got) = usize::try_from(got) else {
            return match Errno::last() {
                Errno(libc::EAGAIN | libc::EINTR) => Ok(Outcome::Blocked),
                errno => Err(errno),
            };
        };
        let sender = raw.to_address().ok_or(Errno(libc::EAFNOSUPPORT))?;
        Ok(Outcome::Done((got, sender)))
    }

    /// The value of an option of [`mote_abi::net::option`].
    pub(super) fn option(&self, name: u64) -> Result<u64, Errno> {
        let (level, raw) = self.name(name)?;
        let value = u64::try_from(self.get(level, raw)?).map_err(|_| Errno(libc::EINVAL))?;
        Ok(match name {
            // The kernel keeps twice what was asked for, for its own bookkeeping. (socket(7))
            option::RECEIVE_BUFFER | option::SEND_BUFFER => value / 2,
            option::KEEP_ALIVE | option::REUSE_ADDRESS | option::IPV6_ONLY | option::NO_DELAY => {
                u64::from(value != 0)
            }
            _ => value,
        })
    }

    /// Sets an option of [`mote_abi::net::option`]. What is larger than the kernel takes is cut.
    pub(super) fn set_option(&self, name: u64, value: u64) -> Result<(), Errno> {
        let (level, raw) = self.name(name)?;
        // The limits are the kernel's: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT of net/tcp.h.
        let (least, most) = match name {
            option::KEEP_ALIVE | option::REUSE_ADDRESS | option::NO_DELAY => (0, 1),
            option::KEEP_IDLE | option::KEEP_INTERVAL => (1, 32767),
            option::KEEP_COUNT => (1, 127),
            option::HOP_LIMIT => (1, 255),
            option::RECEIVE_BUFFER | option::SEND_BUFFER => (1, i32::MAX.unsigned_abs()),
            // It is set when a socket is made and stays so. (wasi:sockets/tcp-create-socket)
            _ => return Err(Errno(libc::EOPNOTSUPP)),
        };
        if value < least {
            return Err(Errno(libc::EINVAL));
        }
        let value = u32::try_from(value).unwrap_or(u32::MAX).min(most);
        let value = i32::try_from(value).map_err(|_| Errno(libc::EINVAL))?;
        match self.set(level, raw, value) {
            // A hint that the kernel does not take is no error.
            Err(Errno(libc::ENOBUFS)) if matches!(name, option::RECEIVE_BUFFER | option::SEND_BUFFER) => {
                Ok(())
            }
            result => result,
        }
    }

    /// Level and number of an option. (socket(7), tcp(7), ip(7), ipv6(7))
    fn name(&self, name: u64) -> Result<(i32, i32), Errno> {
        let tcp = self.kind == Kind::Tcp;
        Ok(match name {
            option::KEEP_ALIVE => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
            option::KEEP_IDLE if tcp => (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
            option::KEEP_INTERVAL if tcp => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
            option::KEEP_COUNT if tcp => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
            option::HOP_LIMIT => match self.family {
                Family::Ipv4 => (libc::IPPROTO_IP, libc::IP_TTL),
                Family::Ipv6 => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
            },
            option::RECEIVE_BUFFER => (libc::SOL_SOCKET, libc::SO_RCVBUF),
            option::SEND_BUFFER => (libc::SOL_SOCKET, libc::SO_SNDBUF),
            option::REUSE_ADDRESS => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
            option::IPV6_ONLY if self.family == Family::Ipv6 => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
            option::NO_DELAY if tcp => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        })
    }

    fn get(&self, level: i32, name: i32) -> Result<i32, Errno> {
        let mut value: libc::c_int = 0;
        let mut len = VALUE_LEN;
        // SAFETY: value and length are valid.
        check(unsafe { libc::getsockopt(self.fd(), level, name, (&raw mut value).cast(), &raw mut len) })?;
        Ok(value)
    }

    fn set(&self, level: i32, name: i32, value: i32) -> Result<(), Errno> {
        // SAFETY: the value is valid for its length.
        check(unsafe { libc::setsockopt(self.fd(), level, name, (&raw const value).cast(), VALUE_LEN) })
    }
}

/// Length of an option's value: an int.
const VALUE_LEN: libc::socklen_t = 4;
const _: () = assert!(size_of::<libc::c_int>() == 4);

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// All options that are ever set, for the system call filter.
pub(crate) const SETTABLE: [(i32, i32); 10] = [
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_IP, libc::IP_TTL),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
];
