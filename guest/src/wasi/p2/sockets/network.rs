//! `wasi:sockets/network`: addresses and errors.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use mote_abi::net::family;
use mote_resolver::InvalidHost;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::vm::ring::Errno;

/// `wasi:sockets/network.network`: what may be reached is in the grants, so this says nothing.
pub(super) struct Network;

/// `wasi:sockets/network.error-code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(
    dead_code,
    reason = "the type is the interface's; not every case comes up here"
)]
pub(super) enum ErrorCode {
    #[component(name = "unknown")]
    Unknown,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "not-supported")]
    NotSupported,
    #[component(name = "invalid-argument")]
    InvalidArgument,
    #[component(name = "out-of-memory")]
    OutOfMemory,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "concurrency-conflict")]
    ConcurrencyConflict,
    #[component(name = "not-in-progress")]
    NotInProgress,
    #[component(name = "would-block")]
    WouldBlock,
    #[component(name = "invalid-state")]
    InvalidState,
    #[component(name = "new-socket-limit")]
    NewSocketLimit,
    #[component(name = "address-not-bindable")]
    AddressNotBindable,
    #[component(name = "address-in-use")]
    AddressInUse,
    #[component(name = "remote-unreachable")]
    RemoteUnreachable,
    #[component(name = "connection-refused")]
    ConnectionRefused,
    #[component(name = "connection-reset")]
    ConnectionReset,
    #[component(name = "connection-aborted")]
    ConnectionAborted,
    #[component(name = "datagram-too-large")]
    DatagramTooLarge,
    #[component(name = "name-unresolvable")]
    NameUnresolvable,
    #[component(name = "temporary-resolver-failure")]
    TemporaryResolverFailure,
    #[component(name = "permanent-resolver-failure")]
    PermanentResolverFailure,
}

impl ErrorCode {
    /// The code for an errno of Linux. (asm-generic/errno-base.h, asm-generic/errno.h)
    pub(super) fn from_errno(errno: Errno) -> ErrorCode {
        match errno {
            // EPERM, EACCES
            1 | 13 => ErrorCode::AccessDenied,
            // ENOMEM, ENOBUFS
            12 | 105 => ErrorCode::OutOfMemory,
            // EINVAL
            22 => ErrorCode::InvalidArgument,
            // ENFILE, EMFILE
            23 | 24 => ErrorCode::NewSocketLimit,
            // ENONET, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH
            64 | 100 | 101 | 112 | 113 => ErrorCode::RemoteUnreachable,
            // EDESTADDRREQ, EISCONN, ENOTCONN
            89 | 106 | 107 => ErrorCode::InvalidState,
            // EMSGSIZE
            90 => ErrorCode::DatagramTooLarge,
            // EPROTOTYPE, ENOPROTOOPT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EOPNOTSUPP, EPFNOSUPPORT, EAFNOSUPPORT
            91..=97 => ErrorCode::NotSupported,
            // EADDRINUSE
            98 => ErrorCode::AddressInUse,
            // EADDRNOTAVAIL
            99 => ErrorCode::AddressNotBindable,
            // ECONNABORTED
            103 => ErrorCode::ConnectionAborted,
            // ECONNRESET
            104 => ErrorCode::ConnectionReset,
            // ETIMEDOUT
            110 => ErrorCode::Timeout,
            // ECONNREFUSED
            111 => ErrorCode::ConnectionRefused,
            _ => ErrorCode::Unknown,
        }
    }

    /// As [`Self::from_errno`], for accept(2), which on Linux also tells errors of the connection that it took.
    pub(super) fn from_accept(errno: Errno) -> ErrorCode {
        match errno {
            // ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, ENETRESET, ECONNRESET, EHOSTDOWN,
            // EHOSTUNREACH
            64 | 71 | 92 | 95 | 100..=102 | 104 | 112 | 113 => ErrorCode::ConnectionAborted,
            errno => ErrorCode::from_errno(errno),
        }
    }

    /// As [`Self::from_errno`], for bind(2) and connect(2), where EAFNOSUPPORT is about the address.
    pub(super) fn from_address(errno: Errno) -> ErrorCode {
        match errno {
            97 => ErrorCode::InvalidArgument,
            errno => ErrorCode::from_errno(errno),
        }
    }
}

/// No name that the URL standard knows. (wasi:sockets/ip-name-lookup)
impl From<InvalidHost> for ErrorCode {
    fn from(_: InvalidHost) -> ErrorCode {
        ErrorCode::InvalidArgument
    }
}

/// `wasi:sockets/network.ip-address-family`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by lifting")]
pub(super) enum Family {
    #[component(name = "ipv4")]
    Ipv4,
    #[component(name = "ipv6")]
    Ipv6,
}

impl Family {
    /// The number of [`family`].
    pub(super) fn number(self) -> u64 {
        match self {
            Family::Ipv4 => family::IPV4,
            Family::Ipv6 => family::IPV6,
        }
    }

    /// Whether a socket of this family can use the address. IPv6 addresses that stand for IPv4 ones, mapped or
    /// compatible (RFC 4291 2.5.5), are not for IPv6 sockets. (wasi:sockets/tcp)
    pub(super) fn fits(self, address: &SocketAddr) -> bool {
        match (self, address.ip()) {
            (Family::Ipv4, IpAddr::V4(_)) => true,
            (Family::Ipv6, IpAddr::V6(ip)) => {
                let compatible =
                    ip.segments()[..6] == [0; 6] && ip != Ipv6Addr::UNSPECIFIED && ip != Ipv6Addr::LOCALHOST;
                !compatible && ip.to_ipv4_mapped().is_none()
            }
            _ => false,
        }
    }
}

/// Whether the address can be connected to or sent to.
pub(super) fn is_remote(address: &SocketAddr) -> bool {
    !address.ip().to_canonical().is_unspecified() && address.port() != 0
}

/// Whether the address is of one host.
pub(super) fn is_unicast(address: &SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_multicast(),
    }
}

type Ipv4Parts = (u8, u8, u8, u8);
type Ipv6Parts = (u16, u16, u16, u16, u16, u16, u16, u16);

fn ipv4_parts(ip: Ipv4Addr) -> Ipv4Parts {
    let [a, b, c, d] = ip.octets();
    (a, b, c, d)
}

fn ipv6_parts(ip: Ipv6Addr) -> Ipv6Parts {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    (a, b, c, d, e, f, g, h)
}

/// `wasi:sockets/network.ip-address`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Address {
    #[component(name = "ipv4")]
    Ipv4(Ipv4Parts),
    #[component(name = "ipv6")]
    Ipv6(Ipv6Parts),
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(ip) => Address::Ipv4(ipv4_parts(ip)),
            IpAddr::V6(ip) => Address::Ipv6(ipv6_parts(ip)),
        }
    }
}

/// `wasi:sockets/network.ipv4-socket-address`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Ipv4SocketAddress {
    port: u16,
    address: Ipv4Parts,
}

/// `wasi:sockets/network.ipv6-socket-address`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Ipv6SocketAddress {
    port: u16,
    #[component(name = "flow-info")]
    flow_info: u32,
    address: Ipv6Parts,
    #[component(name = "scope-id")]
    scope_id: u32,
}

/// `wasi:sockets/network.ip-socket-address`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum SocketAddress {
    #[component(name = "ipv4")]
    Ipv4(Ipv4SocketAddress),
    #[component(name = "ipv6")]
    Ipv6(Ipv6SocketAddress),
}

impl From<SocketAddress> for SocketAddr {
    fn from(address: SocketAddress) -> SocketAddr {
        match address {
            SocketAddress::Ipv4(Ipv4SocketAddress { port, address }) => {
                let (a, b, c, d) = address;
                SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port).into()
            }
            SocketAddress::Ipv6(v6) => {
                let (a, b, c, d, e, f, g, h) = v6.address;
                let ip = Ipv6Addr::new(a, b, c, d, e, f, g, h);
                SocketAddrV6::new(ip, v6.port, v6.flow_info, v6.scope_id).into()
            }
        }
    }
}

impl From<SocketAddr> for SocketAddress {
    fn from(address: SocketAddr) -> SocketAddress {
        match address {
            SocketAddr::V4(v4) => SocketAddress::Ipv4(Ipv4SocketAddress {
                port: v4.port(),
                address: ipv4_parts(*v4.ip()),
            }),
            SocketAddr::V6(v6) => SocketAddress::Ipv6(Ipv6SocketAddress {
                port: v6.port(),
                flow_info: v6.flowinfo(),
                address: ipv6_parts(*v6.ip()),
                scope_id: v6.scope_id(),
            }),
        }
    }
}
