//! Operations on files and directories, each beneath a directory that the program was granted.

mod attributes;
mod beneath;
mod data;
mod list;
mod open;
mod tree;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mote_abi::ring::op;

use super::answer::{Attempt, Errno, Request};
use super::objects::{Object, Objects};
use crate::memory::Space;

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// Nothing beneath it may be changed. Inherited by all that is opened beneath.
    read_only: bool,
    /// Its position and flags belong to the parent as well, and it may not be readable (O_PATH).
    shared: bool,
    /// A shared one, opened anew.
    own: Option<OwnedFd>,
}

impl Directory {
    /// A directory that the program is granted.
    #[must_use]
    pub fn preopened(fd: OwnedFd, read_only: bool) -> Directory {
        Directory {
            fd,
            read_only,
            shared: true,
            own: None,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A descriptor of it that can be read.
    fn readable(&mut self) -> Result<BorrowedFd<'_>, Errno> {
        if self.shared && self.own.is_none() {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY;
            self.own = Some(beneath::open(self.fd(), b".", flags)?);
        }
        Ok(self.own.as_ref().unwrap_or(&self.fd).as_fd())
    }
}

/// An open file that is no directory.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
    read_only: bool,
    /// What would wait is answered with EAGAIN.
    nonblocking: bool,
}

impl OpenFile {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Serves an operation on files; `None` for an operation that is none.
pub(super) fn serve(objects: &mut Objects, space: &Space, request: &mut Request) -> Option<Attempt> {
    let s = &request.submission;
    Some(match s.op {
        op::READ_AT | op::WRITE_AT => data::serve(objects, space, request),
        op::OPEN => open::serve(objects, space, s).into(),
        op::STAT => attributes::stat(objects, space, s).into(),
        op::SET_SIZE => attributes::set_size(objects, s).into(),
        op::SET_TIMES => attributes::set_times(objects, space, s).into(),
        op::SYNC => attributes::sync(objects, s).into(),
        op::ADVISE => attributes::advise(objects, s).into(),
        op::SET_FLAGS => attributes::set_flags(objects, s).into(),
        op::IS_SAME => attributes::is_same(objects, s).into(),
        op::READ_DIRECTORY => list::serve(objects, space, s).into(),
        op::MAKE_DIRECTORY => tree::make_directory(objects, space, s).into(),
        op::REMOVE_DIRECTORY => tree::remove(objects, space, s, libc::AT_REMOVEDIR).into(),
        op::UNLINK => tree::remove(objects, space, s, 0).into(),
        op::RENAME => tree::rename(objects, space, s).into(),
        op::LINK => tree::link(objects, space, s).into(),
        op::SYMLINK => tree::symlink(objects, space, s).into(),
        op::READ_LINK => tree::read_link(objects, space, s).into(),
        _ => return None,
    })
}

/// The directory behind a handle: ENOTDIR for a file, EBADF for anything else.
fn directory(objects: &Objects, handle: u64) -> Result<&Directory, Errno> {
    match objects.get(handle)? {
        Object::Directory(directory) => Ok(directory),
        Object::File(_) => Err(Errno(libc::ENOTDIR)),
        _ => Err(Errno(libc::EBADF)),
    }
}

/// The directory behind a handle, for a change beneath it: EROFS if there may be none.
fn writable_directory(objects: &Objects, handle: u64) -> Result<&Directory, Errno> {
    let directory = directory(objects, handle)?;
    may_change(directory.read_only)?;
    Ok(directory)
}

/// The file behind a handle: EBADF for anything else, as the wasmtime command answers for a directory.
fn file(objects: &Objects, handle: u64) -> Result<&OpenFile, Errno> {
    match objects.get(handle)? {
        Object::File(file) => Ok(file),
        _ => Err(Errno(libc::EBADF)),
    }
}

/// Descriptor of a file or directory, and whether it is read-only.
fn either(objects: &Objects, handle: u64) -> Result<(BorrowedFd<'_>, bool), Errno> {
    match objects.get(handle)? {
        Object::File(file) => Ok((file.fd.as_fd(), file.read_only)),
        Object::Directory(directory) => Ok((directory.fd.as_fd(), directory.read_only)),
        _ => Err(Errno(libc::EBADF)),
    }
}

fn may_change(read_only: bool) -> Result<(), Errno> {
    if read_only {
        Err(Errno(libc::EROFS))
    } else {
        Ok(())
    }
}

/// The result of a system call that returns 0 or -1.
fn checked(result: libc::c_int) -> Result<u64, Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(0) }
}

/// An offset or length in a file.
fn offset(value: u64) -> Result<libc::off_t, Errno> {
    libc::off_t::try_from(value).map_err(|_| Errno(libc::EINVAL))
}

#[cfg(test)]
mod tests;
