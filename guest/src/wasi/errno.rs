//! Error numbers of Linux, as the VMM answers with them. (asm-generic/errno-base.h, asm-generic/errno.h)

use crate::vm::ring::Errno;

pub(crate) const ENOENT: Errno = 2;
pub(crate) const EIO: Errno = 5;
pub(crate) const EBADF: Errno = 9;
pub(crate) const EACCES: Errno = 13;
pub(crate) const EINVAL: Errno = 22;
pub(crate) const EMFILE: Errno = 24;
pub(crate) const EPIPE: Errno = 32;
pub(crate) const ENAMETOOLONG: Errno = 36;
pub(crate) const EILSEQ: Errno = 84;
