//! Flags and enumerations of WASI 0.1, and what they stand for. (wasi_snapshot_preview1 witx)

use mote_abi::fs::{Time, Times, Type, open, time};

use super::{Failure, errno};

/// `rights`.
pub(super) mod rights {
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_SEEK: u64 = 1 << 2;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    pub(crate) const FD_READDIR: u64 = 1 << 14;
    pub(crate) const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
    pub(crate) const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    pub(crate) const ALL: u64 = (1 << 30) - 1;
    /// Of a preopened directory: all of paths but their size, and listing, status and times.
    pub(crate) const PREOPEN: u64 = (1 << 9)
        | (1 << 10)
        | (1 << 11)
        | (1 << 12)
        | (1 << 13)
        | FD_READDIR
        | (1 << 15)
        | (1 << 16)
        | (1 << 17)
        | (1 << 18)
        | (1 << 20)
        | (1 << 21)
        | (1 << 23)
        | (1 << 24)
        | (1 << 25)
        | (1 << 26);
    /// Of what is opened in it: those, and all of files.
    pub(crate) const PREOPEN_INHERITING: u64 = PREOPEN | ((1 << 9) - 1) | FD_FILESTAT_SET_SIZE | (1 << 27);
}

/// `fdflags`.
pub(super) mod fdflags {
    pub(crate) const APPEND: u32 = 1;
    pub(crate) const DSYNC: u32 = 1 << 1;
    pub(crate) const NONBLOCK: u32 = 1 << 2;
    pub(crate) const RSYNC: u32 = 1 << 3;
    pub(crate) const SYNC: u32 = 1 << 4;
}

/// `oflags`.
mod oflags {
    pub(super) const CREAT: u32 = 1;
    pub(super) const DIRECTORY: u32 = 1 << 1;
    pub(super) const EXCL: u32 = 1 << 2;
    pub(super) const TRUNC: u32 = 1 << 3;
}

/// A set of flags, if it has no other bits than `all`.
pub(super) const fn set(flags: u32, all: u32) -> Result<u32, Failure> {
    if flags & !all == 0 {
        Ok(flags)
    } else {
        Err(Failure::Errno(errno::INVAL))
    }
}

/// `lookupflags`: whether a symbolic link at a path's end is followed.
pub(super) fn follow(flags: u32) -> Result<bool, Failure> {
    Ok(set(flags, 1)? == 1)
}

/// All of `fdflags`.
pub(super) const FDFLAGS: u32 = (1 << 5) - 1;

/// What `path_open` asks for, as `mote_abi::fs::open`. A file that is made or cut is written, and what is not written
/// is read, as wasmtime has it.
pub(super) fn open_flags(lookup: u32, oflags: u32, rights: u64, fdflags: u32) -> Result<u64, Failure> {
    let (follow, oflags, fdflags) = (follow(lookup)?, set(oflags, 15)?, set(fdflags, FDFLAGS)?);
    if rights & !rights::ALL != 0 {
        return Err(Failure::Errno(errno::INVAL));
    }
    // As wasmtime answers.
    if fdflags & (fdflags::DSYNC | fdflags::SYNC | fdflags::RSYNC) != 0 {
        return Err(Failure::Errno(errno::NOTSUP));
    }
    let made = oflags::CREAT | oflags::EXCL | oflags::TRUNC;
    if oflags & oflags::DIRECTORY != 0 && oflags & made != 0 {
        return Err(Failure::Errno(errno::INVAL));
    }
    let write = rights & rights::FD_WRITE != 0;
    let on = |set: bool, flag: u64| if set { flag } else { 0 };
    Ok(on(follow, open::FOLLOW)
        | on(rights & rights::FD_READ != 0 || !write, open::READ)
        | on(
            write || oflags & (oflags::CREAT | oflags::TRUNC) != 0,
            open::WRITE,
        )
        | on(oflags & oflags::CREAT != 0, open::CREATE)
        | on(oflags & oflags::DIRECTORY != 0, open::DIRECTORY)
        | on(
            oflags & oflags::CREAT != 0 && oflags & oflags::EXCL != 0,
            open::EXCLUSIVE,
        )
        | on(oflags & oflags::TRUNC != 0, open::TRUNCATE)
        | on(fdflags & fdflags::NONBLOCK != 0, open::NONBLOCK))
}

/// `filetype`.
pub(super) const fn filetype(kind: Type) -> u8 {
    match kind {
        // There is none for a FIFO.
        Type::Unknown | Type::Fifo => 0,
        Type::BlockDevice => 1,
        Type::CharacterDevice => 2,
        Type::Directory => 3,
        Type::RegularFile => 4,
        Type::Socket => 6,
        Type::SymbolicLink => 7,
    }
}

/// The times that `fstflags` choose.
pub(super) fn times(accessed: u64, modified: u64, fstflags: u32) -> Result<Times, Failure> {
    let flags = set(fstflags, 15)?;
    Ok(Times {
        accessed: new_time(accessed, flags & 1 != 0, flags & 2 != 0)?,
        modified: new_time(modified, flags & 4 != 0, flags & 8 != 0)?,
    })
}

fn new_time(ns: u64, set: bool, now: bool) -> Result<Time, Failure> {
    let special = |nanoseconds| Time {
        seconds: 0,
        nanoseconds,
    };
    match (set, now) {
        (true, true) => Err(Failure::Errno(errno::INVAL)),
        (true, false) => Ok(Time {
            seconds: i64::try_from(ns / 1_000_000_000).map_err(|_| Failure::Errno(errno::OVERFLOW))?,
            nanoseconds: ns % 1_000_000_000,
        }),
        (false, true) => Ok(special(time::NOW)),
        (false, false) => Ok(special(time::OMIT)),
    }
}

/// `timestamp`; times before 1970 are 0.
pub(super) fn timestamp(at: Time) -> Result<u64, Failure> {
    let Ok(seconds) = u64::try_from(at.seconds) else {
        return Ok(0);
    };
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|ns| ns.checked_add(at.nanoseconds))
        .ok_or(Failure::Errno(errno::OVERFLOW))
}
