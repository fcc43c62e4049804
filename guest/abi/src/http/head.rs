//! Payloads of the frames that carry more than bytes. A text is a u32 length and as many bytes.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::{FIELDS_MAX, FrameHead, HEAD_MAX, PAYLOAD_MAX, frame};

/// Header fields or trailers in order: name and value. A name may come more than once.
pub type Fields = Vec<(String, Vec<u8>)>;

/// Head of a request. A text that is empty stands for one that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// Counts the front's incoming requests from 0; marks what the program prints. 0 in outgoing requests.
    pub id: u64,
    /// Of an outgoing request.
    pub timeouts: Timeouts,
    /// `GET`, or any other token. (RFC 9110, 9.1)
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host, and port if there is one.
    pub authority: String,
    pub path_with_query: String,
    pub fields: Fields,
}

/// The times of `wasi:http/types.request-options` in nanoseconds; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    pub connect_ns: u64,
    pub first_byte_ns: u64,
    pub between_bytes_ns: u64,
}

/// Head of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    pub fields: Fields,
}

/// Why an exchange failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// See [`super::error_code`].
    pub code: u32,
    /// For people.
    pub text: String,
}

/// The other side sent what is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub(super) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed HTTP exchange: {}", self.0)
    }
}

impl core::error::Error for Malformed {}

/// A head does not fit into its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a message's header fields are more than {FIELDS_MAX}, or longer than {HEAD_MAX} bytes together"
        )
    }
}

impl core::error::Error for TooLong {}

impl RequestHead {
    /// Appends the whole REQUEST frame to `out`.
    ///
    /// # Errors
    /// If it is too long; `out` is as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut writer = Writer::new(out, frame::REQUEST);
        writer.u64(self.id);
        writer.u64(self.timeouts.connect_ns);
        writer.u64(self.timeouts.first_byte_ns);
        writer.u64(self.timeouts.between_bytes_ns);
        for text in [&self.method, &self.scheme, &self.authority, &self.path_with_query] {
            writer.text(text.as_bytes());
        }
        writer.fields(&self.fields);
        writer.end(HEAD_MAX)
    }

    /// Reads the payload of a REQUEST frame.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(payload: &[u8]) -> Result<RequestHead, Malformed> {
        let mut reader = Reader(payload);
        let head = RequestHead {
            id: reader.u64()?,
            timeouts: Timeouts {
                connect_ns: reader.u64()?,
                first_byte_ns: reader.u64()?,
                between_bytes_ns: reader.u64()?,
            },
            method: reader.string()?,
            scheme: reader.string()?,
            authority: reader.string()?,
            path_with_query: reader.string()?,
            fields: reader.fields()?,
        };
        reader.end()?;
        Ok(head)
    }
}

impl ResponseHead {
    /// Appends the whole RESPONSE frame to `out`.
    ///
    /// # Errors
    /// If it is too long; `out` is as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut writer = Writer::new(out, frame::RESPONSE);
        writer.u32(u32::from(self.status));
        writer.fields(&self.fields);
        writer.end(HEAD_MAX)
    }

    /// Reads the payload of a RESPONSE frame.
    ///
    /// # Errors
    /// If it is none. A status is 100 to 999. (RFC 9110, 15)
    pub fn decode(payload: &[u8]) -> Result<ResponseHead, Malformed> {
        let mut reader = Reader(payload);
        let status = u16::try_from(reader.u32()?)
            .ok()
            .filter(|status| (100..1000).contains(status))
            .ok_or(Malformed("a status is not 100 to 999"))?;
        let fields = reader.fields()?;
        reader.end()?;
        Ok(ResponseHead { status, fields })
    }
}

impl Failure {
    /// Appends the whole FAILED frame to `out`. A text that is too long is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        const TEXT_MAX: usize = 4096;
        let text = &self.text[..self.text.floor_char_boundary(TEXT_MAX)];
        let mut writer = Writer::new(out, frame::FAILED);
        writer.u32(self.code);
        writer.text(text.as_bytes());
        // 8 and TEXT_MAX bytes always fit.
        let _ = writer.end(PAYLOAD_MAX);
    }

    /// Reads the payload of a FAILED frame.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(payload: &[u8]) -> Result<Failure, Malformed> {
        let mut reader = Reader(payload);
        let failure = Failure {
            code: reader.u32()?,
            text: reader.string()?,
        };
        reader.end()?;
        if failure.code >= super::error_code::COUNT {
            return Err(Malformed("an error code is unknown"));
        }
        Ok(failure)
    }
}

/// Appends the whole TRAILERS frame to `out`.
///
/// # Errors
/// If it is too long; `out` is as it was.
pub fn encode_fields(fields: &[(String, Vec<u8>)], out: &mut Vec<u8>) -> Result<(), TooLong> {
    let mut writer = Writer::new(out, frame::TRAILERS);
    writer.fields(fields);
    writer.end(HEAD_MAX)
}

/// Reads the payload of a TRAILERS frame.
///
/// # Errors
/// If it is none.
pub fn decode_fields(payload: &[u8]) -> Result<Fields, Malformed> {
    let mut reader = Reader(payload);
    let fields = reader.fields()?;
    reader.end()?;
    Ok(fields)
}

/// Writes one frame behind what is in `out`.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    kind: u32,
    too_long: bool,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Vec<u8>, kind: u32) -> Writer<'a> {
        let start = out.len();
        out.extend_from_slice(&[0; FrameHead::LEN]);
        Writer {
            out,
            start,
            kind,
            too_long: false,
        }
    }

    fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        match u32::try_from(text.len()) {
            // Nothing longer is copied: the frame would not be sent.
            Ok(len) if len <= HEAD_MAX && self.out.len() - self.start <= HEAD_MAX as usize => {
                self.u32(len);
                self.out.extend_from_slice(text);
            }
            _ => self.too_long = true,
        }
    }

    fn fields(&mut self, fields: &[(String, Vec<u8>)]) {
        match u32::try_from(fields.len()) {
            Ok(count) if count <= FIELDS_MAX => {
                self.u32(count);
                for (name, value) in fields {
                    self.text(name.as_bytes());
                    self.text(value);
                }
            }
            _ => self.too_long = true,
        }
    }

    fn end(self, most: u32) -> Result<(), TooLong> {
        let len = u32::try_from(self.out.len() - self.start - FrameHead::LEN);
        match len {
            Ok(len) if len <= most && !self.too_long => {
                let head = FrameHead { kind: self.kind, len };
                self.out[self.start..][..FrameHead::LEN].copy_from_slice(&head.to_bytes());
                Ok(())
            }
            _ => {
                self.out.truncate(self.start);
                Err(TooLong)
            }
        }
    }
}

/// Takes values from the front of a payload.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Malformed("a frame ends within a value"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Malformed("a frame ends within a value"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.u32()?).map_err(|_| Malformed("a frame ends within a value"))?;
        self.bytes(len)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        core::str::from_utf8(self.text()?)
            .map(String::from)
            .map_err(|_| Malformed("a text is not UTF-8"))
    }

    fn fields(&mut self) -> Result<Fields, Malformed> {
        let count = self.u32()?;
        if count > FIELDS_MAX {
            return Err(Malformed("a message has too many header fields"));
        }
        // Not reserved by `count`: a field that is said to be there may not be.
        let mut fields = Fields::new();
        for _ in 0..count {
            let name = self.string()?;
            fields.push((name, self.text()?.into()));
        }
        Ok(fields)
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("a frame is longer than its values"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};

    fn request() -> RequestHead {
        RequestHead {
            id: 7,
            timeouts: Timeouts {
                connect_ns: 1,
                first_byte_ns: u64::MAX,
                between_bytes_ns: 0,
            },
            method: "POST".into(),
            scheme: "http".into(),
            authority: "example.org:80".into(),
            path_with_query: "/a?b=ü".into(),
            fields: vec![
                ("x".into(), vec![0, 255]),
                ("x".into(), vec![]),
                (String::new(), vec![1]),
            ],
        }
    }

    /// Kind and payload of the one frame in `bytes`.
    fn split(bytes: &[u8]) -> (u32, &[u8]) {
        let head = FrameHead::from_bytes(*bytes.first_chunk().unwrap()).unwrap();
        assert_eq!(head.len as usize, bytes.len() - FrameHead::LEN);
        (head.kind, &bytes[FrameHead::LEN..])
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        request().encode(&mut out).unwrap();
        let (kind, payload) = split(&out);
        assert_eq!(kind, frame::REQUEST);
        assert_eq!(RequestHead::decode(payload), Ok(request()));

        let response = ResponseHead {
            status: 204,
            fields: request().fields,
        };
        let mut out = Vec::new();
        response.encode(&mut out).unwrap();
        let (kind, payload) = split(&out);
        assert_eq!(kind, frame::RESPONSE);
        assert_eq!(ResponseHead::decode(payload), Ok(response));

        let mut out = Vec::new();
        encode_fields(&request().fields, &mut out).unwrap();
        assert_eq!(split(&out).0, frame::TRAILERS);
        assert_eq!(decode_fields(split(&out).1), Ok(request().fields));

        let failure = Failure {
            code: 38,
            text: "ä".repeat(5000),
        };
        let mut out = Vec::new();
        failure.encode(&mut out);
        assert_eq!(split(&out).0, frame::FAILED);
        assert_eq!(Failure::decode(split(&out).1).unwrap().text, "ä".repeat(2048));
    }

    #[test]
    fn every_shorter_or_longer_payload_is_refused() {
        let mut out = Vec::new();
        request().encode(&mut out).unwrap();
        let payload = &out[FrameHead::LEN..];
        for len in 0..payload.len() {
            assert!(RequestHead::decode(&payload[..len]).is_err(), "{len}");
        }
        let mut longer = payload.to_vec();
        longer.push(0);
        assert!(RequestHead::decode(&longer).is_err());
    }

    #[test]
    fn hostile_counts_lengths_and_texts_are_refused() {
        let count = |n: u32| decode_fields(&n.to_le_bytes());
        assert_eq!(count(0), Ok(vec![]));
        assert!(count(1).is_err() && count(FIELDS_MAX + 1).is_err() && count(u32::MAX).is_err());
        assert!(decode_fields(&[1, 0, 0, 0, 255, 255, 255, 255, 1]).is_err());
        assert!(decode_fields(&[1, 0, 0, 0, 1, 0, 0, 0, 0xff, 0, 0, 0, 0]).is_err());
        for status in [0u32, 99, 1000, 65_736, u32::MAX] {
            let mut payload = status.to_le_bytes().to_vec();
            payload.extend([0; 4]);
            assert!(ResponseHead::decode(&payload).is_err(), "{status}");
        }
        assert!(Failure::decode(&[39, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn heads_of_frames_are_bounded_by_their_kind() {
        let head = |kind, len| FrameHead::from_bytes(FrameHead { kind, len }.to_bytes());
        for (kind, least, most) in [
            (frame::REQUEST, 4, HEAD_MAX),
            (frame::RESPONSE, 4, HEAD_MAX),
            (frame::TRAILERS, 4, HEAD_MAX),
            (frame::BODY, 1, PAYLOAD_MAX),
            (frame::END, 0, 0),
            (frame::FAILED, 4, PAYLOAD_MAX),
        ] {
            assert_eq!(head(kind, least), Ok(FrameHead { kind, len: least }));
            assert_eq!(head(kind, most), Ok(FrameHead { kind, len: most }));
            assert!(head(kind, most + 1).is_err());
            assert!(least == 0 || head(kind, least - 1).is_err());
        }
        assert!(head(0, 4).is_err() && head(7, 4).is_err());
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut out = vec![1];
        let long = vec![("a".to_string(), vec![0; HEAD_MAX as usize])];
        assert_eq!(encode_fields(&long, &mut out), Err(TooLong));
        let half = vec![("a".to_string(), vec![0; HEAD_MAX as usize / 2]); 3];
        assert_eq!(encode_fields(&half, &mut out), Err(TooLong));
        let many = vec![(String::new(), vec![]); FIELDS_MAX as usize + 1];
        assert_eq!(encode_fields(&many, &mut out), Err(TooLong));
        assert_eq!(out, [1]);
    }
}
