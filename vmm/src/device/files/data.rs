//! READ_AT and WRITE_AT: straight between the file and guest memory.

use std::os::fd::{AsRawFd, BorrowedFd};

use mote_abi::fs::Type;
use mote_abi::ring::op;

use super::open::{status, type_of};
use super::{Errno, OpenFile, may_change, offset};
use crate::device::answer::{Attempt, Request, Wait};
use crate::device::guest_data::Pieces;
use crate::device::objects::{Object, Objects};
use crate::device::poll;
use crate::memory::Space;

/// `RWF_APPEND` of linux/fs.h, Linux 4.16.
const RWF_APPEND: libc::c_int = 0x10;

/// Where in the file.
#[derive(Clone, Copy)]
enum Place {
    At(libc::off_t),
    End,
    /// It has no offsets: a FIFO, a terminal.
    Stream,
}

pub(super) fn serve(objects: &Objects, space: &Space, request: &mut Request) -> Attempt {
    let writing = request.submission.op == op::WRITE_AT;
    let file = match objects.get(request.submission.handle) {
        Ok(Object::File(file)) => file,
        Ok(Object::Directory(_)) => return Errno(libc::EBADF).into(),
        Ok(_) => return Errno(libc::ESPIPE).into(),
        Err(errno) => return errno.into(),
    };
    match carry(file, space, request, writing) {
        Err(Errno(libc::EAGAIN)) if !file.nonblocking => Attempt::Wait(Wait {
            fd: file.fd().as_raw_fd(),
            events: if writing { libc::POLLOUT } else { libc::POLLIN },
        }),
        // What has been carried before an error is carried; the error comes again if it lasts.
        Err(_) if request.done > 0 => Ok(request.done).into(),
        result => result.into(),
    }
}

/// Whether a stream that has nothing to read is a FIFO that nobody has opened to write yet. As the descriptor does not
/// block, read(2) tells that apart from the end as little as open(2) did; poll(2) does: it tells of a hang-up only after
/// there was a writer.
fn awaits_a_writer(fd: BorrowedFd<'_>) -> bool {
    if !status(fd).is_ok_and(|status| type_of(status.st_mode) == Type::Fifo) {
        return false;
    }
    let seen = poll::seen(Wait {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
    });
    // What came since the read is there to be read, though its writer may be gone.
    seen & (libc::POLLHUP | libc::POLLIN) != libc::POLLHUP
}

/// Carries until all is done, the file ends or the kernel refuses. Counts in the request.
fn carry(file: &OpenFile, space: &Space, request: &mut Request, writing: bool) -> Result<u64, Errno> {
    let s = request.submission;
    if writing {
        may_change(file.read_only)?;
    }
    let mut pieces = Pieces::new(space, s.address, s.len, !writing)?;
    pieces.advance(usize::try_from(request.done).unwrap_or(usize::MAX));
    let mut stream = false;
    // Also for no bytes at all: the kernel says whether the file could be read or written.
    loop {
        let place = if stream {
            Place::Stream
        } else if writing && s.extra[0] == 1 {
            Place::End
        } else {
            let at = s.offset.checked_add(request.done).ok_or(Errno(libc::EINVAL))?;
            Place::At(offset(at)?)
        };
        let n = match call(file.fd(), &pieces, place, writing) {
            Ok(n) => n,
            Err(Errno(libc::EINTR)) => continue,
            Err(Errno(libc::ESPIPE)) if !stream => {
                stream = true;
                continue;
            }
            Err(errno) => return Err(errno),
        };
        let nothing = stream && !writing && n == 0 && !pieces.is_empty();
        if nothing && !file.nonblocking && awaits_a_writer(file.fd()) {
            return Err(Errno(libc::EAGAIN));
        }
        request.done += n as u64;
        pieces.advance(n);
        // A stream is read once: what is there.
        if n == 0 || pieces.is_empty() || (stream && !writing) {
            return Ok(request.done);
        }
    }
}

fn call(fd: BorrowedFd<'_>, pieces: &Pieces<'_>, place: Place, writing: bool) -> Result<usize, Errno> {
    let fd = fd.as_raw_fd();
    let list = pieces.iovecs();
    let count = libc::c_int::try_from(list.len()).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: each piece is host memory behind guest memory, which `pieces` borrows from the space; it is resolved for
    // writing where the kernel writes. Guest memory is never seen as a Rust reference, so that the kernel and the
    // guest change it at the same time breaks no rule of the language.
    let n = unsafe {
        match (place, writing) {
            (Place::At(at), false) => libc::preadv(fd, list.as_ptr(), count, at),
            (Place::At(at), true) => libc::pwritev(fd, list.as_ptr(), count, at),
            (Place::Stream | Place::End, false) => libc::readv(fd, list.as_ptr(), count),
            (Place::Stream, true) => libc::writev(fd, list.as_ptr(), count),
            // The offset, which RWF_APPEND ignores, is two arguments. (readv(2), "C library/kernel differences")
            (Place::End, true) => {
                let n = libc::syscall(
                    libc::SYS_pwritev2,
                    fd,
                    list.as_ptr(),
                    libc::c_long::from(count),
                    0_i64,
                    0_i64,
                    RWF_APPEND,
                );
                isize::try_from(n).unwrap_or(-1)
            }
        }
    };
    usize::try_from(n).map_err(|_| Errno::last())
}
