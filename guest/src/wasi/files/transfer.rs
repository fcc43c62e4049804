//! Reading and writing.

use alloc::vec;
use alloc::vec::Vec;

use mote_abi::fs::{Stat, Type};
use mote_abi::ring::{Submission, op};

use super::Files;
use super::cache::Cache;
use super::identity::{identity, with_stat};
use crate::runtime::size;
use crate::vm::ring::{Errno, Ring, Token};

/// An open file to read or write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) handle: u64,
    pub(crate) kind: Type,
}

/// Memory that the VMM is to fill. It stays mapped, and nobody else uses it, until the operation is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) address: u64,
    pub(crate) len: u64,
}

/// Reads of this size and more go to where they are wanted; smaller ones may be served from what was read ahead.
const DIRECT_MIN: usize = 256 << 10;
/// Files whose reads are followed.
const CACHES: usize = 8;
/// Most parts that one read fills.
const PARTS: usize = 32;

impl Files {
    /// Reads from `offset` on into `place`. Fewer bytes than asked mean the file's end, but for what is no regular
    /// file.
    pub(crate) fn read(
        &mut self,
        ring: &mut Ring,
        file: Target,
        place: &mut [u8],
        offset: u64,
    ) -> Result<usize, Errno> {
        if place.is_empty() {
            return Ok(0);
        }
        let small = file.kind == Type::RegularFile && place.len() < DIRECT_MIN;
        if small {
            let cache = self.cache(file.handle);
            if cache.wants(offset) {
                return cache.read(ring, place, offset);
            }
        }
        let part = Part {
            address: place.as_mut_ptr() as u64,
            len: place.len() as u64,
        };
        let len = ring.request(read_request(file, part, offset))?;
        if small {
            self.cache(file.handle).passed(offset, len);
        }
        Ok(size(len).min(place.len()))
    }

    /// As [`Self::read`], into several parts one after the other.
    pub(crate) fn read_parts(
        &mut self,
        ring: &mut Ring,
        file: Target,
        parts: &[Part],
        offset: u64,
    ) -> Result<u64, Errno> {
        let most = if file.kind == Type::RegularFile { PARTS } else { 1 };
        let mut at = offset;
        let mut tokens: Vec<(Token, u64)> = Vec::with_capacity(parts.len().min(most));
        for part in parts.iter().take(most) {
            tokens.push((ring.submit(read_request(file, *part, at)), part.len));
            at = at.saturating_add(part.len);
        }
        let (mut done, mut ended, mut failed) = (0, false, None);
        for (token, len) in tokens {
            let result = ring.wait_for(token);
            match u64::try_from(result) {
                Ok(read) if !ended => {
                    done += read;
                    ended = read < len;
                }
                Ok(_) => {}
                Err(_) => {
                    ended = true;
                    failed = failed.or(Some(-result));
                }
            }
        }
        match failed {
            Some(errno) if done == 0 => Err(errno),
            _ => Ok(done),
        }
    }

    /// At most `len` bytes from `offset` on.
    pub(crate) fn read_vec(
        &mut self,
        ring: &mut Ring,
        file: Target,
        len: usize,
        offset: u64,
    ) -> Result<Vec<u8>, Errno> {
        let mut data = vec![0; len];
        let read = self.read(ring, file, &mut data, offset)?;
        data.truncate(read);
        Ok(data)
    }

    /// Writes `data` at `offset`: how many bytes. An error may belong to an earlier write.
    pub(crate) fn write(
        &mut self,
        ring: &mut Ring,
        file: Target,
        data: &[u8],
        offset: u64,
    ) -> Result<usize, Errno> {
        self.behind.check(ring, file.handle)?;
        let request = write_request(file, data, offset);
        if self.behind.wants(file.handle, offset, data.len())
            && file.kind == Type::RegularFile
            && self.changes(file.handle)
        {
            self.behind.write(ring, request, Vec::from(data));
            return Ok(data.len());
        }
        let written = self.write_now(ring, request).0.map(size);
        self.behind.written();
        written
    }

    /// Writes `data` at the file's end: how many bytes, and the file's size behind them. An error may belong to an
    /// earlier write.
    pub(crate) fn append(
        &mut self,
        ring: &mut Ring,
        file: Target,
        data: &[u8],
    ) -> Result<(usize, u64), Errno> {
        self.behind.check(ring, file.handle)?;
        let request = Submission {
            extra: [1, 0],
            ..write_request(file, data, 0)
        };
        let (written, stat) = self.write_now(ring, request);
        Ok((size(written?), stat?.size))
    }

    /// Writes, finds out which file it was and drops what was read ahead of it.
    fn write_now(
        &mut self,
        ring: &mut Ring,
        request: Submission,
    ) -> (Result<u64, Errno>, Result<Stat, Errno>) {
        let (written, stat) = with_stat(ring, request);
        self.writer = stat.as_ref().ok().map(|stat| (request.handle, identity(stat)));
        self.forget_reads(self.writer.map(|(_, identity)| identity));
        (written, stat)
    }

    /// Drops what was read ahead of the file that a handle writes, if it is known which that is.
    fn changes(&mut self, handle: u64) -> bool {
        match self.writer {
            Some((writer, identity)) if writer == handle => {
                self.forget_reads(Some(identity));
                true
            }
            _ => false,
        }
    }

    fn cache(&mut self, handle: u64) -> &mut Cache {
        let at = match self.caches.iter().position(|cache| cache.handle() == handle) {
            Some(at) => at,
            None => {
                if self.caches.len() >= CACHES {
                    self.caches.remove(0);
                }
                self.caches.push(Cache::new(handle));
                self.caches.len() - 1
            }
        };
        &mut self.caches[at]
    }
}

fn read_request(file: Target, part: Part, offset: u64) -> Submission {
    Submission {
        op: op::READ_AT,
        handle: file.handle,
        address: part.address,
        len: part.len,
        offset,
        ..Submission::default()
    }
}

fn write_request(file: Target, data: &[u8], offset: u64) -> Submission {
    Submission {
        op: op::WRITE_AT,
        handle: file.handle,
        address: data.as_ptr() as u64,
        len: data.len() as u64,
        offset,
        ..Submission::default()
    }
}
