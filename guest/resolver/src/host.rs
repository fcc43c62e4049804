//! What a program may ask for: an address or a name, told apart as the URL standard does, as the wasmtime command
//! does it too, but for the tables that other scripts than ASCII need. (https://url.spec.whatwg.org/#host-parsing)

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
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
    /// Reads a host in ASCII, as HTTP has it: an internationalised name is given in its Punycode form (`xn--...`), which
    /// is not looked into.
    ///
    /// # Errors
    /// [`InvalidHost`] for an empty text, a character that no host may have, a broken address.
    pub fn parse(text: &str) -> Result<Host, InvalidHost> {
        Host::ipv6(text).unwrap_or_else(|| Host::ascii(text))
    }

    /// Reads a host in any script, percent-encoded bytes included. `to_ascii` makes ASCII of a domain name as the URL
    /// standard does; it is asked only if the name is not ASCII, or has a label in Punycode, which has to be valid. The
    /// bytes that it is given need not be UTF-8.
    ///
    /// # Errors
    /// Those of [`Host::parse`] and of `to_ascii`.
    pub fn parse_unicode<E: From<InvalidHost>>(
        text: &str,
        to_ascii: impl FnOnce(&[u8]) -> Result<String, E>,
    ) -> Result<Host, E> {
        if let Some(host) = Host::ipv6(text) {
            return Ok(host?);
        }
        let domain = percent_decoded(text.as_bytes());
        let ascii = match core::str::from_utf8(&domain) {
            Ok(domain) if domain.is_ascii() && !domain.split('.').any(is_punycode) => Cow::Borrowed(domain),
            _ => Cow::Owned(to_ascii(&domain)?),
        };
        Ok(Host::ascii(&ascii)?)
    }

    /// What a text with brackets, or one that is an IPv6 address without them, stands for.
    fn ipv6(text: &str) -> Option<Result<Host, InvalidHost>> {
        let parse = |ip: &str| ip.parse::<Ipv6Addr>().map(|ip| Host::Address(ip.into()));
        match text.strip_prefix('[') {
            Some(rest) => Some(
                rest.strip_suffix(']')
                    .and_then(|ip| parse(ip).ok())
                    .ok_or(InvalidHost),
            ),
            None => parse(text).ok().map(Ok),
        }
    }

    fn ascii(text: &str) -> Result<Host, InvalidHost> {
        if text.is_empty() || !text.bytes().all(may_stand_in_a_name) {
            return Err(InvalidHost);
        }
        if ends_in_a_number(text) {
            return ipv4(text).map(|ip| Host::Address(ip.into())).ok_or(InvalidHost);
        }
        Ok(Host::Name(text.to_ascii_lowercase().to_string()))
    }
}

/// Whether a label claims to be in Punycode. (RFC 5890 2.3.1)
fn is_punycode(label: &str) -> bool {
    label
        .as_bytes()
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"))
}

/// A percent sign without two hexadecimal digits after it stays. (https://url.spec.whatwg.org/#percent-decode)
fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return text.into();
    }
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => u8::try_from(16 * high + low).ok(),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    bytes.into()
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
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    // What is too large for this is a number all the same, of no address.
    Some(u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
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
            "0xfffffffffffffffff",
        ] {
            assert_eq!(Host::parse(text), Err(InvalidHost), "{text:?}");
        }
    }

    fn unicode(text: &str, ascii: Result<&str, InvalidHost>) -> (Result<Host, InvalidHost>, Option<Vec<u8>>) {
        let mut asked = None;
        let host = Host::parse_unicode(text, |name| {
            asked = Some(name.to_vec());
            ascii.map(String::from)
        });
        (host, asked)
    }

    #[test]
    fn what_is_plain_ascii_needs_no_tables() {
        for text in [
            "::1",
            "[::1]",
            "[::",
            "[ü]",
            "127.1",
            "Example.COM",
            "a%",
            "%zz",
            "%",
            "",
            "xn-",
            "axn--b",
        ] {
            assert_eq!(
                unicode(text, Err(InvalidHost)),
                (Host::parse(text), None),
                "{text:?}"
            );
        }
        for (text, decoded) in [
            ("%41.b", "a.b"),
            ("%31%32%37.1", "127.1"),
            ("a%2f", "/"),
            ("%2541", "%"),
        ] {
            assert_eq!(
                unicode(text, Err(InvalidHost)),
                (Host::parse(decoded), None),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_not_is_converted() {
        for (text, bytes) in [
            ("bücher.de", "bücher.de".as_bytes()),
            ("b%C3%BCcher.de", "bücher.de".as_bytes()),
            ("%ff%FE%", b"\xff\xfe%"),
            ("a.Xn--b", b"a.Xn--b"),
            ("%78n--b", b"xn--b"),
        ] {
            let asked = Some(bytes.to_vec());
            let name = Host::Name("x.y".into());
            assert_eq!(unicode(text, Ok("x.y")), (Ok(name), asked.clone()), "{text}");
            assert_eq!(
                unicode(text, Ok("127.1")),
                (address("127.0.0.1"), asked.clone()),
                "{text}"
            );
            for none in ["", "1.2.3.4.5"] {
                assert_eq!(unicode(text, Ok(none)).0, Err(InvalidHost), "{text}");
            }
            assert_eq!(
                unicode(text, Err(InvalidHost)),
                (Err(InvalidHost), asked),
                "{text}"
            );
        }
    }
}
