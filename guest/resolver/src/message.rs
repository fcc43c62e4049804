//! DNS messages: questions as they go out, answers as far as addresses are concerned. (RFC 1035 4)

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest message that is accepted: what the two-byte length of DNS over TCP can say. (RFC 1035 4.2.2)
pub const MESSAGE_MAX: usize = 65535;
/// Longest name in a message. (RFC 1035 2.3.4)
const NAME_MAX: usize = 255;
/// Longest label. (RFC 1035 2.3.4)
const LABEL_MAX: usize = 63;
/// Records of one answer that are looked at.
const RECORDS_MAX: u16 = 256;
/// Addresses that are taken from one answer.
const ADDRESSES_MAX: usize = 64;
/// Links of a chain of aliases that are followed.
const CHAIN_MAX: usize = 16;

/// Bits of the header's second word. (RFC 1035 4.1.1)
const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 15 << 11;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const RCODE: u16 = 15;

/// Classes and types. (RFC 1035 3.2.2, RFC 3596 2.1)
const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    A,
    Aaaa,
}

impl RecordType {
    fn number(self) -> u16 {
        match self {
            RecordType::A => TYPE_A,
            RecordType::Aaaa => TYPE_AAAA,
        }
    }
}

/// A question as it went out: its answer must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub id: u16,
    pub name: WireName,
    pub kind: RecordType,
}

/// A name as messages carry it: labels with their lengths, in lower case, ending with the root.
#[derive(Clone, PartialEq, Eq)]
pub struct WireName(Vec<u8>);

impl fmt::Debug for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WireName({})", self.0.escape_ascii())
    }
}

impl WireName {
    /// Puts a name into a message's form. `None` if it has an empty or too long label, or is too long itself.
    #[must_use]
    pub fn new(name: &str) -> Option<WireName> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut bytes = Vec::with_capacity(name.len() + 2);
        for label in name.split('.') {
            let len = u8::try_from(label.len()).ok()?;
            if len == 0 || label.len() > LABEL_MAX {
                return None;
            }
            bytes.push(len);
            bytes.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        bytes.push(0);
        (bytes.len() <= NAME_MAX).then_some(WireName(bytes))
    }
}

impl Question {
    /// The message that asks it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.name.0.len());
        for word in [self.id, RECURSION_DESIRED, 1, 0, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(&self.name.0);
        bytes.extend(self.kind.number().to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        bytes
    }
}

/// What a server said to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name exists and has these addresses, perhaps none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// The answer did not fit into a datagram.
    Truncated,
    /// The server cannot say at the moment. (SERVFAIL)
    Trouble,
    /// The server will not say: any other response code.
    Refused,
}

/// The bytes are no answer to the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// It ends too early, has a broken name or too many records.
    Malformed,
    /// It answers something else.
    Mismatch,
}

/// Reads the answer to a question.
///
/// # Errors
/// [`MessageError`] for bytes that are not its answer; the real one may still come.
pub fn parse(bytes: &[u8], question: &Question) -> Result<Outcome, MessageError> {
    let mut reader = Reader { bytes, at: 0 };
    let (id, flags) = (reader.word()?, reader.word()?);
    let (questions, answers) = (reader.word()?, reader.word()?);
    let (_authorities, _additional) = (reader.word()?, reader.word()?);
    if id != question.id || flags & RESPONSE == 0 || flags & OPCODE != 0 {
        return Err(MessageError::Mismatch);
    }
    // The question comes back; only servers that did not understand it may leave it out.
    match questions {
        1 => {
            let name = reader.name()?;
            let (kind, class) = (reader.word()?, reader.word()?);
            if name != question.name || kind != question.kind.number() || class != CLASS_IN {
                return Err(MessageError::Mismatch);
            }
        }
        0 if flags & RCODE != 0 => {}
        _ => return Err(MessageError::Mismatch),
    }
    match flags & RCODE {
        0 => {}
        2 => return Ok(Outcome::Trouble),
        3 => return Ok(Outcome::NoName),
        _ => return Ok(Outcome::Refused),
    }
    if flags & TRUNCATED != 0 {
        return Ok(Outcome::Truncated);
    }
    addresses(reader, answers, question).map(Outcome::Addresses)
}

/// A record that matters: an alias or an address.
enum Record {
    Alias(WireName),
    Address(IpAddr),
}

/// The addresses at the end of the chain of aliases that begins with the question's name.
fn addresses(mut reader: Reader<'_>, answers: u16, question: &Question) -> Result<Vec<IpAddr>, MessageError> {
    if answers > RECORDS_MAX {
        return Err(MessageError::Malformed);
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        let owner = reader.name()?;
        let (kind, class) = (reader.word()?, reader.word()?);
        let _time_to_live = (reader.word()?, reader.word()?);
        let len = usize::from(reader.word()?);
        let data = reader.peek(len)?;
        let record = match (kind, class) {
            (TYPE_CNAME, CLASS_IN) => {
                // The alias may point back into the message, so it is read in place.
                let target = Reader { ..reader }.name()?;
                Some(Record::Alias(target))
            }
            (TYPE_A, CLASS_IN) if question.kind == RecordType::A => {
                let ip: [u8; 4] = data.try_into().map_err(|_| MessageError::Malformed)?;
                Some(Record::Address(Ipv4Addr::from(ip).into()))
            }
            (TYPE_AAAA, CLASS_IN) if question.kind == RecordType::Aaaa => {
                let ip: [u8; 16] = data.try_into().map_err(|_| MessageError::Malformed)?;
                Some(Record::Address(Ipv6Addr::from(ip).into()))
            }
            _ => None,
        };
        reader.at += len;
        records.extend(record.map(|record| (owner, record)));
    }

    let mut name = &question.name;
    for _ in 0..CHAIN_MAX {
        let alias = records.iter().find_map(|(owner, record)| match record {
            Record::Alias(target) if owner == name => Some(target),
            _ => None,
        });
        match alias {
            Some(target) => name = target,
            None => break,
        }
    }
    let mut found = Vec::new();
    for (owner, record) in &records {
        if let Record::Address(ip) = record
            && owner == name
            && found.len() < ADDRESSES_MAX
            && !found.contains(ip)
        {
            found.push(*ip);
        }
    }
    Ok(found)
}

/// Reads a message from its beginning.
#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self, len: usize) -> Result<&'a [u8], MessageError> {
        self.at
            .checked_add(len)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or(MessageError::Malformed)
    }

    fn word(&mut self) -> Result<u16, MessageError> {
        let word = self.peek(2)?;
        self.at += 2;
        Ok(u16::from_be_bytes([word[0], word[1]]))
    }

    /// A name, which may end with a pointer to an earlier one. (RFC 1035 4.1.4)
    fn name(&mut self) -> Result<WireName, MessageError> {
        let mut name = Vec::new();
        let mut at = self.at;
        // Where the next pointer must point before: so there is no loop.
        let mut before = self.at;
        let mut behind = None;
        loop {
            let len = *self.bytes.get(at).ok_or(MessageError::Malformed)?;
            match len {
                0 => {
                    name.push(0);
                    break;
                }
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(len));
                    let label = label.ok_or(MessageError::Malformed)?;
                    name.push(len);
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if name.len() >= NAME_MAX {
                        return Err(MessageError::Malformed);
                    }
                    at += 1 + usize::from(len);
                }
                192..=255 => {
                    let low = *self.bytes.get(at + 1).ok_or(MessageError::Malformed)?;
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                    if target >= before {
                        return Err(MessageError::Malformed);
                    }
                    behind.get_or_insert(at + 2);
                    (before, at) = (target, target);
                }
                _ => return Err(MessageError::Malformed),
            }
        }
        self.at = behind.unwrap_or(at + 1);
        Ok(WireName(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: RecordType) -> Question {
        let name = WireName::new(name).unwrap();
        Question { id: 7, name, kind }
    }

    /// The answer's header and question, then `answers` records in `rest`.
    fn answer(question: &Question, flags: u16, answers: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = question.to_bytes();
        bytes[2..4].copy_from_slice(&(RESPONSE | flags).to_be_bytes());
        bytes[6..8].copy_from_slice(&answers.to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn record(owner: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = owner.to_vec();
        bytes.extend([0, kind, 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()]);
        bytes.extend(data);
        bytes
    }

    #[test]
    fn names_as_messages_have_them() {
        assert_eq!(WireName::new("A.bc.").unwrap().0, b"\x01a\x02bc\0");
        for name in ["", ".", "a..b", ".a", &"a".repeat(64), &"a.".repeat(130)] {
            assert_eq!(WireName::new(name), None, "{name}");
        }
    }

    #[test]
    fn addresses_at_the_end_of_a_chain() {
        let q = question("www.example.com", RecordType::A);
        // www.example.com is an alias of "x" + pointer to example.com; x.example.com has an address; so has another.
        let mut rest = record(&[0xc0, 12], 5, &[1, b'x', 0xc0, 16]);
        rest.extend(record(b"\x01X\x07example\x03com\0", 1, &[192, 0, 2, 1]));
        rest.extend(record(b"\x05other\0", 1, &[192, 0, 2, 2]));
        let found = parse(&answer(&q, 0, 3, &rest), &q).unwrap();
        assert_eq!(
            found,
            Outcome::Addresses(alloc::vec![IpAddr::from([192, 0, 2, 1])])
        );
        let q = question("a.b", RecordType::Aaaa);
        let ip = Ipv6Addr::LOCALHOST;
        let found = parse(&answer(&q, 0, 1, &record(&[0xc0, 12], 28, &ip.octets())), &q).unwrap();
        assert_eq!(found, Outcome::Addresses(alloc::vec![ip.into()]));
    }

    #[test]
    fn response_codes() {
        let q = question("a.b", RecordType::A);
        for (flags, outcome) in [
            (0, Outcome::Addresses(Vec::new())),
            (2, Outcome::Trouble),
            (3, Outcome::NoName),
            (5, Outcome::Refused),
            (TRUNCATED, Outcome::Truncated),
        ] {
            assert_eq!(parse(&answer(&q, flags, 0, &[]), &q), Ok(outcome));
        }
    }

    #[test]
    fn answers_to_others_are_refused() {
        let q = question("a.b", RecordType::A);
        let good = answer(&q, 0, 0, &[]);
        let mut other = good.clone();
        other[1] = 8;
        assert_eq!(parse(&other, &q), Err(MessageError::Mismatch));
        assert_eq!(parse(&q.to_bytes(), &q), Err(MessageError::Mismatch));
        for name in ["a.c", "a.b.c"] {
            let mut theirs = question(name, RecordType::A);
            theirs.id = 7;
            assert_eq!(
                parse(&answer(&theirs, 0, 0, &[]), &q),
                Err(MessageError::Mismatch)
            );
        }
        let theirs = question("a.b", RecordType::Aaaa);
        assert_eq!(
            parse(&answer(&theirs, 0, 0, &[]), &q),
            Err(MessageError::Mismatch)
        );
    }

    #[test]
    fn broken_answers_are_refused() {
        let q = question("a.b", RecordType::A);
        // A pointer to itself, forward pointers, a label that is cut short, an address of three bytes.
        let loops: [&[u8]; 5] = [
            &record(&[0xc0, 21], 1, &[1, 2, 3, 4]),
            &record(&[0xc0, 200], 1, &[1, 2, 3, 4]),
            &record(&[0x80, 0], 1, &[1, 2, 3, 4]),
            b"\x3fshort",
            &record(&[0xc0, 12], 1, &[1, 2, 3]),
        ];
        for rest in loops {
            assert_eq!(
                parse(&answer(&q, 0, 1, rest), &q),
                Err(MessageError::Malformed),
                "{rest:?}"
            );
        }
        assert_eq!(parse(&answer(&q, 0, 9999, &[]), &q), Err(MessageError::Malformed));
        let whole = answer(&q, 0, 1, &record(&[0xc0, 12], 1, &[1, 2, 3, 4]));
        for len in 0..whole.len() {
            assert!(parse(&whole[..len], &q).is_err(), "{len}");
        }
    }

    #[test]
    fn a_circle_of_aliases_ends() {
        let q = question("a", RecordType::A);
        let mut rest = record(&[0xc0, 12], 5, b"\x01b\0");
        rest.extend(record(b"\x01b\0", 5, &[0xc0, 12]));
        assert_eq!(
            parse(&answer(&q, 0, 2, &rest), &q),
            Ok(Outcome::Addresses(Vec::new()))
        );
    }
}
