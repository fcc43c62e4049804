//! The ASCII form of internationalised domain names. All else about names is in the guest. This takes 240 KB of tables
//! and 50 KB of code, which in the guest's image would be copied at every start; here, nothing touches them until a
//! program asks.

use idna::AsciiDenyList;
use mote_abi::net::{ASCII_NAME_MAX, NAME_MAX};
use mote_abi::ring::Submission;

use super::super::answer::Errno;
use super::super::guest_data::{copy_in, copy_out};
use super::Network;
use crate::memory::Space;

/// Serves `NAME_TO_ASCII`.
pub(super) fn to_ascii(network: &Network, space: &Space, submission: &Submission) -> Result<u64, Errno> {
    let Submission {
        address, len, offset, ..
    } = *submission;
    network.may_look_up()?;
    if len > NAME_MAX {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    let ascii = convert(&copy_in(space, address, len)?)?;
    copy_out(space, offset, ascii.as_bytes())?;
    Ok(ascii.len() as u64)
}

/// What the URL standard's host parser makes of a domain: UTS #46 without transitional processing and with checks of
/// bidirectional text and joiners, then no forbidden domain code points; hyphens may stand anywhere. The bytes may be
/// anything. (<https://url.spec.whatwg.org/#concept-domain-to-ascii>, with `beStrict` false)
fn convert(name: &[u8]) -> Result<String, Errno> {
    let ascii = idna::domain_to_ascii_cow(name, AsciiDenyList::URL).map_err(|_| Errno(libc::EILSEQ))?;
    if ascii.len() > ASCII_NAME_MAX {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    Ok(ascii.into_owned())
}

#[cfg(test)]
mod tests {
    use mote_abi::layout::MMAP_START;
    use mote_abi::ring::op;

    use super::*;
    use crate::device::fixture::{Fixture, MAPPED, fixture};
    use crate::device::sockets::{Grants, Reach};

    const INTO: u64 = 8192;

    fn granted(name_lookup: bool) -> Fixture {
        let mut f = fixture();
        f.server.grant(Network::new(Grants {
            name_lookup,
            tcp: Reach::Everything,
            udp: Reach::Everything,
            ..Grants::default()
        }));
        f
    }

    /// Has the `len` bytes at an offset of the guest's memory converted, and put at another.
    fn ask(f: &mut Fixture, from: u64, len: u64, into: u64) -> i64 {
        f.call(Submission {
            op: op::NAME_TO_ASCII,
            address: MMAP_START + from,
            len,
            offset: MMAP_START.wrapping_add(into),
            // A name needs no handle.
            handle: u64::MAX,
            ..Submission::default()
        })
    }

    #[test]
    fn the_operation() {
        let mut f = granted(true);
        let name = "BÜCHER\u{3002}example";
        // Across two pages.
        f.put(4090, name.as_bytes());
        let len = name.len() as u64;
        f.put(INTO, &[b'#'; 300]);
        assert_eq!(ask(&mut f, 4090, len, INTO), 21);
        assert_eq!(f.get(INTO, 22), b"xn--bcher-kva.example#");
        // In its own place, and the last bytes of the memory.
        assert_eq!(ask(&mut f, 4090, len, 4090), 21);
        assert_eq!(f.get(4090, 21), b"xn--bcher-kva.example");
        assert_eq!(ask(&mut f, 4090, 21, MAPPED - 21), 21);
        assert_eq!(ask(&mut f, 4090, 0, INTO), 0);
    }

    #[test]
    fn what_the_operation_refuses() {
        let mut f = granted(true);
        f.put(0, "ü".repeat(2000).as_bytes());
        let refused = |errno: i32| -i64::from(errno);
        for len in [NAME_MAX + 1, u64::MAX] {
            assert_eq!(ask(&mut f, 0, len, INTO), refused(libc::ENAMETOOLONG));
        }
        assert_eq!(ask(&mut f, 0, NAME_MAX, INTO), refused(libc::ENAMETOOLONG));
        assert_eq!(ask(&mut f, 0, 3, INTO), refused(libc::EILSEQ), "half a character");
        assert_eq!(ask(&mut f, MAPPED - 2, 4, INTO), refused(libc::EFAULT));
        for into in [MAPPED - 6, u64::MAX - MMAP_START, 0_u64.wrapping_sub(MMAP_START)] {
            assert_eq!(ask(&mut f, 0, 2, into), refused(libc::EFAULT));
        }
        assert_eq!(f.get(MAPPED - 6, 6), [0; 6]);
        let mut f = granted(false);
        assert_eq!(ask(&mut f, 0, 2, INTO), refused(libc::EACCES));
    }

    #[test]
    fn names() {
        for (name, ascii) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("bücher\u{3002}example.", "xn--bcher-kva.example."),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("XN--BCHER-KVA.Example", "xn--bcher-kva.example"),
            // What transitional processing would turn into `fass`, and drop.
            ("faß.de", "xn--fa-hia.de"),
            ("نامه\u{200c}ای.com", "xn--mgba3gch31f060k.com"),
            ("ｌｏｃａｌｈｏｓｔ", "localhost"),
            ("１２７．０．０．１", "127.0.0.1"),
            ("a\u{ad}b", "ab"),
            ("\u{ad}", ""),
            ("_x.-y-.ü", "_x.-y-.xn--tda"),
        ] {
            assert_eq!(convert(name.as_bytes()).as_deref(), Ok(ascii), "{name:?}");
        }
    }

    #[test]
    fn no_names() {
        let invalid: [&[u8]; 12] = [
            b"\xff\xfe",
            b"\xc3",
            b"xn--",
            b"xn--a",
            b"xn--bcher-kv.example",
            "xn--ü".as_bytes(),
            "ü b".as_bytes(),
            "ü\0".as_bytes(),
            "\u{301}ü".as_bytes(),
            // Left to right and right to left in one label; a joiner that joins nothing.
            "aא".as_bytes(),
            "a\u{200d}b".as_bytes(),
            // Stands for `a/c`.
            "ü\u{2100}".as_bytes(),
        ];
        for name in invalid {
            let text = String::from_utf8_lossy(name);
            assert_eq!(convert(name), Err(Errno(libc::EILSEQ)), "{text:?}");
        }
    }

    #[test]
    fn long_names() {
        // Eight characters a label.
        let labels = "ü.".repeat(31);
        let len = |end: &str| convert(format!("{labels}{end}").as_bytes()).map(|ascii| ascii.len());
        assert_eq!(len("123456"), Ok(ASCII_NAME_MAX));
        assert_eq!(len("1234567"), Err(Errno(libc::ENAMETOOLONG)));
        for filler in ["\u{1f600}", "\u{fdfa}", "\u{301}", "例", "xn--", "é", "."] {
            for start in ["", "xn--", "a", "א"] {
                let room = usize::try_from(NAME_MAX).unwrap() - start.len();
                let name = format!("{start}{}", filler.repeat(room / filler.len()));
                assert!(convert(name.as_bytes()).is_err(), "{start:?} {filler:?}");
            }
        }
    }
}
