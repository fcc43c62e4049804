//! The file that `mote-compile` writes and `mote-vmm` maps: one header page, then Wasmtime's serialized module.
//!
//! The payload starts on a page boundary, so that its code runs in place from the page cache. The header tells the
//! VMM, which never parses the payload, which pages may be executable and what memory the program starts with.

use crate::{PAGE_SIZE, VERSION};

/// First bytes of every code file.
pub const MAGIC: [u8; 8] = *b"MOTECODE";

/// Offset of the payload in the file.
pub const PAYLOAD_OFFSET: u64 = PAGE_SIZE;

/// What kind of program the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A core module that exports `_start` (WASI 0.1 command).
    Module,
    /// A component that exports `wasi:cli/run` (WASI 0.2 command).
    Component,
    /// A component that exports `wasi:http/incoming-handler`.
    HttpProxy,
    /// A component that exports both. Who starts it decides: the boot page says one of the two above.
    CommandAndProxy,
    /// A conformance script with its modules. Only an image that is built for conformance tests runs it.
    Script,
}

impl Kind {
    /// The number that stands for the kind in [`Header::kind`].
    #[must_use]
    pub const fn to_raw(self) -> u32 {
        match self {
            Kind::Module => 1,
            Kind::Component => 2,
            Kind::HttpProxy => 3,
            Kind::CommandAndProxy => 4,
            Kind::Script => 0x100,
        }
    }

    /// The kind that `raw` stands for.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Kind> {
        match raw {
            1 => Some(Kind::Module),
            2 => Some(Kind::Component),
            3 => Some(Kind::HttpProxy),
            4 => Some(Kind::CommandAndProxy),
            0x100 => Some(Kind::Script),
            _ => None,
        }
    }
}

/// What a program may ask the host for beyond files and standard streams, by its imports: bits of
/// [`Header::imports`].
pub mod import {
    /// TCP or UDP sockets of its own.
    pub const SOCKETS: u64 = 1;
    /// Name lookup.
    pub const NAME_LOOKUP: u64 = 2;
    /// HTTP requests to the outside.
    pub const HTTP: u64 = 4;
}

/// The header page of a code file. Integers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    pub magic: [u8; 8],
    /// [`VERSION`] of the writer.
    pub abi_version: u32,
    /// See [`Kind`].
    pub kind: u32,
    /// Features that the code may use: [`crate::cpu::Features`].
    pub features: u64,
    /// Length of the payload in bytes.
    pub payload_len: u64,
    /// The payload's executable range, relative to the payload, in whole pages.
    pub text_offset: u64,
    pub text_len: u64,
    /// Initial size in bytes of the first linear memory that instantiation creates, 0 if it has none or if that is
    /// not known. The VMM maps it ahead to save the guest an exit.
    pub memory_min: u64,
    /// SHA-256 of the Wasm file that this was compiled from.
    pub source_sha256: [u8; 32],
    /// SHA-256 of the payload.
    pub payload_sha256: [u8; 32],
    /// Version of the compiler as ASCII, padded with zeros ("48.0.8").
    pub wasmtime: [u8; 16],
    /// See [`import`]: helpers of the host that nothing here asks for need not be started.
    pub imports: u64,
}

/// Bytes of [`Header`] on disk; the rest of the header page is zero.
pub const HEADER_LEN: usize = 144;

const _: () = assert!(size_of::<Header>() == HEADER_LEN);
const _: () = assert!(core::mem::offset_of!(Header, features) == 16);
const _: () = assert!(core::mem::offset_of!(Header, source_sha256) == 56);
const _: () = assert!(core::mem::offset_of!(Header, wasmtime) == 120);
const _: () = assert!(core::mem::offset_of!(Header, imports) == 136);

/// Why a code file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The file is shorter than its header says, or than a header.
    Truncated,
    /// The file does not start with [`MAGIC`].
    Magic,
    /// The file was written for another [`VERSION`].
    Version(u32),
    /// The kind is none that this version knows.
    Kind(u32),
    /// The executable range is not page-aligned or not inside the payload.
    Text,
}

impl core::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the file is shorter than its header says"),
            Self::Magic => f.write_str("the file is not a Mote code file"),
            Self::Version(v) => write!(f, "the file has format version {v}, this is version {VERSION}"),
            Self::Kind(k) => write!(f, "the file holds a program of unknown kind {k}"),
            Self::Text => f.write_str("the executable range is not page-aligned or not inside the payload"),
        }
    }
}

impl core::error::Error for HeaderError {}

impl Header {
    /// The header as it stands at the start of a file.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(&self.magic);
        out[8..12].copy_from_slice(&self.abi_version.to_le_bytes());
        out[12..16].copy_from_slice(&self.kind.to_le_bytes());
        out[16..24].copy_from_slice(&self.features.to_le_bytes());
        out[24..32].copy_from_slice(&self.payload_len.to_le_bytes());
        out[32..40].copy_from_slice(&self.text_offset.to_le_bytes());
        out[40..48].copy_from_slice(&self.text_len.to_le_bytes());
        out[48..56].copy_from_slice(&self.memory_min.to_le_bytes());
        out[56..88].copy_from_slice(&self.source_sha256);
        out[88..120].copy_from_slice(&self.payload_sha256);
        out[120..136].copy_from_slice(&self.wasmtime);
        out[136..144].copy_from_slice(&self.imports.to_le_bytes());
        out
    }

    /// Reads the header from the first bytes of a file of `file_len` bytes and checks every field but the digests.
    ///
    /// # Errors
    /// A [`HeaderError`] for the first field that is wrong.
    pub fn parse(bytes: &[u8], file_len: u64) -> Result<Header, HeaderError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(HeaderError::Truncated);
        };
        let u32_at = |at: usize| u32::from_le_bytes(array(bytes, at));
        let u64_at = |at: usize| u64::from_le_bytes(array(bytes, at));
        let header = Header {
            magic: array(bytes, 0),
            abi_version: u32_at(8),
            kind: u32_at(12),
            features: u64_at(16),
            payload_len: u64_at(24),
            text_offset: u64_at(32),
            text_len: u64_at(40),
            memory_min: u64_at(48),
            source_sha256: array(bytes, 56),
            payload_sha256: array(bytes, 88),
            wasmtime: array(bytes, 120),
            imports: u64_at(136),
        };
        header.check(file_len)?;
        Ok(header)
    }

    fn check(&self, file_len: u64) -> Result<(), HeaderError> {
        if self.magic != MAGIC {
            return Err(HeaderError::Magic);
        }
        if self.abi_version != VERSION {
            return Err(HeaderError::Version(self.abi_version));
        }
        if Kind::from_raw(self.kind).is_none() {
            return Err(HeaderError::Kind(self.kind));
        }
        if self.payload_len == 0 || PAYLOAD_OFFSET.checked_add(self.payload_len) != Some(file_len) {
            return Err(HeaderError::Truncated);
        }
        let pages = self.payload_len.next_multiple_of(PAGE_SIZE);
        let aligned = self.text_offset.is_multiple_of(PAGE_SIZE) && self.text_len.is_multiple_of(PAGE_SIZE);
        match self.text_offset.checked_add(self.text_len) {
            Some(end) if aligned && end <= pages => Ok(()),
            _ => Err(HeaderError::Text),
        }
    }
}

fn array<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    core::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            magic: MAGIC,
            abi_version: VERSION,
            kind: Kind::Component.to_raw(),
            features: 0x1234,
            payload_len: 3 * PAGE_SIZE + 5,
            text_offset: PAGE_SIZE,
            text_len: 2 * PAGE_SIZE,
            memory_min: 65536,
            source_sha256: [1; 32],
            payload_sha256: [2; 32],
            wasmtime: *b"48.0.8\0\0\0\0\0\0\0\0\0\0",
            imports: import::SOCKETS | import::HTTP,
        }
    }

    fn parse(h: &Header) -> Result<Header, HeaderError> {
        Header::parse(&h.to_bytes(), PAYLOAD_OFFSET + h.payload_len)
    }

    #[test]
    fn round_trip() {
        assert_eq!(parse(&header()), Ok(header()));
    }

    #[test]
    fn hostile_fields_are_refused() {
        let reject = |change: fn(&mut Header), want: HeaderError| {
            let mut h = header();
            change(&mut h);
            assert_eq!(
                Header::parse(&h.to_bytes(), PAYLOAD_OFFSET + 3 * PAGE_SIZE + 5),
                Err(want)
            );
        };
        reject(|h| h.magic[0] = 0, HeaderError::Magic);
        reject(|h| h.abi_version = 9, HeaderError::Version(9));
        reject(|h| h.kind = 0, HeaderError::Kind(0));
        reject(|h| h.payload_len += 1, HeaderError::Truncated);
        reject(|h| h.payload_len = u64::MAX, HeaderError::Truncated);
        reject(|h| h.text_offset = 1, HeaderError::Text);
        reject(|h| h.text_len = 4 * PAGE_SIZE, HeaderError::Text);
        reject(|h| h.text_offset = u64::MAX - PAGE_SIZE + 1, HeaderError::Text);
        assert_eq!(Header::parse(&[0; 10], 10), Err(HeaderError::Truncated));
    }
}
