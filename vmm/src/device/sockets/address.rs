//! Addresses: the guest's, which are checked, and the kernel's.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use mote_abi::net::{Address, family};
use mote_config::broker::Family;
use vm_memory::{Bytes, VolatileSlice};

use super::super::answer::Errno;
use crate::memory::Space;

/// Bytes of an address in guest memory.
const LEN: u64 = size_of::<Address>() as u64;

/// Copies an address from the guest and checks it: the family must be the socket's, and an IPv6 address must not stand
/// for an IPv4 one (the embedded forms of RFC 4291 2.5.5), which WASI's sockets do not reach.
pub(super) fn read(space: &Space, at: u64, of: Family) -> Result<SocketAddr, Errno> {
    let mut bytes = [0; size_of::<Address>()];
    let mut filled = 0;
    for part in space.resolve(at, LEN, false).map_err(|_| Errno(libc::EFAULT))? {
        let end = filled + part.len();
        part.read_slice(&mut bytes[filled..end], 0)
            .map_err(|_| Errno(libc::EFAULT))?;
        filled = end;
    }
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let port = short(offset_of!(Address, port));
    let mut ip = [0; 16];
    ip.copy_from_slice(&bytes[offset_of!(Address, ip)..]);
    match (u64::from(short(offset_of!(Address, family))), of) {
        (family::IPV4, Family::Ipv4) => {
            let ip = Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]);
            Ok(SocketAddrV4::new(ip, port).into())
        }
        (family::IPV6, Family::Ipv6) => {
            let ip = Ipv6Addr::from(ip);
            if stands_for_ipv4(ip) {
                return Err(Errno(libc::EINVAL));
            }
            let (flow, scope) = (word(offset_of!(Address, flow)), word(offset_of!(Address, scope)));
            Ok(SocketAddrV6::new(ip, port, flow, scope).into())
        }
        _ => Err(Errno(libc::EINVAL)),
    }
}

fn stands_for_ipv4(ip: Ipv6Addr) -> bool {
    let compatible = ip.segments()[..6] == [0; 6] && ip != Ipv6Addr::UNSPECIFIED && ip != Ipv6Addr::LOCALHOST;
    compatible || ip.to_ipv4_mapped().is_some()
}

/// The guest memory that an address is going to be written to.
pub(super) fn place(space: &Space, at: u64) -> Result<Vec<VolatileSlice<'_>>, Errno> {
    space.resolve(at, LEN, true).map_err(|_| Errno(libc::EFAULT))
}

/// Writes an address to a place in guest memory.
pub(super) fn write(place: &[VolatileSlice<'_>], address: &SocketAddr) {
    let mut bytes = [0; size_of::<Address>()];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    let number = match address {
        SocketAddr::V4(_) => 4_u16,
        SocketAddr::V6(_) => 6,
    };
    put(offset_of!(Address, family), &number.to_le_bytes());
    put(offset_of!(Address, port), &address.port().to_le_bytes());
    if let SocketAddr::V6(v6) = address {
        put(offset_of!(Address, flow), &v6.flowinfo().to_le_bytes());
        put(offset_of!(Address, scope), &v6.scope_id().to_le_bytes());
    }
    match address.ip() {
        IpAddr::V4(ip) => put(offset_of!(Address, ip), &ip.octets()),
        IpAddr::V6(ip) => put(offset_of!(Address, ip), &ip.octets()),
    }
    let mut written = 0;
    for part in place {
        part.copy_from(&bytes[written..written + part.len()]);
        written += part.len();
    }
}

/// Room for an address of the kernel, and its length.
pub(super) struct Raw {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

/// Length of a kind of address as the kernel takes it.
fn len_of<T>() -> libc::socklen_t {
    // A handful of bytes.
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

/// A family as addresses carry it.
fn family_of(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or(0)
}

impl Raw {
    /// Room that the kernel is to fill.
    pub(super) fn empty() -> Raw {
        Raw {
            // SAFETY: an all-zero address is a valid value.
            storage: unsafe { std::mem::zeroed() },
            len: len_of::<libc::sockaddr_storage>(),
        }
    }

    /// What connect(2) takes to dissolve an association. (`AF_UNSPEC`)
    pub(super) fn unspecified() -> Raw {
        Raw {
            len: len_of::<libc::sockaddr>(),
            ..Raw::empty()
        }
    }

    pub(super) fn new(address: &SocketAddr) -> Raw {
        let mut raw = Raw::empty();
        match address {
            SocketAddr::V4(v4) => {
                let place = (&raw mut raw.storage).cast::<libc::sockaddr_in>();
                // SAFETY: the storage is larger than any address and aligned for all. (socket(7))
                unsafe {
                    (*place).sin_family = family_of(libc::AF_INET);
                    (*place).sin_port = v4.port().to_be();
                    (*place).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                }
                raw.len = len_of::<libc::sockaddr_in>();
            }
            SocketAddr::V6(v6) => {
                let place = (&raw mut raw.storage).cast::<libc::sockaddr_in6>();
                // SAFETY: as above.
                unsafe {
                    (*place).sin6_family = family_of(libc::AF_INET6);
                    (*place).sin6_port = v6.port().to_be();
                    (*place).sin6_flowinfo = v6.flowinfo();
                    (*place).sin6_scope_id = v6.scope_id();
                    (*place).sin6_addr.s6_addr = v6.ip().octets();
                }
                raw.len = len_of::<libc::sockaddr_in6>();
            }
        }
        raw
    }

    /// The address that the kernel has filled in. `None` for a family that is not of the Internet.
    pub(super) fn to_address(&self) -> Option<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the storage is larger than any address and aligned for all; any bytes are valid for one.
                let v4 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_pass_through_the_kernels_form() {
        for text in ["127.0.0.1:80", "255.1.2.3:0", "[::1]:65535", "[2001:db8::5]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Raw::new(&address).to_address(), Some(address));
        }
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 2, 3).into();
        assert_eq!(Raw::new(&scoped).to_address(), Some(scoped));
        assert_eq!(Raw::unspecified().to_address(), None);
    }

    #[test]
    fn ipv6_does_not_stand_for_ipv4() {
        for (text, stands) in [
            ("::ffff:127.0.0.1", true),
            ("::127.0.0.1", true),
            ("::2", true),
            ("::", false),
            ("::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(stands_for_ipv4(text.parse().unwrap()), stands, "{text}");
        }
    }
}
