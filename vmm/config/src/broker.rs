//! How `mote-vmm`, which cannot make sockets, asks the broker in its parent for one.
//!
//! Over a seqpacket socket: a [`Request`] of 16 bytes, answered in order by a message of 4 bytes, the errno of Linux
//! or 0. With 0 comes the socket as a descriptor (SCM_RIGHTS, unix(7)): non-blocking, close-on-exec, and for IPv6
//! without IPv4 (IPV6_V6ONLY).

/// Address families. (RFC 3493; the numbers of `mote_abi::net::family`)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Family {
    Ipv4 = 4,
    Ipv6 = 6,
}

/// Kinds of sockets. (The numbers of `mote_abi::net::kind`)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Tcp = 1,
    Udp = 2,
}

/// A socket that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub family: Family,
    pub kind: Kind,
}

/// Bytes of a request.
pub const REQUEST_LEN: usize = 16;
/// Bytes of an answer.
pub const ANSWER_LEN: usize = 4;

impl Family {
    /// The family that a number stands for.
    #[must_use]
    pub fn from_raw(raw: u64) -> Option<Family> {
        match raw {
            4 => Some(Family::Ipv4),
            6 => Some(Family::Ipv6),
            _ => None,
        }
    }
}

impl Kind {
    /// The kind that a number stands for.
    #[must_use]
    pub fn from_raw(raw: u64) -> Option<Kind> {
        match raw {
            1 => Some(Kind::Tcp),
            2 => Some(Kind::Udp),
            _ => None,
        }
    }
}

impl Request {
    /// The request as it is sent: family and kind, little-endian, then zeros.
    #[must_use]
    pub fn to_bytes(self) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        bytes[..4].copy_from_slice(&(self.family as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&(self.kind as u32).to_le_bytes());
        bytes
    }

    /// Reads a request. `None` unless it is exactly one: who asks may be hostile.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Request> {
        let bytes: &[u8; REQUEST_LEN] = bytes.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let request = Request {
            family: Family::from_raw(word(0).into())?,
            kind: Kind::from_raw(word(4).into())?,
        };
        (bytes[8..] == [0; 8]).then_some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_and_nothing_else_is_one() {
        for family in [Family::Ipv4, Family::Ipv6] {
            for kind in [Kind::Tcp, Kind::Udp] {
                let request = Request { family, kind };
                assert_eq!(Request::from_bytes(&request.to_bytes()), Some(request));
            }
        }
        let good = Request {
            family: Family::Ipv4,
            kind: Kind::Tcp,
        }
        .to_bytes();
        assert_eq!(Request::from_bytes(&good[..15]), None);
        assert_eq!(Request::from_bytes(&[good.as_slice(), &[0]].concat()), None);
        for at in 0..REQUEST_LEN {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert_eq!(Request::from_bytes(&bad), None, "{at}");
        }
    }
}
