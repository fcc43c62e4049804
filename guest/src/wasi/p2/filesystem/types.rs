//! Types of `wasi:filesystem/types` and what they stand for.

use mote_abi::fs::{Stat, Time, Times, Type, advice, open, time};
use wasmtime::component::{ComponentType, Lift, Lower, flags};

use super::error::ErrorCode;
use crate::wasi::p2::clocks::Datetime;

/// `descriptor-type`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum DescriptorType {
    #[component(name = "unknown")]
    Unknown,
    #[component(name = "block-device")]
    BlockDevice,
    #[component(name = "character-device")]
    CharacterDevice,
    #[component(name = "directory")]
    Directory,
    #[component(name = "fifo")]
    Fifo,
    #[component(name = "symbolic-link")]
    SymbolicLink,
    #[component(name = "regular-file")]
    RegularFile,
    #[component(name = "socket")]
    Socket,
}

impl From<Type> for DescriptorType {
    fn from(kind: Type) -> DescriptorType {
        match kind {
            Type::Unknown => DescriptorType::Unknown,
            Type::BlockDevice => DescriptorType::BlockDevice,
            Type::CharacterDevice => DescriptorType::CharacterDevice,
            Type::Directory => DescriptorType::Directory,
            Type::RegularFile => DescriptorType::RegularFile,
            Type::Socket => DescriptorType::Socket,
            Type::SymbolicLink => DescriptorType::SymbolicLink,
            Type::Fifo => DescriptorType::Fifo,
        }
    }
}

flags! {
    DescriptorFlags {
        #[component(name = "read")]
        const READ;
        #[component(name = "write")]
        const WRITE;
        #[component(name = "file-integrity-sync")]
        const FILE_INTEGRITY_SYNC;
        #[component(name = "data-integrity-sync")]
        const DATA_INTEGRITY_SYNC;
        #[component(name = "requested-write-sync")]
        const REQUESTED_WRITE_SYNC;
        #[component(name = "mutate-directory")]
        const MUTATE_DIRECTORY;
    }
}

flags! {
    PathFlags {
        #[component(name = "symlink-follow")]
        const SYMLINK_FOLLOW;
    }
}

flags! {
    OpenFlags {
        #[component(name = "create")]
        const CREATE;
        #[component(name = "directory")]
        const DIRECTORY;
        #[component(name = "exclusive")]
        const EXCLUSIVE;
        #[component(name = "truncate")]
        const TRUNCATE;
    }
}

impl PathFlags {
    pub(super) fn follow(self) -> bool {
        self & PathFlags::SYMLINK_FOLLOW == PathFlags::SYMLINK_FOLLOW
    }
}

/// What `open-at` asks for, as `mote_abi::fs::open`. A file that is made or cut is written, and what is not written is
/// read, as wasmtime has it.
pub(super) fn open_flags(path: PathFlags, how: OpenFlags, flags: DescriptorFlags) -> Result<u64, ErrorCode> {
    let has = |flag: OpenFlags| how & flag == flag;
    let wants = |flag: DescriptorFlags| flags & flag == flag;
    let made = has(OpenFlags::CREATE) || has(OpenFlags::EXCLUSIVE) || has(OpenFlags::TRUNCATE);
    if has(OpenFlags::DIRECTORY) && made {
        return Err(ErrorCode::Invalid);
    }
    let write = wants(DescriptorFlags::WRITE);
    let sync = wants(DescriptorFlags::FILE_INTEGRITY_SYNC) || wants(DescriptorFlags::REQUESTED_WRITE_SYNC);
    let on = |set: bool, flag: u64| if set { flag } else { 0 };
    Ok(on(path.follow(), open::FOLLOW)
        | on(wants(DescriptorFlags::READ) || !write, open::READ)
        | on(
            write || has(OpenFlags::CREATE) || has(OpenFlags::TRUNCATE),
            open::WRITE,
        )
        | on(has(OpenFlags::CREATE), open::CREATE)
        | on(has(OpenFlags::DIRECTORY), open::DIRECTORY)
        | on(
            has(OpenFlags::CREATE) && has(OpenFlags::EXCLUSIVE),
            open::EXCLUSIVE,
        )
        | on(has(OpenFlags::TRUNCATE), open::TRUNCATE)
        | on(wants(DescriptorFlags::DATA_INTEGRITY_SYNC), open::DSYNC)
        | on(sync, open::SYNC))
}

/// How something was opened, as `descriptor-flags`.
pub(super) fn descriptor_flags(directory: bool, flags: u64) -> DescriptorFlags {
    let mut answer = DescriptorFlags::default();
    let mut on = |set: u64, flag: DescriptorFlags| {
        if flags & set != 0 {
            answer |= flag;
        }
    };
    let change = if directory {
        DescriptorFlags::MUTATE_DIRECTORY
    } else {
        DescriptorFlags::WRITE
    };
    on(open::READ, DescriptorFlags::READ);
    on(open::WRITE, change);
    on(open::DSYNC, DescriptorFlags::DATA_INTEGRITY_SYNC);
    on(open::SYNC, DescriptorFlags::FILE_INTEGRITY_SYNC);
    on(open::SYNC, DescriptorFlags::REQUESTED_WRITE_SYNC);
    answer
}

/// `descriptor-stat`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct DescriptorStat {
    #[component(name = "type")]
    kind: DescriptorType,
    #[component(name = "link-count")]
    link_count: u64,
    size: u64,
    #[component(name = "data-access-timestamp")]
    accessed: Option<Datetime>,
    #[component(name = "data-modification-timestamp")]
    modified: Option<Datetime>,
    #[component(name = "status-change-timestamp")]
    changed: Option<Datetime>,
}

impl From<&Stat> for DescriptorStat {
    fn from(stat: &Stat) -> DescriptorStat {
        DescriptorStat {
            kind: u8::try_from(stat.kind)
                .map_or(Type::Unknown, Type::from_raw)
                .into(),
            link_count: stat.links,
            size: stat.size,
            accessed: datetime(stat.accessed),
            modified: datetime(stat.modified),
            changed: datetime(stat.changed),
        }
    }
}

/// Times before 1970 cannot be told.
fn datetime(at: Time) -> Option<Datetime> {
    Some(Datetime {
        seconds: u64::try_from(at.seconds).ok()?,
        nanoseconds: u32::try_from(at.nanoseconds).ok()?,
    })
}

/// `new-timestamp`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum NewTimestamp {
    #[component(name = "no-change")]
    NoChange,
    #[component(name = "now")]
    Now,
    #[component(name = "timestamp")]
    Timestamp(Datetime),
}

/// The times to set.
pub(super) fn times(accessed: &NewTimestamp, modified: &NewTimestamp) -> Result<Times, ErrorCode> {
    Ok(Times {
        accessed: new_time(accessed)?,
        modified: new_time(modified)?,
    })
}

fn new_time(new: &NewTimestamp) -> Result<Time, ErrorCode> {
    let (seconds, nanoseconds) = match new {
        NewTimestamp::NoChange => (0, time::OMIT),
        NewTimestamp::Now => (0, time::NOW),
        NewTimestamp::Timestamp(at) => {
            let more = u64::from(at.nanoseconds) / 1_000_000_000;
            let seconds = at.seconds.checked_add(more).ok_or(ErrorCode::Overflow)?;
            (seconds, u64::from(at.nanoseconds) % 1_000_000_000)
        }
    };
    Ok(Time {
        seconds: i64::try_from(seconds).map_err(|_| ErrorCode::Overflow)?,
        nanoseconds,
    })
}

/// `advice`.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by lifting")]
pub(super) enum Advice {
    #[component(name = "normal")]
    Normal,
    #[component(name = "sequential")]
    Sequential,
    #[component(name = "random")]
    Random,
    #[component(name = "will-need")]
    WillNeed,
    #[component(name = "dont-need")]
    DontNeed,
    #[component(name = "no-reuse")]
    NoReuse,
}

impl Advice {
    pub(super) const fn number(self) -> u64 {
        match self {
            Advice::Normal => advice::NORMAL,
            Advice::Sequential => advice::SEQUENTIAL,
            Advice::Random => advice::RANDOM,
            Advice::WillNeed => advice::WILL_NEED,
            Advice::DontNeed => advice::DONT_NEED,
            Advice::NoReuse => advice::NO_REUSE,
        }
    }
}

/// `metadata-hash-value`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct MetadataHash {
    lower: u64,
    upper: u64,
}

impl From<&Stat> for MetadataHash {
    /// The file's identity, mixed: it says whether two are the same and nothing about the host.
    fn from(stat: &Stat) -> MetadataHash {
        let lower = mix(stat.inode ^ mix(stat.device));
        MetadataHash {
            lower,
            upper: mix(lower),
        }
    }
}

/// The finalizer of SplitMix64: one to one.
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
