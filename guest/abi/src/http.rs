//! HTTP exchanges between the guest and the HTTP front (`mote-http`), over one local stream for each exchange.
//!
//! The stream is end to end: the VMM carries its bytes and knows nothing of them. Both ends check what they read. Each
//! message is a [`FrameHead`] and its payload, all fields little-endian.
//!
//! An incoming request: the front sends REQUEST, BODY..., then TRAILERS or END; the guest answers RESPONSE, BODY...,
//! then TRAILERS or END, or FAILED. An outgoing request is the same with the sides exchanged. Flow control is the
//! stream's own.

/// Kinds of frames.
pub mod frame {
    /// Payload: a [`super::RequestHead`] and its texts.
    pub const REQUEST: u32 = 1;
    /// Payload: a [`super::ResponseHead`] and its fields.
    pub const RESPONSE: u32 = 2;
    /// Payload: bytes of the body.
    pub const BODY: u32 = 3;
    /// Payload: fields. Ends the body.
    pub const TRAILERS: u32 = 4;
    /// No payload. Ends the body.
    pub const END: u32 = 5;
    /// The exchange has failed. Payload: a u32 error code (the case's index in `wasi:http/types.error-code`) and a
    /// text for people.
    pub const FAILED: u32 = 6;
}

/// Largest payload of a frame in bytes.
pub const PAYLOAD_MAX: u32 = 64 << 10;
/// Most bytes of all header fields together. REQUEST, RESPONSE and TRAILERS frames may be this long.
pub const HEAD_MAX: u32 = 512 << 10;

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
