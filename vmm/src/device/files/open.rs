//! OPEN.

use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mote_abi::fs::{Type, open};
use mote_abi::ring::Submission;

use super::{Directory, Errno, OpenFile, beneath, directory, may_change};
use crate::device::guest_data::text;
use crate::device::objects::{Object, Objects};
use crate::memory::Space;

/// Opens a path. The result is as [`mote_abi::ring::op::OPEN`] says.
pub(super) fn serve(objects: &mut Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    let asked = s.extra[0];
    let flags = flags(asked)?;
    let start = directory(objects, s.handle)?;
    let read_only = start.read_only;
    if changes(asked) {
        may_change(read_only)?;
    }
    let path = text(space, s.address, s.len)?;
    // Before anything is made on the disk.
    objects.check_room()?;
    let fd = beneath::open(start.fd(), &path, flags)?;
    let kind = type_of(status(fd.as_fd())?.st_mode);
    let object = if kind == Type::Directory {
        Object::Directory(Directory {
            fd,
            read_only,
            shared: false,
            own: None,
        })
    } else if asked & open::DIRECTORY != 0 {
        return Err(Errno(libc::ENOTDIR));
    } else {
        Object::File(OpenFile {
            fd,
            read_only,
            nonblocking: asked & open::NONBLOCK != 0,
        })
    };
    let handle = objects.insert(object)?;
    Ok(handle | u64::from(kind as u8) << 32)
}

/// Whether the program asks for something that changes the file, or can.
fn changes(asked: u64) -> bool {
    asked & (open::WRITE | open::CREATE | open::TRUNCATE) != 0
}

/// The flags of open(2), as the wasmtime command chooses them: what makes or cuts a file needs the right to write it,
/// what does not write reads. O_DIRECTORY is not among them: a symbolic link that is not to be followed is ELOOP.
///
/// The descriptor itself never blocks, so that a FIFO holds nobody up.
fn flags(asked: u64) -> Result<libc::c_int, Errno> {
    let has = |bit| asked & bit != 0;
    let makes = open::CREATE | open::EXCLUSIVE | open::TRUNCATE;
    if asked & !open::ALL != 0 || has(open::DIRECTORY) && has(makes) {
        return Err(Errno(libc::EINVAL));
    }
    let mut flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    flags |= match (has(open::READ) || !has(open::WRITE), changes(asked)) {
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        (_, false) => libc::O_RDONLY,
    };
    for (bit, flag) in [
        (open::CREATE, libc::O_CREAT),
        (open::TRUNCATE, libc::O_TRUNC),
        (open::APPEND, libc::O_APPEND),
        (open::DSYNC, libc::O_DSYNC),
        (open::SYNC, libc::O_SYNC),
    ] {
        if has(bit) {
            flags |= flag;
        }
    }
    if has(open::CREATE) && has(open::EXCLUSIVE) {
        flags |= libc::O_EXCL;
    }
    if !has(open::FOLLOW) {
        flags |= libc::O_NOFOLLOW;
    }
    Ok(flags)
}

/// fstat(2).
pub(super) fn status(fd: BorrowedFd<'_>) -> Result<libc::stat, Errno> {
    // SAFETY: an all-zero `stat` is a valid value.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: the pointer is valid for writes.
    super::checked(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) })?;
    Ok(stat)
}

/// The type in a file's mode. (inode(7))
pub(super) fn type_of(mode: libc::mode_t) -> Type {
    match mode & libc::S_IFMT {
        libc::S_IFBLK => Type::BlockDevice,
        libc::S_IFCHR => Type::CharacterDevice,
        libc::S_IFDIR => Type::Directory,
        libc::S_IFREG => Type::RegularFile,
        libc::S_IFSOCK => Type::Socket,
        libc::S_IFLNK => Type::SymbolicLink,
        libc::S_IFIFO => Type::Fifo,
        _ => Type::Unknown,
    }
}
