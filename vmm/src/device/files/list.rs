//! READ_DIRECTORY.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use mote_abi::fs::{EntryHead, Type};
use mote_abi::ring::Submission;

use super::attributes::stat_name;
use super::open::type_of;
use super::{Errno, directory};
use crate::device::guest_data::copy_out;
use crate::device::objects::{Object, Objects};
use crate::memory::Space;

/// Most bytes that one submission gets, whatever it asks for.
const MOST: usize = 64 << 10;
/// Bytes that the kernel is asked for at a time.
const CHUNK: usize = 32 << 10;
/// Bytes before the name in the kernel's `struct linux_dirent64`: inode, offset, length, type. (getdents(2))
const HEAD: usize = 19;

/// Fills the guest's buffer with entries.
pub(super) fn serve(objects: &mut Objects, space: &Space, s: &Submission) -> Result<u64, Errno> {
    directory(objects, s.handle)?;
    let Object::Directory(directory) = objects.get_mut(s.handle)? else {
        return Err(Errno(libc::ENOTDIR));
    };
    let room = usize::try_from(s.len).unwrap_or(usize::MAX).min(MOST);
    // A buffer that is not there must not cost the program entries.
    space
        .resolve(s.address, room as u64, true)
        .map_err(|_| Errno(libc::EFAULT))?;
    let fd = directory.readable()?;
    let start = match s.offset {
        0 => seek(fd, 0, libc::SEEK_SET)?,
        1 => seek(fd, 0, libc::SEEK_CUR)?,
        _ => return Err(Errno(libc::EINVAL)),
    };
    let packed = fill(fd, start, room)?;
    copy_out(space, s.address, &packed)?;
    Ok(packed.len() as u64)
}

fn seek(fd: BorrowedFd<'_>, offset: i64, whence: libc::c_int) -> Result<i64, Errno> {
    // SAFETY: plain numbers.
    let at = unsafe { libc::lseek(fd.as_raw_fd(), offset, whence) };
    if at < 0 { Err(Errno::last()) } else { Ok(at) }
}

/// Entries from position `at` on, packed, until the room is full or the directory at its end. What the kernel gave
/// and has no room stays for the next call.
fn fill(fd: BorrowedFd<'_>, mut at: i64, room: usize) -> Result<Vec<u8>, Errno> {
    let mut chunk = vec![0_u8; CHUNK];
    let mut packed = Vec::new();
    loop {
        // SAFETY: the buffer is valid for its length.
        let n = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                fd.as_raw_fd(),
                chunk.as_mut_ptr(),
                chunk.len(),
            )
        };
        let filled = usize::try_from(n).map_err(|_| Errno::last());
        let mut rest = match filled {
            Ok(0) => return Ok(packed),
            Ok(n) => chunk.get(..n).unwrap_or_default(),
            // What is packed is told first.
            Err(_) if !packed.is_empty() => return Ok(packed),
            Err(errno) => return Err(errno),
        };
        while let Some((entry, behind)) = Entry::parse(rest) {
            if !entry.is_dot() && !entry.pack(fd, &mut packed, room) {
                seek(fd, at, libc::SEEK_SET)?;
                return if packed.is_empty() {
                    Err(Errno(libc::EINVAL))
                } else {
                    Ok(packed)
                };
            }
            at = entry.next;
            rest = behind;
        }
    }
}

/// An entry as the kernel gives it.
struct Entry<'a> {
    inode: u64,
    /// Position of the entry behind it.
    next: i64,
    kind: u8,
    name: &'a CStr,
}

impl<'a> Entry<'a> {
    /// The first entry of `bytes`, and what is behind it.
    fn parse(bytes: &'a [u8]) -> Option<(Entry<'a>, &'a [u8])> {
        let (inode, rest) = bytes.split_first_chunk::<8>()?;
        let (next, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (kind, _) = rest.split_first()?;
        let len = usize::from(u16::from_ne_bytes(*len));
        let name = CStr::from_bytes_until_nul(bytes.get(HEAD..len)?).ok()?;
        let entry = Entry {
            inode: u64::from_ne_bytes(*inode),
            next: i64::from_ne_bytes(*next),
            kind: *kind,
            name,
        };
        Some((entry, bytes.get(len..)?))
    }

    fn is_dot(&self) -> bool {
        matches!(self.name.to_bytes(), b"." | b"..")
    }

    /// Appends the entry; false if the room does not suffice.
    fn pack(&self, dir: BorrowedFd<'_>, packed: &mut Vec<u8>, room: usize) -> bool {
        let name = self.name.to_bytes();
        let begin = packed.len().next_multiple_of(8);
        if begin + size_of::<EntryHead>() + name.len() > room {
            return false;
        }
        let Ok(name_len) = u32::try_from(name.len()) else {
            return false;
        };
        packed.resize(begin, 0);
        packed.extend(self.inode.to_le_bytes());
        packed.extend(u32::from(self.kind(dir) as u8).to_le_bytes());
        packed.extend(name_len.to_le_bytes());
        packed.extend(name);
        true
    }

    fn kind(&self, dir: BorrowedFd<'_>) -> Type {
        match self.kind {
            libc::DT_BLK => Type::BlockDevice,
            libc::DT_CHR => Type::CharacterDevice,
            libc::DT_DIR => Type::Directory,
            libc::DT_REG => Type::RegularFile,
            libc::DT_SOCK => Type::Socket,
            libc::DT_LNK => Type::SymbolicLink,
            libc::DT_FIFO => Type::Fifo,
            // Some file systems keep no types in their directories.
            _ => stat_name(dir.as_raw_fd(), self.name).map_or(Type::Unknown, |stat| type_of(stat.st_mode)),
        }
    }
}
