//! ZERO: memory that a later instance will find as if it were new.

use mote_abi::ring::{Submission, TRANSFER_MAX};

use super::answer::{Attempt, Errno};
use crate::memory::Space;
use crate::memory::touched::{self, Touched};

/// Serves [`mote_abi::ring::op::ZERO`]. Without a page map all of the range is written.
pub(super) fn serve(touched: Option<&Touched>, space: &Space, submission: &Submission) -> Attempt {
    if submission.len > TRANSFER_MAX {
        return Errno(libc::EINVAL).into();
    }
    let Ok(parts) = space.resolve(submission.address, submission.len, true) else {
        return Errno(libc::EFAULT).into();
    };
    for part in &parts {
        match touched {
            Some(touched) => touched.zero(part),
            None => touched::zero(part),
        }
    }
    Ok(0).into()
}
