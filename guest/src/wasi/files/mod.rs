//! Files and directories, as both faces of WASI use them. Every operation but [`close`] leaves the VM once at most.

mod behind;
mod cache;
mod identity;
mod list;
mod paths;
mod transfer;

use alloc::vec::Vec;

use mote_abi::fs::{Stat, Times};
use mote_abi::ring::{Submission, op};

use super::errno::{EINVAL, ENAMETOOLONG, ENOENT};
use crate::vm::ring::{Errno, Ring};
use behind::Behind;
use cache::Cache;
use identity::Identity;
pub(crate) use list::{Entry, list};
pub(crate) use paths::{
    At, link, make_directory, open, read_link, remove_directory, rename, set_times_at, stat_at, symlink,
    unlink,
};
pub(crate) use transfer::{Part, Target};

/// What has to be remembered about files between operations: reads ahead and writes behind.
#[derive(Default)]
pub(crate) struct Files {
    caches: Vec<Cache>,
    behind: Behind,
    /// The handle that was written last and the file behind it.
    writer: Option<(u64, Identity)>,
}

impl Files {
    /// Waits for writes that are under way and tells the error of one to `handle`, once.
    pub(crate) fn settle(&mut self, ring: &mut Ring, handle: u64) -> Result<(), Errno> {
        self.behind.settle(ring, handle)
    }

    /// Waits for all writes that are under way: an error that no operation has told.
    pub(crate) fn finish(&mut self, ring: &mut Ring) -> Option<Errno> {
        self.behind.untold(ring)
    }

    /// The error of an earlier write to `handle`, if one is known, once.
    pub(crate) fn check(&mut self, ring: &mut Ring, handle: u64) -> Result<(), Errno> {
        self.behind.check(ring, handle)
    }

    /// Sets a file's size in bytes.
    pub(crate) fn set_size(&mut self, ring: &mut Ring, handle: u64, size: u64) -> Result<(), Errno> {
        self.forget_reads(None);
        self.settle(ring, handle)?;
        let request = Submission {
            op: op::SET_SIZE,
            handle,
            offset: size,
            ..Submission::default()
        };
        ring.request(request).map(drop)
    }

    /// Brings a file to stable storage: its data alone, or what describes it as well.
    pub(crate) fn sync(&mut self, ring: &mut Ring, handle: u64, data_only: bool) -> Result<(), Errno> {
        self.settle(ring, handle)?;
        let request = Submission {
            op: op::SYNC,
            handle,
            extra: [u64::from(data_only), 0],
            ..Submission::default()
        };
        ring.request(request).map(drop)
    }

    /// Closes a handle. An error belongs to an earlier write; the handle is closed all the same.
    pub(crate) fn close(&mut self, ring: &mut Ring, handle: u64) -> Result<(), Errno> {
        let settled = self.settle(ring, handle);
        self.caches.retain(|cache| cache.handle() != handle);
        if self.writer.is_some_and(|(writer, _)| writer == handle) {
            self.writer = None;
        }
        ring.detach(Submission {
            op: op::CLOSE,
            handle,
            ..Submission::default()
        });
        settled
    }

    /// Drops what was read ahead: the program changes a file, or one that is not known.
    fn forget_reads(&mut self, identity: Option<Identity>) {
        for cache in &mut self.caches {
            cache.forget(identity);
        }
    }
}

/// Status of what a handle stands for.
pub(crate) fn stat(ring: &mut Ring, handle: u64) -> Result<Stat, Errno> {
    let mut stat = Stat::default();
    ring.request(Submission {
        op: op::STAT,
        handle,
        extra: [0, (&raw mut stat) as u64],
        ..Submission::default()
    })?;
    Ok(stat)
}

/// Sets the times of what a handle stands for.
pub(crate) fn set_times(ring: &mut Ring, handle: u64, times: &Times) -> Result<(), Errno> {
    let request = Submission {
        op: op::SET_TIMES,
        handle,
        extra: [0, core::ptr::from_ref(times) as u64],
        ..Submission::default()
    };
    ring.request(request).map(drop)
}

/// Tells how a part of a file will be used. `advice` is one of `mote_abi::fs::advice`.
pub(crate) fn advise(ring: &mut Ring, handle: u64, offset: u64, len: u64, advice: u64) -> Result<(), Errno> {
    let request = Submission {
        op: op::ADVISE,
        handle,
        offset,
        extra: [advice, len],
        ..Submission::default()
    };
    ring.request(request).map(drop)
}

/// Whether two handles stand for the same file.
pub(crate) fn is_same(ring: &mut Ring, handle: u64, other: u64) -> Result<bool, Errno> {
    let request = Submission {
        op: op::IS_SAME,
        handle,
        extra: [other, 0],
        ..Submission::default()
    };
    Ok(ring.request(request)? == 1)
}

/// Address and length of a path, which has to be one: neither empty, nor too long, nor with a zero byte in it.
fn path(text: &str) -> Result<(u64, u64), Errno> {
    let len = text.len() as u64;
    if text.is_empty() {
        Err(ENOENT)
    } else if len >= mote_abi::fs::PATH_MAX {
        Err(ENAMETOOLONG)
    } else if text.as_bytes().contains(&0) {
        Err(EINVAL)
    } else {
        Ok((text.as_ptr() as u64, len))
    }
}
