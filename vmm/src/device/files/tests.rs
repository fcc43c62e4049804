mod bounds;
mod data;
mod tree;

use super::super::fixture::{Fixture, fixture};
use super::*;
use mote_abi::fs::{Type, open, time};
use mote_abi::layout::MMAP_START;
use mote_abi::ring::{FIRST_PREOPEN, HTTP_INCOMING, Submission};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use tempfile::TempDir;

const DIR: u64 = FIRST_PREOPEN;
/// Where tests put paths, second paths and data, from the start of the mapped range.
const PATH: u64 = 0;
const SECOND: u64 = 8 << 10;
const DATA: u64 = 16 << 10;

fn granted(read_only: bool) -> (Fixture, TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let mut f = fixture();
    grant(&mut f, temp.path(), read_only);
    (f, temp)
}

fn grant(f: &mut Fixture, path: &Path, read_only: bool) -> u64 {
    let fd = fs::File::open(path).unwrap().into();
    f.server.preopen(Directory::preopened(fd, read_only)).unwrap()
}

fn error(errno: i32) -> i64 {
    -i64::from(errno)
}

impl Fixture {
    fn path_op(&mut self, op: u64, dir: u64, path: &str, extra: [u64; 2]) -> i64 {
        let address = self.put(PATH, path.as_bytes());
        self.call(Submission {
            op,
            handle: dir,
            address,
            len: path.len() as u64,
            extra,
            ..Submission::default()
        })
    }

    fn two_paths(&mut self, op: u64, old: (u64, &str), new: (u64, &str)) -> i64 {
        let address = self.put(PATH, old.1.as_bytes());
        let offset = self.put(SECOND, new.1.as_bytes());
        self.call(Submission {
            op,
            handle: old.0,
            address,
            len: old.1.len() as u64,
            offset,
            extra: [new.0, new.1.len() as u64],
            ..Submission::default()
        })
    }

    fn symlink(&mut self, path: &str, text: &str) -> i64 {
        self.two_paths(op::SYMLINK, (DIR, path), (0, text))
    }

    fn open(&mut self, path: &str, flags: u64) -> i64 {
        self.path_op(op::OPEN, DIR, path, [flags, 0])
    }

    /// Opens what must be there: its handle.
    fn opened(&mut self, path: &str, flags: u64) -> u64 {
        let result = self.open(path, flags);
        assert!(result >= 0, "{path}: {result}");
        result.cast_unsigned() & 0xffff_ffff
    }

    fn write_at(&mut self, handle: u64, bytes: &[u8], offset: u64, append: bool) -> i64 {
        let address = self.put(DATA, bytes);
        self.call(Submission {
            op: op::WRITE_AT,
            handle,
            address,
            len: bytes.len() as u64,
            offset,
            extra: [u64::from(append), 0],
            ..Submission::default()
        })
    }

    fn read_at(&mut self, handle: u64, len: usize, offset: u64) -> Result<Vec<u8>, i64> {
        let n = self.call(Submission {
            op: op::READ_AT,
            handle,
            address: MMAP_START + DATA,
            len: len as u64,
            offset,
            ..Submission::default()
        });
        usize::try_from(n).map(|n| self.get(DATA, n)).map_err(|_| n)
    }

    fn stat(&mut self, dir: u64, path: &str, follow: bool) -> Result<[u64; 12], i64> {
        let result = self.path_op(op::STAT, dir, path, [u64::from(follow), MMAP_START + DATA]);
        if result < 0 {
            return Err(result);
        }
        let bytes = self.get(DATA, 96);
        let words = bytes.as_chunks::<8>().0;
        Ok(std::array::from_fn(|i| u64::from_le_bytes(words[i])))
    }

    fn on(&mut self, op: u64, handle: u64, offset: u64, extra: [u64; 2]) -> i64 {
        self.call(Submission {
            op,
            handle,
            offset,
            extra,
            ..Submission::default()
        })
    }

    /// All entries of a directory: name and type, sorted.
    fn list(&mut self, handle: u64, room: u64) -> Result<Vec<(String, u32)>, i64> {
        let mut names = Vec::new();
        let mut go_on = 0;
        loop {
            let n = self.call(Submission {
                op: op::READ_DIRECTORY,
                handle,
                address: MMAP_START + DATA,
                len: room,
                offset: go_on,
                ..Submission::default()
            });
            let n = usize::try_from(n).map_err(|_| n)?;
            if n == 0 {
                names.sort();
                return Ok(names);
            }
            let bytes = self.get(DATA, n);
            let mut at = 0;
            while at < n {
                let word = |i: usize| u32::from_le_bytes(bytes[at + i..at + i + 4].try_into().unwrap());
                let (kind, len) = (word(8), word(12) as usize);
                let name = &bytes[at + 16..at + 16 + len];
                names.push((String::from_utf8(name.to_vec()).unwrap(), kind));
                at = (at + 16 + len).next_multiple_of(8);
            }
            go_on = 1;
        }
    }
}

const READ: u64 = open::READ;
const RW: u64 = open::READ | open::WRITE;
const NEW: u64 = RW | open::CREATE;
