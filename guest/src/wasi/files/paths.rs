//! Operations on paths. All are relative to a directory's handle and resolved beneath it by the VMM.

use alloc::vec;
use alloc::vec::Vec;

use mote_abi::fs::{PATH_MAX, Stat, Times, Type};
use mote_abi::ring::{Submission, op};

use super::path;
use crate::runtime::size;
use crate::vm::ring::{Errno, Ring};

/// A place: a path beneath a directory.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    /// Handle of the directory.
    pub(crate) directory: u64,
    pub(crate) path: &'a str,
}

impl At<'_> {
    fn request(self, op: u64) -> Result<Submission, Errno> {
        let (address, len) = path(self.path)?;
        Ok(Submission {
            op,
            handle: self.directory,
            address,
            len,
            ..Submission::default()
        })
    }

    /// A request that names a second place.
    fn request_to(self, op: u64, to: At<'_>) -> Result<Submission, Errno> {
        let (offset, len) = path(to.path)?;
        Ok(Submission {
            offset,
            extra: [to.directory, len],
            ..self.request(op)?
        })
    }
}

/// Opens a place with `mote_abi::fs::open` flags: the new handle and what it stands for.
pub(crate) fn open(ring: &mut Ring, at: At<'_>, flags: u64) -> Result<(u64, Type), Errno> {
    let request = Submission {
        extra: [flags, 0],
        ..at.request(op::OPEN)?
    };
    let result = ring.request(request)?;
    Ok((result & 0xffff_ffff, Type::from_raw(result.to_le_bytes()[4])))
}

/// Status of a place.
pub(crate) fn stat_at(ring: &mut Ring, at: At<'_>, follow: bool) -> Result<Stat, Errno> {
    let mut stat = Stat::default();
    let request = Submission {
        extra: [u64::from(follow), (&raw mut stat) as u64],
        ..at.request(op::STAT)?
    };
    ring.request(request)?;
    Ok(stat)
}

/// Sets the times of a place.
pub(crate) fn set_times_at(ring: &mut Ring, at: At<'_>, follow: bool, times: &Times) -> Result<(), Errno> {
    let request = Submission {
        extra: [u64::from(follow), core::ptr::from_ref(times) as u64],
        ..at.request(op::SET_TIMES)?
    };
    ring.request(request).map(drop)
}

/// Makes a directory.
pub(crate) fn make_directory(ring: &mut Ring, at: At<'_>) -> Result<(), Errno> {
    ring.request(at.request(op::MAKE_DIRECTORY)?).map(drop)
}

/// Removes an empty directory.
pub(crate) fn remove_directory(ring: &mut Ring, at: At<'_>) -> Result<(), Errno> {
    ring.request(at.request(op::REMOVE_DIRECTORY)?).map(drop)
}

/// Removes what is no directory.
pub(crate) fn unlink(ring: &mut Ring, at: At<'_>) -> Result<(), Errno> {
    ring.request(at.request(op::UNLINK)?).map(drop)
}

/// Moves `from` to `to`.
pub(crate) fn rename(ring: &mut Ring, from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    ring.request(from.request_to(op::RENAME, to)?).map(drop)
}

/// Makes `to` a hard link to `from`.
pub(crate) fn link(ring: &mut Ring, from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    ring.request(from.request_to(op::LINK, to)?).map(drop)
}

/// Makes a symbolic link with `text` at a place.
pub(crate) fn symlink(ring: &mut Ring, text: &str, at: At<'_>) -> Result<(), Errno> {
    let (offset, len) = path(text)?;
    let request = Submission {
        offset,
        extra: [0, len],
        ..at.request(op::SYMLINK)?
    };
    ring.request(request).map(drop)
}

/// Text of the symbolic link at a place.
pub(crate) fn read_link(ring: &mut Ring, at: At<'_>) -> Result<Vec<u8>, Errno> {
    let mut text = vec![0; size(PATH_MAX)];
    let request = Submission {
        offset: text.as_mut_ptr() as u64,
        extra: [0, PATH_MAX],
        ..at.request(op::READ_LINK)?
    };
    let len = ring.request(request)?;
    text.truncate(size(len));
    Ok(text)
}
