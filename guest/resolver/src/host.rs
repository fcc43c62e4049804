//! What a program may ask for: an address or a name, told apart as the URL standard does, as the wasmtime command
//! does it too. (https://url.spec.whatwg.org/#host-parsing)

use alloc::string::{String, ToString};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host as a program names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Nothing has to be looked up.
    Address(IpAddr),
    /// A name in lower case.
    Name(String),
}

/// The text is neither an address nor a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHost;

impl Host {
    /// Reads a host. Names are ASCII: an internationalised name is given in its Punycode form (`xn--...`).
    ///
    /// # Errors
    /// [`InvalidHost`] for an empty text, a character that no host may have, a broken address.
    pub fn parse(text: &str) -> Result<Host, InvalidHost> {
        if let Some(rest) = text.strip_prefix('[') {
            let ip = rest.strip_suffix(']').and_then(|ip| ip.parse::<Ipv6Addr>().ok());
            return ip.map(|ip| Host::Address(ip.into())).ok_or(InvalidHost);
        }
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            return Ok(Host::Address(ip.into()));
        }
        if text.is_empty() || !text.bytes().all(may_stand_in_a_name) {
            return Err(InvalidHost);
        }
        if ends_in_a_number(text) {
            return ipv4(text).map(|ip| Host::Address(ip.into())).ok_or(InvalidHost);
        }
        Ok(Host::Name(text.to_ascii_lowercase().to_string()))
    }
}

/// Everything but the forbidden domain code points, and ASCII only.
fn may_stand_in_a_name(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"#%/:<>?@[\\]^|".contains(&byte)
}

/// The last part that is not empty, and the others.
fn split_last(text: &str) -> &str {
    let text = text.strip_suffix('.').unwrap_or(text);
    text.rsplit('.').next().unwrap_or(text)
}

fn ends_in_a_number(text: &str) -> bool {
    let last = split_last(text);
    (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())) || number(last).is_some()
}

/// A number as C writes it: `10`, `012`, `0xa`. (The URL standard's IPv4 number parser)
fn number(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if digits.is_empty() {
        return Some(0);
    }
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// One to four numbers, of which the last fills what the others leave. (The URL standard's IPv4 parser)
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut address = 0_u64;
    let mut parts = 0_u32;
    let mut last = 0;
    for part in text.split('.') {
        if parts > 0 {
            if last > 255 {
                return None;
            }
            address |= last << (8 * (4 - parts));
        }
        parts += 1;
        if parts > 4 {
            return None;
        }
        last = number(part)?;
    }
    if last >= 1 << (8 * (5 - parts)) {
        return None;
    }
    u32::try_from(address | last).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Host, InvalidHost> {
        Ok(Host::Address(text.parse().unwrap()))
    }

    #[test]
    fn addresses() {
        for (text, ip) in [
            ("127.0.0.1", "127.0.0.1"),
            ("192.0.2.0", "192.0.2.0"),
            ("127.1", "127.0.0.1"),
            ("0x7f.0.0.1.", "127.0.0.1"),
            ("010.0.0.1", "8.0.0.1"),
            ("4294967295", "255.255.255.255"),
            ("::", "::"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("DEAD:BEEF::0", "dead:beef::"),
        ] {
            assert_eq!(Host::parse(text), address(ip), "{text}");
        }
    }

    #[test]
    fn names() {
        for text in [
            "localhost",
            "a.b.c.",
            "_srv.example",
            "1.2.3.example",
            "0x",
            "x--y",
        ] {
            if text != "0x" {
                assert_eq!(Host::parse(text), Ok(Host::Name(text.into())), "{text}");
            }
        }
        assert_eq!(Host::parse("Example.COM"), Ok(Host::Name("example.com".into())));
    }

    #[test]
    fn neither() {
        for text in [
            "",
            " ",
            "a b",
            "a.b<&>",
            "127.0.0.1:80",
            "[::]:80",
            "[::",
            "http://example.com/",
            "1.2.3.4.5",
            "256.0.0.1",
            "1.2.3.256",
            "4294967296",
            "1.2.3.08",
            "a.99999999999999999999999",
            "münchen.de",
            "a\0",
        ] {
            assert_eq!(Host::parse(text), Err(InvalidHost), "{text:?}");
        }
    }
}
