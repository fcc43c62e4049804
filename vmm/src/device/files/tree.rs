//! Changes to the tree of directories, and symbolic links.

use std::os::fd::BorrowedFd;

use mote_abi::fs::PATH_MAX;
use mote_abi::ring::Submission;

use super::beneath::{c_string, parent, without_slashes};
use super::{Errno, checked, directory, writable_directory};
use crate::device::guest_data::{copy_out, text};
use crate::device::objects::Objects;
use crate::memory::Space;

/// Permissions of a new directory, before the umask.
const NEW_DIRECTORY: libc::mode_t = 0o777;

/// The directory that a submission changes something beneath, and the path.
fn target<'o>(
    objects: &'o Objects,
    space: &Space,
    s: &Submission,
) -> Result<(BorrowedFd<'o>, Vec<u8>), Errno> {
    let start = writable_directory(objects, s.handle)?;
    Ok((start.fd(), text(space, s.address, s.len)?))
}

/// The second directory and path of a submission.
fn second<'o>(
    objects: &'o Objects,
    space: &Space,
    s: &Submission,
) -> Result<(BorrowedFd<'o>, Vec<u8>), Errno> {
    let start = writable_directory(objects, s.extra[0])?;
    Ok((start.fd(), text(space, s.offset, s.extra[1])?))
}

/// MAKE_DIRECTORY. Slashes at the path's end mean nothing.
pub(super) fn make_directory(objects: &Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    let (start, path) = target(objects, space, s)?;
    let (parent, name) = parent(start, without_slashes(&path))?;
    // SAFETY: the name is valid for the call.
    checked(unsafe { libc::mkdirat(parent.raw(), name.as_ptr(), NEW_DIRECTORY) })
}

/// REMOVE_DIRECTORY and UNLINK; `flags` are those of unlinkat(2).
pub(super) fn remove(
    objects: &Objects,
    space: &Space,
    s: &Submission,
    flags: libc::c_int,
) -> Result<u64, Errno> {
    let (start, path) = target(objects, space, s)?;
    let (parent, name) = parent(start, &path)?;
    // SAFETY: the name is valid for the call.
    checked(unsafe { libc::unlinkat(parent.raw(), name.as_ptr(), flags) })
}

/// RENAME. A slash at the end of either path asks for a directory, which the kernel checks by a slash behind the old
/// name; it does not follow a symbolic link named so.
pub(super) fn rename(objects: &Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    let (old_start, old_path) = target(objects, space, s)?;
    let (new_start, new_path) = second(objects, space, s)?;
    let directories = old_path.ends_with(b"/") || new_path.ends_with(b"/");
    let (old_parent, mut old_name) = parent(old_start, without_slashes(&old_path))?;
    let (new_parent, new_name) = parent(new_start, without_slashes(&new_path))?;
    if directories {
        let mut bytes = old_name.into_bytes();
        bytes.push(b'/');
        old_name = c_string(&bytes)?;
    }
    // SAFETY: the names are valid for the call.
    checked(unsafe {
        libc::renameat(
            old_parent.raw(),
            old_name.as_ptr(),
            new_parent.raw(),
            new_name.as_ptr(),
        )
    })
}

/// LINK. A symbolic link gets a second name itself.
pub(super) fn link(objects: &Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    let (old_start, old_path) = target(objects, space, s)?;
    let (new_start, new_path) = second(objects, space, s)?;
    let (old_parent, old_name) = parent(old_start, &old_path)?;
    let (new_parent, new_name) = parent(new_start, &new_path)?;
    // SAFETY: the names are valid for the call.
    checked(unsafe {
        libc::linkat(
            old_parent.raw(),
            old_name.as_ptr(),
            new_parent.raw(),
            new_name.as_ptr(),
            0,
        )
    })
}

/// SYMLINK. An absolute text could lead somebody else astray, who is not confined to the directory.
pub(super) fn symlink(objects: &Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    let (start, path) = target(objects, space, s)?;
    let content = text(space, s.offset, s.extra[1])?;
    if content.starts_with(b"/") {
        return Err(Errno(libc::EPERM));
    }
    let content = c_string(&content)?;
    let (parent, name) = parent(start, &path)?;
    // SAFETY: text and name are valid for the call.
    checked(unsafe { libc::symlinkat(content.as_ptr(), parent.raw(), name.as_ptr()) })
}

/// READ_LINK. An absolute text tells of the host outside of the directory: EPERM.
pub(super) fn read_link(objects: &Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    let start = directory(objects, s.handle)?;
    let path = text(space, s.address, s.len)?;
    let (parent, name) = parent(start.fd(), &path)?;
    let mut content = vec![0_u8; usize::try_from(PATH_MAX).unwrap_or(0)];
    // SAFETY: the name is valid for the call, the buffer for its length.
    let n = unsafe {
        libc::readlinkat(
            parent.raw(),
            name.as_ptr(),
            content.as_mut_ptr().cast(),
            content.len(),
        )
    };
    content.truncate(usize::try_from(n).map_err(|_| Errno::last())?);
    if content.starts_with(b"/") {
        return Err(Errno(libc::EPERM));
    }
    if std::str::from_utf8(&content).is_err() {
        return Err(Errno(libc::EILSEQ));
    }
    let len = content.len() as u64;
    if len > s.extra[1] {
        return Err(Errno(libc::ERANGE));
    }
    copy_out(space, s.offset, &content)?;
    Ok(len)
}
