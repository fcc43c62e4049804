//! HTTP exchanges between the guest and the HTTP front (`mote-http`), each over a local stream.
//!
//! The stream is end to end: the VMM carries its bytes and knows nothing of them. Both ends check what they read. Each
//! message is a [`FrameHead`] and its payload, all fields little-endian.
//!
//! An incoming request: the front sends REQUEST, BODY..., then TRAILERS or END; the guest answers RESPONSE, BODY...,
//! then TRAILERS or END, or FAILED. An outgoing request is the same with the sides exchanged. Flow control is the
//! stream's own. A stream whose incoming request has gone well on both sides is used for the next one after IDLE; any other
//! is closed.

mod head;

pub use head::{
    Failure, Fields, Malformed, RequestHead, ResponseHead, Timeouts, TooLong, decode_fields, encode_fields,
};

/// Kinds of frames.
pub mod frame {
    /// Payload: a [`super::RequestHead`].
    pub const REQUEST: u32 = 1;
    /// Payload: a [`super::ResponseHead`].
    pub const RESPONSE: u32 = 2;
    /// Payload: bytes of the body, at least one.
    pub const BODY: u32 = 3;
    /// Payload: [`super::Fields`]. Ends the body.
    pub const TRAILERS: u32 = 4;
    /// No payload. Ends the body.
    pub const END: u32 = 5;
    /// The exchange has failed; nothing follows. Payload: a [`super::Failure`].
    pub const FAILED: u32 = 6;
    /// The guest is done with an incoming request, of which it has received all and sent all, and waits on this stream for
    /// the next. No payload.
    pub const IDLE: u32 = 7;
}

/// Codes of a [`Failure`]: the index of each case of `wasi:http/types.error-code` (WASI 0.2, `types.wit`).
pub mod error_code {
    pub const DNS_TIMEOUT: u32 = 0;
    pub const DNS_ERROR: u32 = 1;
    pub const DESTINATION_NOT_FOUND: u32 = 2;
    pub const DESTINATION_UNAVAILABLE: u32 = 3;
    pub const DESTINATION_IP_PROHIBITED: u32 = 4;
    pub const DESTINATION_IP_UNROUTABLE: u32 = 5;
    pub const CONNECTION_REFUSED: u32 = 6;
    pub const CONNECTION_TERMINATED: u32 = 7;
    pub const CONNECTION_TIMEOUT: u32 = 8;
    pub const CONNECTION_READ_TIMEOUT: u32 = 9;
    pub const CONNECTION_WRITE_TIMEOUT: u32 = 10;
    pub const CONNECTION_LIMIT_REACHED: u32 = 11;
    pub const TLS_PROTOCOL_ERROR: u32 = 12;
    pub const TLS_CERTIFICATE_ERROR: u32 = 13;
    pub const TLS_ALERT_RECEIVED: u32 = 14;
    pub const HTTP_REQUEST_DENIED: u32 = 15;
    pub const HTTP_REQUEST_LENGTH_REQUIRED: u32 = 16;
    pub const HTTP_REQUEST_BODY_SIZE: u32 = 17;
    pub const HTTP_REQUEST_METHOD_INVALID: u32 = 18;
    pub const HTTP_REQUEST_URI_INVALID: u32 = 19;
    pub const HTTP_REQUEST_URI_TOO_LONG: u32 = 20;
    pub const HTTP_REQUEST_HEADER_SECTION_SIZE: u32 = 21;
    pub const HTTP_REQUEST_HEADER_SIZE: u32 = 22;
    pub const HTTP_REQUEST_TRAILER_SECTION_SIZE: u32 = 23;
    pub const HTTP_REQUEST_TRAILER_SIZE: u32 = 24;
    pub const HTTP_RESPONSE_INCOMPLETE: u32 = 25;
    pub const HTTP_RESPONSE_HEADER_SECTION_SIZE: u32 = 26;
    pub const HTTP_RESPONSE_HEADER_SIZE: u32 = 27;
    pub const HTTP_RESPONSE_BODY_SIZE: u32 = 28;
    pub const HTTP_RESPONSE_TRAILER_SECTION_SIZE: u32 = 29;
    pub const HTTP_RESPONSE_TRAILER_SIZE: u32 = 30;
    pub const HTTP_RESPONSE_TRANSFER_CODING: u32 = 31;
    pub const HTTP_RESPONSE_CONTENT_CODING: u32 = 32;
    pub const HTTP_RESPONSE_TIMEOUT: u32 = 33;
    pub const HTTP_UPGRADE_FAILED: u32 = 34;
    pub const HTTP_PROTOCOL_ERROR: u32 = 35;
    pub const LOOP_DETECTED: u32 = 36;
    pub const CONFIGURATION_ERROR: u32 = 37;
    pub const INTERNAL_ERROR: u32 = 38;
    /// Cases there are.
    pub const COUNT: u32 = 39;
}

/// Largest payload of a BODY or FAILED frame in bytes.
pub const PAYLOAD_MAX: u32 = 64 << 10;
/// Largest payload of a REQUEST, RESPONSE or TRAILERS frame in bytes.
pub const HEAD_MAX: u32 = 512 << 10;
/// Most header fields of one message.
pub const FIELDS_MAX: u32 = 4096;

/// Head of a frame, 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FrameHead {
    /// See [`frame`].
    pub kind: u32,
    /// Bytes of payload.
    pub len: u32,
}

const _: () = assert!(size_of::<FrameHead>() == 8);

impl FrameHead {
    /// Bytes of a head on the stream.
    pub const LEN: usize = size_of::<FrameHead>();

    /// All of an [`frame::END`] frame.
    pub const END: FrameHead = FrameHead {
        kind: frame::END,
        len: 0,
    };

    /// All of an [`frame::IDLE`] frame.
    pub const IDLE: FrameHead = FrameHead {
        kind: frame::IDLE,
        len: 0,
    };

    /// The head as it stands on the stream.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.kind.to_le_bytes();
        let [e, f, g, h] = self.len.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// The head that stands on the stream.
    ///
    /// # Errors
    /// If there is no such kind of frame, or none of this kind is as long.
    pub const fn from_bytes(bytes: [u8; 8]) -> Result<FrameHead, Malformed> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let head = FrameHead {
            kind: u32::from_le_bytes([a, b, c, d]),
            len: u32::from_le_bytes([e, f, g, h]),
        };
        let (least, most) = match head.kind {
            frame::REQUEST | frame::RESPONSE | frame::TRAILERS => (4, HEAD_MAX),
            frame::BODY => (1, PAYLOAD_MAX),
            frame::END | frame::IDLE => (0, 0),
            frame::FAILED => (4, PAYLOAD_MAX),
            _ => return Err(Malformed("a frame's kind is unknown")),
        };
        if head.len < least || head.len > most {
            return Err(Malformed("a frame's length is out of range"));
        }
        Ok(head)
    }
}
