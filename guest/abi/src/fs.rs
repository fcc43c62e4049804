//! Files, as the file operations of [`crate::ring::op`] carry them. All fields are little-endian.

/// Longest path or link text in bytes. (PATH_MAX of Linux)
pub const PATH_MAX: u64 = 4096;

/// Bits of `extra[0]` of [`crate::ring::op::OPEN`].
pub mod open {
    /// Read data, or list a directory.
    pub const READ: u64 = 1;
    /// Write data.
    pub const WRITE: u64 = 1 << 1;
    /// Make a regular file if there is nothing.
    pub const CREATE: u64 = 1 << 2;
    /// Fail if there is something.
    pub const EXCLUSIVE: u64 = 1 << 3;
    /// Cut the file to zero bytes.
    pub const TRUNCATE: u64 = 1 << 4;
    /// Fail unless it is a directory.
    pub const DIRECTORY: u64 = 1 << 5;
    /// Follow a symbolic link at the path's end.
    pub const FOLLOW: u64 = 1 << 6;
    /// Writes go to the file's end.
    pub const APPEND: u64 = 1 << 7;
    /// Reads and writes of files that can block answer -EAGAIN.
    pub const NONBLOCK: u64 = 1 << 8;
    /// Writes reach stable storage before they are answered: data, and with SYNC what describes the file.
    pub const DSYNC: u64 = 1 << 9;
    pub const SYNC: u64 = 1 << 10;
    /// All bits that have a meaning.
    pub const ALL: u64 = (1 << 11) - 1;
}

/// Values of `extra[0]` of [`crate::ring::op::ADVISE`]. (posix_fadvise(2))
pub mod advice {
    pub const NORMAL: u64 = 0;
    pub const RANDOM: u64 = 1;
    pub const SEQUENTIAL: u64 = 2;
    pub const WILL_NEED: u64 = 3;
    pub const DONT_NEED: u64 = 4;
    pub const NO_REUSE: u64 = 5;
}

/// Type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Type {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    Socket = 5,
    SymbolicLink = 6,
    Fifo = 7,
}

impl Type {
    /// The type that a number stands for; what is not known is [`Type::Unknown`].
    #[must_use]
    pub const fn from_raw(raw: u8) -> Type {
        match raw {
            1 => Type::BlockDevice,
            2 => Type::CharacterDevice,
            3 => Type::Directory,
            4 => Type::RegularFile,
            5 => Type::Socket,
            6 => Type::SymbolicLink,
            7 => Type::Fifo,
            _ => Type::Unknown,
        }
    }
}

/// Status of a file, 96 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stat {
    pub device: u64,
    pub inode: u64,
    /// A [`Type`].
    pub kind: u64,
    pub links: u64,
    /// Bytes.
    pub size: u64,
    /// Times since 1970: seconds and nanoseconds.
    pub accessed: Time,
    pub modified: Time,
    pub changed: Time,
    pub reserved: u64,
}

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Time {
    pub seconds: i64,
    /// Below 10^9, or in [`Times`] one of [`time`].
    pub nanoseconds: u64,
}

/// Special values of [`Time::nanoseconds`] in [`Times`]. (utimensat(2))
pub mod time {
    /// The present.
    pub const NOW: u64 = (1 << 30) - 1;
    /// Leave as it is.
    pub const OMIT: u64 = (1 << 30) - 2;
}

/// New times of a file, 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Times {
    pub accessed: Time,
    pub modified: Time,
}

/// Head of a directory entry, 16 bytes. The name follows; the next head begins at a multiple of 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EntryHead {
    pub inode: u64,
    /// A [`Type`].
    pub kind: u32,
    /// Bytes of the name.
    pub name_len: u32,
}

const _: () = assert!(size_of::<Stat>() == 96);
const _: () = assert!(core::mem::offset_of!(Stat, accessed) == 40);
const _: () = assert!(size_of::<Times>() == 32);
const _: () = assert!(size_of::<EntryHead>() == 16);
