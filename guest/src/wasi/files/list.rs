//! Listing a directory.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use mote_abi::fs::{EntryHead, Type};
use mote_abi::ring::{Submission, op};

use crate::runtime::size;
use crate::vm::ring::{Errno, Ring};
use crate::wasi::errno::EIO;

/// What a directory has: everything but `.` and `..`.
pub(crate) struct Entry {
    pub(crate) inode: u64,
    pub(crate) kind: Type,
    /// `None` if it is not UTF-8.
    pub(crate) name: Option<String>,
}

/// Bytes asked for at once.
const CHUNK: usize = 64 << 10;

/// All entries of a directory, in the host's order.
pub(crate) fn list(ring: &mut Ring, handle: u64) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    let mut chunk = vec![0_u8; CHUNK];
    let mut offset = 0;
    loop {
        let len = ring.request(Submission {
            op: op::READ_DIRECTORY,
            handle,
            address: chunk.as_mut_ptr() as u64,
            len: CHUNK as u64,
            offset,
            ..Submission::default()
        })?;
        if len == 0 {
            return Ok(entries);
        }
        parse(chunk.get(..size(len)).ok_or(EIO)?, &mut entries).ok_or(EIO)?;
        offset = 1;
    }
}

/// Takes the entries out of what the VMM filled: heads at multiples of 8, each with its name behind it.
fn parse(mut rest: &[u8], entries: &mut Vec<Entry>) -> Option<()> {
    const HEAD: usize = size_of::<EntryHead>();
    while !rest.is_empty() {
        let inode = u64::from_le_bytes(*rest.first_chunk()?);
        let kind = u32::from_le_bytes(*rest.get(8..)?.first_chunk()?);
        let len = u32::from_le_bytes(*rest.get(12..)?.first_chunk()?) as usize;
        let name = rest.get(HEAD..HEAD.checked_add(len)?)?;
        entries.push(Entry {
            inode,
            kind: u8::try_from(kind).map_or(Type::Unknown, Type::from_raw),
            name: core::str::from_utf8(name).ok().map(String::from),
        });
        let next = (HEAD + len).next_multiple_of(8);
        rest = rest.get(next..).unwrap_or(&[]);
    }
    Some(())
}
