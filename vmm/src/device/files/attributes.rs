//! What describes an open file or a path, and what is done to an open file as a whole.

use std::ffi::CStr;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mote_abi::fs::{advice, open};
use mote_abi::ring::Submission;

use super::open::{status, type_of};
use super::{Errno, beneath, checked, directory, either, file, may_change, offset, writable_directory};
use crate::device::guest_data::{copy_in, copy_out, text};
use crate::device::objects::{Object, Objects};
use crate::memory::Space;

/// STAT.
pub(super) fn stat(objects: &Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    let stat = if s.len == 0 {
        status(either(objects, s.handle)?.0)?
    } else {
        let start = directory(objects, s.handle)?;
        let path = text(space, s.address, s.len)?;
        stat_path(start.fd(), &path, follows(s))?
    };
    copy_out(space, s.extra[1], &encode(&stat))?;
    Ok(0)
}

fn follows(s: &Submission) -> bool {
    s.extra[0] & 1 != 0
}

fn stat_path(start: BorrowedFd<'_>, path: &[u8], follow: bool) -> Result<libc::stat, Errno> {
    if !follow && let Some(name) = beneath::single_name(path) {
        return stat_name(start.as_raw_fd(), &name);
    }
    let flags = if follow { 0 } else { libc::O_NOFOLLOW };
    let found = beneath::open(start, path, libc::O_PATH | flags)?;
    status(found.as_fd())
}

/// Status of a single name in a directory; a symbolic link is not followed.
pub(super) fn stat_name(dir: libc::c_int, name: &CStr) -> Result<libc::stat, Errno> {
    // SAFETY: an all-zero `stat` is a valid value.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: name and structure are valid for the call.
    checked(unsafe { libc::fstatat(dir, name.as_ptr(), &raw mut stat, libc::AT_SYMLINK_NOFOLLOW) })?;
    Ok(stat)
}

/// [`mote_abi::fs::Stat`] as it stands in memory.
fn encode(stat: &libc::stat) -> Vec<u8> {
    let words: [u64; 12] = [
        stat.st_dev,
        stat.st_ino,
        u64::from(type_of(stat.st_mode) as u8),
        stat.st_nlink,
        stat.st_size.cast_unsigned(),
        stat.st_atime.cast_unsigned(),
        stat.st_atime_nsec.cast_unsigned(),
        stat.st_mtime.cast_unsigned(),
        stat.st_mtime_nsec.cast_unsigned(),
        stat.st_ctime.cast_unsigned(),
        stat.st_ctime_nsec.cast_unsigned(),
        0,
    ];
    const { assert!(size_of::<mote_abi::fs::Stat>() == 12 * 8) };
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// SET_TIMES.
pub(super) fn set_times(objects: &Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    let (fd, read_only) = either(objects, s.handle)?;
    may_change(read_only)?;
    let times = times(space, s.extra[1])?;
    // AT_EMPTY_PATH: the descriptor itself. (Linux 5.8)
    let of = |fd: libc::c_int, name: &CStr, flags| {
        // SAFETY: name and times are valid for the call.
        checked(unsafe { libc::utimensat(fd, name.as_ptr(), times.as_ptr(), flags) })
    };
    if s.len == 0 {
        return of(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH);
    }
    let start = writable_directory(objects, s.handle)?;
    let path = text(space, s.address, s.len)?;
    if follows(s) {
        let found = beneath::open(start.fd(), &path, libc::O_PATH)?;
        return of(found.as_raw_fd(), c"", libc::AT_EMPTY_PATH);
    }
    let (parent, name) = beneath::parent(start.fd(), &path)?;
    of(parent.raw(), &name, libc::AT_SYMLINK_NOFOLLOW)
}

/// Time of the last access and of the last modification. The kernel checks the nanoseconds.
fn times(space: &Space, address: u64) -> Result<[libc::timespec; 2], Errno> {
    let len = size_of::<mote_abi::fs::Times>() as u64;
    let bytes = copy_in(space, address, len)?;
    let words = bytes.as_chunks::<8>().0;
    let word = |i: usize| words.get(i).copied().map_or(0, i64::from_le_bytes);
    let time = |i| libc::timespec {
        tv_sec: word(i),
        tv_nsec: word(i + 1),
    };
    Ok([time(0), time(2)])
}

/// SET_SIZE.
pub(super) fn set_size(objects: &Objects, s: &Submission) -> Result<u64, Errno> {
    let file = file(objects, s.handle)?;
    may_change(file.read_only)?;
    let size = offset(s.offset)?;
    // SAFETY: plain numbers.
    checked(unsafe { libc::ftruncate(file.fd().as_raw_fd(), size) })
}

/// SYNC.
pub(super) fn sync(objects: &mut Objects, s: &Submission) -> Result<u64, Errno> {
    let fd = match objects.get_mut(s.handle)? {
        Object::File(file) => file.fd(),
        Object::Directory(directory) => directory.readable()?,
        _ => return Err(Errno(libc::EBADF)),
    };
    let fd = fd.as_raw_fd();
    // SAFETY: plain numbers.
    checked(unsafe {
        if s.extra[0] == 1 {
            libc::fdatasync(fd)
        } else {
            libc::fsync(fd)
        }
    })
}

/// ADVISE.
pub(super) fn advise(objects: &Objects, s: &Submission) -> Result<u64, Errno> {
    let file = file(objects, s.handle)?;
    let advice = match s.extra[0] {
        advice::NORMAL => libc::POSIX_FADV_NORMAL,
        advice::RANDOM => libc::POSIX_FADV_RANDOM,
        advice::SEQUENTIAL => libc::POSIX_FADV_SEQUENTIAL,
        advice::WILL_NEED => libc::POSIX_FADV_WILLNEED,
        advice::DONT_NEED => libc::POSIX_FADV_DONTNEED,
        advice::NO_REUSE => libc::POSIX_FADV_NOREUSE,
        _ => return Err(Errno(libc::EINVAL)),
    };
    let (start, len) = (offset(s.offset)?, offset(s.extra[1])?);
    // SAFETY: plain numbers. The result is the error number.
    match unsafe { libc::posix_fadvise(file.fd().as_raw_fd(), start, len, advice) } {
        0 => Ok(0),
        errno => Err(Errno(errno)),
    }
}

/// SET_FLAGS.
pub(super) fn set_flags(objects: &mut Objects, s: &Submission) -> Result<u64, Errno> {
    let asked = s.extra[0];
    let Object::File(file) = objects.get_mut(s.handle)? else {
        return Err(Errno(libc::EBADF));
    };
    if asked & !(open::APPEND | open::NONBLOCK) != 0 {
        return Err(Errno(libc::EINVAL));
    }
    let append = if asked & open::APPEND != 0 {
        libc::O_APPEND
    } else {
        0
    };
    // SAFETY: plain numbers. Flags that cannot be changed are passed over. (fcntl(2))
    checked(unsafe { libc::fcntl(file.fd().as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK | append) })?;
    file.nonblocking = asked & open::NONBLOCK != 0;
    Ok(0)
}

/// IS_SAME.
pub(super) fn is_same(objects: &Objects, s: &Submission) -> Result<u64, Errno> {
    let one = status(either(objects, s.handle)?.0)?;
    let other = status(either(objects, s.extra[0])?.0)?;
    let same = (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
    Ok(u64::from(same))
}
