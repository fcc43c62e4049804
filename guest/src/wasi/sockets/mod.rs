//! TCP and UDP sockets of the VMM, and names looked up through them.

pub(crate) mod resolver;

use alloc::vec::Vec;
use core::mem::offset_of;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use mote_abi::net::{Address, family};
use mote_abi::ring::{Submission, op};

use crate::vm::ring::{Errno, Ring, Token};

/// Bytes of an address.
pub(crate) const ADDRESS_LEN: usize = size_of::<Address>();

/// An address as the VMM takes it.
pub(crate) fn to_bytes(address: &SocketAddr) -> Vec<u8> {
    let mut bytes = alloc::vec![0; ADDRESS_LEN];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(offset_of!(Address, port), &address.port().to_le_bytes());
    match address {
        SocketAddr::V4(v4) => {
            put(offset_of!(Address, family), &4_u16.to_le_bytes());
            put(offset_of!(Address, ip), &v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            put(offset_of!(Address, family), &6_u16.to_le_bytes());
            put(offset_of!(Address, flow), &v6.flowinfo().to_le_bytes());
            put(offset_of!(Address, scope), &v6.scope_id().to_le_bytes());
            put(offset_of!(Address, ip), &v6.ip().octets());
        }
    }
    bytes
}

/// The address that the VMM has written.
pub(crate) fn from_bytes(bytes: &[u8]) -> SocketAddr {
    let at = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let short = |o: usize| u16::from_le_bytes([at(o), at(o + 1)]);
    let word = |o: usize| u32::from_le_bytes([at(o), at(o + 1), at(o + 2), at(o + 3)]);
    let port = short(offset_of!(Address, port));
    let ip: [u8; 16] = core::array::from_fn(|i| at(offset_of!(Address, ip) + i));
    if u64::from(short(offset_of!(Address, family))) == family::IPV4 {
        SocketAddrV4::new(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]), port).into()
    } else {
        let (flow, scope) = (word(offset_of!(Address, flow)), word(offset_of!(Address, scope)));
        SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into()
    }
}

/// The [`family`] of an address.
pub(crate) fn family_of(ip: &IpAddr) -> u64 {
    match ip {
        IpAddr::V4(_) => family::IPV4,
        IpAddr::V6(_) => family::IPV6,
    }
}

/// A request with a handle and two numbers, which is answered at once.
pub(crate) fn call(ring: &mut Ring, op: u64, handle: u64, extra: [u64; 2]) -> Result<u64, Errno> {
    ring.request(Submission {
        op,
        handle,
        extra,
        ..Submission::default()
    })
}

/// Makes a socket of a [`family`] and a [`mote_abi::net::kind`].
pub(crate) fn open(ring: &mut Ring, family: u64, kind: u64) -> Result<u64, Errno> {
    call(ring, op::SOCKET, 0, [family, kind])
}

/// A request with an address that is answered at once.
pub(crate) fn call_with(ring: &mut Ring, op: u64, handle: u64, address: &SocketAddr) -> Result<(), Errno> {
    let bytes = to_bytes(address);
    let request = Submission {
        op,
        handle,
        address: bytes.as_ptr() as u64,
        ..Submission::default()
    };
    ring.request(request).map(drop)
}

/// A request for an address.
pub(crate) fn address(ring: &mut Ring, op: u64, handle: u64) -> Result<SocketAddr, Errno> {
    let mut bytes = [0_u8; ADDRESS_LEN];
    let request = Submission {
        op,
        handle,
        address: bytes.as_mut_ptr() as u64,
        ..Submission::default()
    };
    ring.request(request)?;
    Ok(from_bytes(&bytes))
}

/// A connection that is being made.
pub(crate) struct Connecting {
    token: Token,
    address: Vec<u8>,
}

impl Connecting {
    pub(crate) fn start(ring: &mut Ring, handle: u64, address: &SocketAddr) -> Connecting {
        let address = to_bytes(address);
        let token = ring.submit(Submission {
            op: op::CONNECT,
            handle,
            address: address.as_ptr() as u64,
            ..Submission::default()
        });
        ring.kick();
        Connecting { token, address }
    }

    /// What became of it, once.
    pub(crate) fn poll(&self, ring: &mut Ring) -> Option<Result<(), Errno>> {
        let result = ring.take(self.token)?;
        Some(if result < 0 { Err(-result) } else { Ok(()) })
    }

    pub(crate) fn cancel(self, ring: &mut Ring) {
        ring.cancel(self.token, self.address);
    }
}

/// Closes a handle. What is still under way on it ends with an error.
pub(crate) fn close(ring: &mut Ring, handle: u64) {
    ring.detach(Submission {
        op: op::CLOSE,
        handle,
        ..Submission::default()
    });
}
