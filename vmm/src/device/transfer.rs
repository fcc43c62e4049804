//! READ and WRITE: bytes between guest memory and a stream.

use mote_abi::ring::{Submission, TRANSFER_MAX, op};

use super::answer::{Attempt, Errno, Request, Wait};
use super::objects::Objects;
use super::stream::Progress;
use crate::memory::Space;

/// Carries as much as goes without blocking: a write until all is written, a read until something is read.
pub(super) fn serve(objects: &mut Objects, space: &Space, request: &mut Request) -> Attempt {
    let Submission {
        op: operation,
        handle,
        address,
        len,
        ..
    } = request.submission;
    let writing = operation == op::WRITE;
    if len > TRANSFER_MAX {
        return Errno(libc::EINVAL).into();
    }
    let stream = match objects.stream(handle, writing) {
        Ok(stream) => stream,
        Err(errno) => return errno.into(),
    };
    while request.done < len {
        let at = address.wrapping_add(request.done);
        // A read writes guest memory.
        let Ok(parts) = space.resolve(at, len - request.done, !writing) else {
            return Errno(libc::EFAULT).into();
        };
        let Some(mut part) = parts.into_iter().next() else {
            break;
        };
        let progress = if writing {
            stream.write(&part)
        } else {
            stream.read(&mut part)
        };
        match progress {
            Progress::Blocked => {
                return Attempt::Wait(Wait {
                    fd: stream.fd(),
                    events: if writing { libc::POLLOUT } else { libc::POLLIN },
                });
            }
            Progress::Failed(errno) => return Errno(errno).into(),
            Progress::Bytes(n) => {
                request.done += n as u64;
                if !writing {
                    break;
                }
            }
        }
    }
    Ok(request.done).into()
}
