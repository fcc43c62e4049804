//! Data of a submission in guest memory: copied in or out, or named to the kernel where it lies.

use mote_abi::fs::PATH_MAX;
use mote_abi::ring::TRANSFER_MAX;
use vm_memory::VolatileSlice;

use super::answer::Errno;
use crate::memory::Space;

/// Host memory behind a guest-virtual range, for the kernel to read or write.
pub(super) struct Pieces<'a> {
    /// Neighbours on the host are one.
    list: Vec<libc::iovec>,
    /// Where the pointers come from, and what keeps them valid.
    _memory: Vec<VolatileSlice<'a>>,
}

impl<'a> Pieces<'a> {
    /// The memory behind the range; `write` if the kernel is to write it.
    ///
    /// # Errors
    /// EINVAL over [`TRANSFER_MAX`], EFAULT if not all of it is mapped that way.
    pub(super) fn new(space: &'a Space, address: u64, len: u64, write: bool) -> Result<Pieces<'a>, Errno> {
        if len > TRANSFER_MAX {
            return Err(Errno(libc::EINVAL));
        }
        let memory = space
            .resolve(address, len, write)
            .map_err(|_| Errno(libc::EFAULT))?;
        let mut list: Vec<libc::iovec> = Vec::new();
        for part in &memory {
            let start = part.ptr_guard_mut().as_ptr();
            match list.last_mut() {
                Some(last) if last.iov_base.cast::<u8>().wrapping_add(last.iov_len) == start => {
                    last.iov_len += part.len();
                }
                _ => list.push(libc::iovec {
                    iov_base: start.cast(),
                    iov_len: part.len(),
                }),
            }
        }
        Ok(Pieces {
            list,
            _memory: memory,
        })
    }

    /// The pieces, as readv(2) and its relatives take them; no more than they take.
    pub(super) fn iovecs(&self) -> &[libc::iovec] {
        // UIO_MAXIOV of linux/uio.h. What is beyond is for the next call.
        self.list.get(..1024).unwrap_or(&self.list)
    }

    /// The memory behind the first `n` bytes is done with.
    pub(super) fn advance(&mut self, mut n: usize) {
        let mut whole = 0;
        for piece in &mut self.list {
            if piece.iov_len > n {
                piece.iov_base = piece.iov_base.cast::<u8>().wrapping_add(n).cast();
                piece.iov_len -= n;
                break;
            }
            n -= piece.iov_len;
            whole += 1;
        }
        self.list.drain(..whole);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A private copy of `len` bytes at `address`.
///
/// # Errors
/// EFAULT if not all of it is mapped. The caller bounds `len`.
pub(super) fn copy_in(space: &Space, address: u64, len: u64) -> Result<Vec<u8>, Errno> {
    let parts = space
        .resolve(address, len, false)
        .map_err(|_| Errno(libc::EFAULT))?;
    let mut bytes = Vec::new();
    for part in parts {
        let start = bytes.len();
        bytes.resize(start + part.len(), 0);
        if let Some(rest) = bytes.get_mut(start..) {
            part.copy_to(rest);
        }
    }
    Ok(bytes)
}

/// Writes `bytes` to `address`: all of them or none.
///
/// # Errors
/// EFAULT if not all of it is mapped for writing.
pub(super) fn copy_out(space: &Space, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let parts = space
        .resolve(address, bytes.len() as u64, true)
        .map_err(|_| Errno(libc::EFAULT))?;
    let mut rest = bytes;
    for part in parts {
        let (head, tail) = rest.split_at(part.len().min(rest.len()));
        part.copy_from(head);
        rest = tail;
    }
    Ok(())
}

/// A path or the text of a symbolic link, copied and checked, without its terminating zero.
///
/// # Errors
/// ENAMETOOLONG over [`PATH_MAX`], EFAULT, EILSEQ if it is not UTF-8, EINVAL with a zero byte in it.
pub(super) fn text(space: &Space, address: u64, len: u64) -> Result<Vec<u8>, Errno> {
    if len > PATH_MAX {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    let bytes = copy_in(space, address, len)?;
    if std::str::from_utf8(&bytes).is_err() {
        return Err(Errno(libc::EILSEQ));
    }
    if bytes.contains(&0) {
        return Err(Errno(libc::EINVAL));
    }
    Ok(bytes)
}
