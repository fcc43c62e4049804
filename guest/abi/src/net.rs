//! Sockets, as the socket operations of [`crate::ring::op`] carry them.

/// Address families. (RFC 3493)
pub mod family {
    pub const IPV4: u64 = 4;
    pub const IPV6: u64 = 6;
}

/// Kinds of sockets.
pub mod kind {
    pub const TCP: u64 = 1;
    pub const UDP: u64 = 2;
}

/// Bits of [`crate::ring::op::POLL`].
pub mod ready {
    /// A read, accept or receive would not wait, be it for an error or the end.
    pub const READ: u64 = 1;
    /// A write or send would not wait, be it for an error.
    pub const WRITE: u64 = 2;
}

/// Options of [`crate::ring::op::GET_OPTION`] and [`crate::ring::op::SET_OPTION`], with the unit of their value.
/// (socket(7), tcp(7), ip(7), ipv6(7))
pub mod option {
    /// 0 or 1.
    pub const KEEP_ALIVE: u64 = 1;
    /// Seconds.
    pub const KEEP_IDLE: u64 = 2;
    /// Seconds.
    pub const KEEP_INTERVAL: u64 = 3;
    /// Probes.
    pub const KEEP_COUNT: u64 = 4;
    /// TTL or hop limit of unicast packets, 1 to 255.
    pub const HOP_LIMIT: u64 = 5;
    /// Bytes, as the program asked (the kernel's doubling is taken out).
    pub const RECEIVE_BUFFER: u64 = 6;
    pub const SEND_BUFFER: u64 = 7;
    /// 0 or 1.
    pub const REUSE_ADDRESS: u64 = 8;
    /// 0 or 1. (IPV6_V6ONLY)
    pub const IPV6_ONLY: u64 = 9;
    /// 0 or 1. (TCP_NODELAY)
    pub const NO_DELAY: u64 = 10;
}

/// Longest domain name in ASCII: 255 octets on the wire are 253 characters, and one more is a dot at the end.
/// (RFC 1035 3.1)
pub const ASCII_NAME_MAX: usize = 254;

/// Longest domain name whose ASCII form [`crate::ring::op::NAME_TO_ASCII`] looks for, in bytes. In Punycode each
/// character takes at least one (RFC 3492 6.3), so no name that can be looked up has more characters than its ASCII form,
/// and UTF-8 takes at most 4 bytes for one (RFC 3629 3). What is longer could only be a name by characters that UTS #46
/// drops or puts together. The bound also bounds the work, which grows with the square of a label's length.
pub const NAME_MAX: u64 = 4 * ASCII_NAME_MAX as u64;

/// An Internet address, 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Address {
    /// A [`family`].
    pub family: u16,
    pub port: u16,
    /// IPv6 flow information and scope, 0 for IPv4.
    pub flow: u32,
    pub scope: u32,
    pub reserved: u32,
    /// In network order; IPv4 uses the first four bytes.
    pub ip: [u8; 16],
}

const _: () = assert!(size_of::<Address>() == 32);
const _: () = assert!(core::mem::offset_of!(Address, ip) == 16);
