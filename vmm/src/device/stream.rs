//! A standard stream of the program: a descriptor that the parent handed over.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use vm_memory::{ReadVolatile, VolatileSlice, WriteVolatile};

/// Largest write to a descriptor that may block: a pipe that poll(2) calls writable has room for a page. (pipe(7))
const CAREFUL: usize = 4096;

/// A descriptor that is read or written only as far as it does not block.
#[derive(Debug)]
pub struct Stream {
    file: OwnedFd,
    /// Whether the kernel itself refuses to block. The flag belongs to the open file, which the parent may share with
    /// others, so it is never changed here.
    nonblocking: bool,
    regular: bool,
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes; 0 for a read means the end.
    Bytes(usize),
    /// Not now.
    Blocked,
    /// A Linux errno.
    Failed(i32),
}

impl Stream {
    /// Takes over an open descriptor.
    #[must_use]
    pub fn new(file: OwnedFd) -> Stream {
        let fd = file.as_raw_fd();
        // SAFETY: F_GETFL has no argument and changes nothing.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        // SAFETY: an all-zero `stat` is a valid value.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is valid for writes.
        let known = unsafe { libc::fstat(fd, &raw mut stat) } == 0;
        let regular = known && stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        Stream {
            file,
            nonblocking: flags >= 0 && flags & libc::O_NONBLOCK != 0,
            regular,
        }
    }

    /// Takes over a socket that is non-blocking and shared with nobody.
    #[must_use]
    pub fn nonblocking(file: OwnedFd) -> Stream {
        Stream {
            file,
            nonblocking: true,
            regular: false,
        }
    }

    /// The descriptor, for poll(2).
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Whether it is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&self.file)
    }

    /// Writes a part of `data`.
    pub fn write(&mut self, data: &VolatileSlice<'_>) -> Progress {
        if !self.ready(libc::POLLOUT) {
            return Progress::Blocked;
        }
        let careful = !self.nonblocking && !self.regular;
        let len = if careful {
            data.len().min(CAREFUL)
        } else {
            data.len()
        };
        match data.subslice(0, len) {
            Ok(part) => outcome(self.file.write_volatile(&part)),
            Err(_) => Progress::Failed(libc::EFAULT),
        }
    }

    /// Reads into `data` what is there.
    pub fn read(&mut self, data: &mut VolatileSlice<'_>) -> Progress {
        if !self.ready(libc::POLLIN) {
            return Progress::Blocked;
        }
        outcome(self.file.read_volatile(data))
    }

    fn ready(&self, events: libc::c_short) -> bool {
        if self.nonblocking || self.regular {
            return true;
        }
        let mut poll = libc::pollfd {
            fd: self.fd(),
            events,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        let n = unsafe { libc::poll(&raw mut poll, 1, 0) };
        // An error of poll itself is best reported by the read or write that follows.
        n != 0
    }
}

fn outcome(result: Result<usize, vm_memory::VolatileMemoryError>) -> Progress {
    match result {
        Ok(n) => Progress::Bytes(n),
        Err(vm_memory::VolatileMemoryError::IOError(e)) if e.kind() == io::ErrorKind::WouldBlock => {
            Progress::Blocked
        }
        Err(vm_memory::VolatileMemoryError::IOError(e)) => {
            Progress::Failed(e.raw_os_error().unwrap_or(libc::EIO))
        }
        Err(_) => Progress::Failed(libc::EIO),
    }
}
