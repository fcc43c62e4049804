//! The table of file descriptors.

use alloc::vec::Vec;

use mote_abi::boot::grant;
use mote_abi::fs::open;
use mote_abi::ring::FIRST_PREOPEN;

use super::{Failure, errno};
use crate::wasi::files::{Entry, Target};

/// What a descriptor stands for.
pub(crate) enum Fd {
    /// A standard stream: 0, 1 or 2.
    Stdio(u32),
    Directory(Directory),
    File(File),
}

/// An open directory.
pub(crate) struct Directory {
    pub(crate) handle: u64,
    /// `mote_abi::fs::open`.
    pub(crate) flags: u64,
    /// Path that the program knows it by, if it was there from the start.
    pub(crate) preopen: Option<&'static str>,
    /// What the last listing found, which the cookies of `fd_readdir` count through.
    pub(crate) entries: Option<Vec<Entry>>,
}

/// An open file that is no directory.
pub(crate) struct File {
    pub(crate) target: Target,
    /// `mote_abi::fs::open`.
    pub(crate) flags: u64,
    pub(crate) position: u64,
    /// Writes go to the end.
    pub(crate) append: bool,
    pub(crate) nonblock: bool,
}

/// The descriptors, by number.
pub(crate) struct Fds(Vec<Option<Fd>>);

impl Fds {
    /// The standard streams and the preopened directories.
    pub(crate) fn new(preopens: &[&'static str], grants: u32) -> Fds {
        let streams = (0..3).map(|number| Some(Fd::Stdio(number)));
        let directories = (0_u32..).zip(preopens).map(|(n, path)| {
            // The first sixteen are marked.
            let read_only = n < 16 && grants & (1 << (grant::READ_ONLY_SHIFT + n)) != 0;
            Some(Fd::Directory(Directory {
                handle: FIRST_PREOPEN + u64::from(n),
                flags: if read_only {
                    open::READ
                } else {
                    open::READ | open::WRITE
                },
                preopen: Some(path),
                entries: None,
            }))
        });
        Fds(streams.chain(directories).collect())
    }

    pub(super) fn get(&mut self, fd: u32) -> Result<&mut Fd, Failure> {
        match self.0.get_mut(fd as usize) {
            Some(Some(found)) => Ok(found),
            _ => Err(Failure::Errno(errno::BADF)),
        }
    }

    /// A file that is no directory.
    pub(super) fn file(&mut self, fd: u32) -> Result<&mut File, Failure> {
        match self.get(fd)? {
            Fd::File(file) => Ok(file),
            _ => Err(Failure::Errno(errno::BADF)),
        }
    }

    pub(super) fn directory(&mut self, fd: u32) -> Result<&mut Directory, Failure> {
        match self.get(fd)? {
            Fd::Directory(directory) => Ok(directory),
            _ => Err(Failure::Errno(errno::BADF)),
        }
    }

    /// What has a position.
    pub(super) fn seekable(&mut self, fd: u32) -> Result<&mut File, Failure> {
        match self.get(fd)? {
            Fd::File(file) => Ok(file),
            Fd::Stdio(_) => Err(Failure::Errno(errno::SPIPE)),
            Fd::Directory(_) => Err(Failure::Errno(errno::BADF)),
        }
    }

    /// Handle of a file or directory.
    pub(super) fn handle(&mut self, fd: u32) -> Result<u64, Failure> {
        match self.get(fd)? {
            Fd::File(file) => Ok(file.target.handle),
            Fd::Directory(directory) => Ok(directory.handle),
            Fd::Stdio(_) => Err(Failure::Errno(errno::BADF)),
        }
    }

    /// The lowest free number.
    pub(super) fn push(&mut self, fd: Fd) -> Result<u32, Failure> {
        let number = match self.0.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.0.push(None);
                self.0.len() - 1
            }
        };
        self.0[number] = Some(fd);
        u32::try_from(number).map_err(|_| Failure::Errno(errno::OVERFLOW))
    }

    pub(super) fn remove(&mut self, fd: u32) -> Result<Fd, Failure> {
        self.0
            .get_mut(fd as usize)
            .and_then(Option::take)
            .ok_or(Failure::Errno(errno::BADF))
    }

    /// Puts `fd` under a number that was in the table.
    pub(super) fn put(&mut self, number: u32, fd: Fd) {
        if let Some(slot) = self.0.get_mut(number as usize) {
            *slot = Some(fd);
        }
    }
}
