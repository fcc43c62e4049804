//! Error numbers of Linux, as the VMM answers with them. (asm-generic/errno-base.h, asm-generic/errno.h)

use crate::vm::ring::Errno;

pub(crate) const EIO: Errno = 5;
pub(crate) const EPIPE: Errno = 32;
