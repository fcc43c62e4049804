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

#[test]
fn nothing_leads_outside() {
    let (mut f, temp) = granted(false);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let absolute = outside.path().join("secret");
    let root = temp.path();
    symlink("/", root.join("root")).unwrap();
    symlink(&absolute, root.join("absolute")).unwrap();
    symlink(outside.path(), root.join("elsewhere")).unwrap();
    symlink("..", root.join("up")).unwrap();
    fs::create_dir_all(root.join("a/b")).unwrap();
    symlink("../../..", root.join("a/b/deep")).unwrap();
    let name = outside.path().file_name().unwrap().to_str().unwrap().to_owned();
    let escapes = [
        "..".into(),
        "../".into(),
        "a/../..".into(),
        "a/b/../../../".to_string() + &name + "/secret",
        "/".into(),
        "/etc/passwd".into(),
        absolute.to_str().unwrap().into(),
        "root/etc/passwd".into(),
        "absolute".into(),
        "elsewhere/secret".into(),
        "up/".to_string() + &name,
        "a/b/deep/".to_string() + &name,
    ];
    let follow = READ | open::FOLLOW;
    for path in &escapes {
        assert_eq!(f.open(path, follow), error(libc::EPERM), "open {path}");
        assert_eq!(
            f.open(path, NEW | open::FOLLOW),
            error(libc::EPERM),
            "create {path}"
        );
        assert_eq!(f.stat(DIR, path, true), Err(error(libc::EPERM)), "stat {path}");
        let times = [1, MMAP_START + DATA];
        assert_eq!(
            f.path_op(op::SET_TIMES, DIR, path, times),
            error(libc::EPERM),
            "{path}"
        );
    }
    // What changes a name does not follow a symbolic link at the end, so only ways through one lead outside.
    for path in escapes.iter().filter(|p| *p != "absolute" && *p != "..") {
        let inside = format!("{path}/x");
        for op in [op::MAKE_DIRECTORY, op::REMOVE_DIRECTORY, op::UNLINK] {
            assert_eq!(
                f.path_op(op, DIR, &inside, [0, 0]),
                error(libc::EPERM),
                "{op} {inside}"
            );
        }
        assert_eq!(f.symlink(&inside, "a"), error(libc::EPERM), "{inside}");
        for (old, new) in [(inside.as_str(), "new"), ("a", inside.as_str())] {
            for op in [op::RENAME, op::LINK] {
                let result = f.two_paths(op, (DIR, old), (DIR, new));
                assert_eq!(result, error(libc::EPERM), "{op} {old} {new}");
            }
        }
        let result = f.path_op(op::READ_LINK, DIR, &inside, [0, 100]);
        assert_eq!(result, error(libc::EPERM), "{inside}");
    }
    assert_eq!(f.symlink("mine", "/etc"), error(libc::EPERM), "an absolute text");
    let told = f.path_op(op::READ_LINK, DIR, "root", [0, 100]);
    assert_eq!(told, error(libc::EPERM), "an absolute text is not told");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    // What leads up and back in again is not outside.
    assert!(f.open("a/../a/b/..", READ) > 0);
}

#[test]
fn a_link_made_to_lead_outside_is_not_followed() {
    let (mut f, _temp) = granted(false);
    assert_eq!(f.symlink("out", "../../etc/passwd"), 0, "as on any system");
    assert_eq!(f.open("out", READ | open::FOLLOW), error(libc::EPERM));
    assert_eq!(f.open("out", READ), error(libc::ELOOP));
    assert_eq!(f.symlink("loop", "loop"), 0);
    assert_eq!(f.open("loop", READ | open::FOLLOW), error(libc::ELOOP));
    assert_eq!(f.stat(DIR, "loop/x", true), Err(error(libc::ELOOP)));
}

#[test]
fn magic_links_are_not_followed() {
    if !Path::new("/proc/self/root").exists() {
        return;
    }
    let mut f = fixture();
    grant(&mut f, Path::new("/proc/self"), true);
    let follow = READ | open::FOLLOW;
    for path in ["root", "root/etc", "cwd", "fd/0", "exe"] {
        assert_eq!(f.open(path, follow), error(libc::ELOOP), "{path}");
        assert_eq!(f.stat(DIR, path, true), Err(error(libc::ELOOP)), "{path}");
    }
}

#[test]
fn a_moved_directory_stays_a_boundary_of_its_own() {
    let (mut f, temp) = granted(false);
    fs::create_dir_all(temp.path().join("a/b")).unwrap();
    let inner = f.opened("a/b", READ);
    // What is opened from it is beneath it, not only beneath the preopen.
    assert_eq!(f.path_op(op::OPEN, inner, "..", [READ, 0]), error(libc::EPERM));
    fs::rename(temp.path().join("a/b"), temp.path().join("c")).unwrap();
    assert_eq!(f.path_op(op::OPEN, inner, "../a", [READ, 0]), error(libc::EPERM));
    assert!(f.path_op(op::OPEN, inner, "x", [NEW, 0]) > 0);
    assert!(temp.path().join("c/x").exists());
}

#[test]
fn below_a_read_only_directory_nothing_changes() {
    let (mut f, temp) = granted(true);
    let root = temp.path();
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("dir/file"), "text").unwrap();
    let other = tempfile::tempdir().unwrap();
    let writable = grant(&mut f, other.path(), false);
    fs::write(other.path().join("w"), "w").unwrap();
    let rofs = error(libc::EROFS);

    let dir = f.opened("dir", READ | open::DIRECTORY);
    for start in [DIR, dir] {
        for flags in [
            open::WRITE,
            RW,
            NEW,
            READ | open::CREATE,
            READ | open::TRUNCATE,
            open::CREATE | open::EXCLUSIVE,
        ] {
            for name in ["dir/file", "file", "new"] {
                assert_eq!(
                    f.path_op(op::OPEN, start, name, [flags, 0]),
                    rofs,
                    "{flags:#x} {name}"
                );
            }
        }
        for op in [op::MAKE_DIRECTORY, op::REMOVE_DIRECTORY, op::UNLINK] {
            assert_eq!(f.path_op(op, start, "file", [0, 0]), rofs, "{op}");
        }
        assert_eq!(f.path_op(op::SET_TIMES, start, "file", [0, MMAP_START]), rofs);
        assert_eq!(f.two_paths(op::SYMLINK, (start, "new"), (0, "file")), rofs);
        for op in [op::RENAME, op::LINK] {
            assert_eq!(f.two_paths(op, (start, "file"), (start, "new")), rofs, "{op}");
            assert_eq!(f.two_paths(op, (start, "file"), (writable, "new")), rofs, "{op}");
            assert_eq!(f.two_paths(op, (writable, "w"), (start, "new")), rofs, "{op}");
        }
        assert_eq!(f.on(op::SET_TIMES, start, 0, [0, MMAP_START]), rofs);
    }
    let file = f.opened("dir/file", READ);
    assert_eq!(f.read_at(file, 10, 0).unwrap(), b"text");
    assert_eq!(f.write_at(file, b"x", 0, false), rofs);
    assert_eq!(f.write_at(file, b"x", 0, true), rofs);
    assert_eq!(f.on(op::SET_SIZE, file, 0, [0, 0]), rofs);
    assert_eq!(f.on(op::SET_TIMES, file, 0, [0, MMAP_START]), rofs);
    assert_eq!(f.on(op::SYNC, file, 0, [0, 0]), 0);
    assert_eq!(fs::read(root.join("dir/file")).unwrap(), b"text");
    assert_eq!(fs::read_dir(root).unwrap().count(), 1);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
}

#[test]
fn large_data_goes_both_ways_whole() {
    let (mut f, temp) = granted(false);
    let file = f.opened("big", NEW);
    // More than two pieces of the address space, and not aligned to anything.
    let data: Vec<u8> = (0..5_000_001_u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(f.write_at(file, &data, 3, false), 5_000_001);
    let on_disk = fs::read(temp.path().join("big")).unwrap();
    assert!(on_disk[..3] == [0; 3] && on_disk[3..] == data);
    f.put(DATA, &vec![0; data.len()]);
    assert!(f.read_at(file, data.len(), 3).unwrap() == data);
    assert_eq!(f.read_at(file, 100, 5_000_000).unwrap().len(), 4, "the file ends");
    assert_eq!(f.read_at(file, 100, 6_000_000).unwrap(), b"");
    assert_eq!(f.read_at(file, 1, u64::MAX), Err(error(libc::EINVAL)));
}

#[test]
fn appended_data_goes_to_the_end() {
    let (mut f, temp) = granted(false);
    let disk = temp.path().join("log");
    fs::write(&disk, "one").unwrap();
    let file = f.opened("log", RW);
    assert_eq!(f.write_at(file, b"two", 0, true), 3);
    assert_eq!(f.on(op::SET_FLAGS, file, 0, [open::APPEND, 0]), 0);
    assert_eq!(f.write_at(file, b"three", 0, false), 5);
    assert_eq!(f.on(op::SET_FLAGS, file, 0, [0, 0]), 0);
    assert_eq!(f.write_at(file, b"O", 0, false), 1);
    let appending = f.opened("log", open::WRITE | open::APPEND);
    assert_eq!(f.write_at(appending, b"!", 0, false), 1);
    assert_eq!(fs::read(&disk).unwrap(), b"Onetwothree!");
    let flags = [open::SYNC, u64::MAX, open::READ];
    for flag in flags {
        assert_eq!(f.on(op::SET_FLAGS, file, 0, [flag, 0]), error(libc::EINVAL));
    }
}

#[test]
fn opening_says_what_it_is() {
    let (mut f, temp) = granted(false);
    fs::create_dir(temp.path().join("dir")).unwrap();
    let kind = |result: i64| result >> 32;
    assert_eq!(kind(f.open("file", NEW)), Type::RegularFile as i64);
    assert_eq!(kind(f.open("dir", READ)), Type::Directory as i64);
    assert_eq!(
        kind(f.open("dir/", READ | open::DIRECTORY)),
        Type::Directory as i64
    );
    for (path, flags, errno) in [
        ("none", READ, libc::ENOENT),
        ("", READ, libc::ENOENT),
        ("file/", READ, libc::ENOTDIR),
        ("file/.", READ, libc::ENOTDIR),
        ("file", READ | open::DIRECTORY, libc::ENOTDIR),
        ("file", NEW | open::EXCLUSIVE, libc::EEXIST),
        ("dir", open::WRITE, libc::EISDIR),
        ("dir", open::READ | open::CREATE, libc::EISDIR),
        ("x", NEW | open::DIRECTORY, libc::EINVAL),
        ("x", 1 << 11, libc::EINVAL),
        ("x\0y", NEW, libc::EINVAL),
    ] {
        assert_eq!(f.open(path, flags), error(errno), "{path:?} {flags:#x}");
    }
    let long = "x/".repeat(3000);
    assert_eq!(f.open(&long, READ), error(libc::ENAMETOOLONG));
    let address = f.put(PATH, b"\xff\xfe");
    let bad = Submission {
        op: op::OPEN,
        handle: DIR,
        address,
        len: 2,
        ..Submission::default()
    };
    assert_eq!(f.call(bad), error(libc::EILSEQ));
    let nowhere = Submission { address: 0, ..bad };
    assert_eq!(f.call(nowhere), error(libc::EFAULT));
    // Without WRITE, a new file is made all the same, and cut by TRUNCATE.
    assert!(f.open("made", open::CREATE) > 0);
    fs::write(temp.path().join("made"), "text").unwrap();
    assert!(f.open("made", READ | open::TRUNCATE) > 0);
    assert_eq!(fs::read(temp.path().join("made")).unwrap(), b"");
}

#[test]
fn the_wrong_kind_of_handle_is_an_error() {
    let (mut f, _temp) = granted(false);
    let file = f.opened("file", NEW);
    let (badf, notdir) = (error(libc::EBADF), error(libc::ENOTDIR));
    for op in op::READ_AT..=op::IS_SAME {
        for handle in [HTTP_INCOMING, 999, u64::MAX] {
            assert_eq!(f.on(op, handle, 0, [0, 0]), badf, "{op} {handle}");
        }
    }
    assert_eq!(f.read_at(0, 1, 0), Err(error(libc::ESPIPE)));
    assert_eq!(f.write_at(1, b"x", 0, false), error(libc::ESPIPE));
    assert_eq!(f.read_at(DIR, 1, 0), Err(badf));
    for op in [op::SET_SIZE, op::ADVISE, op::SET_FLAGS] {
        assert_eq!(f.on(op, DIR, 0, [0, 1]), badf, "{op}");
    }
    for op in [op::OPEN, op::MAKE_DIRECTORY, op::UNLINK, op::READ_LINK, op::STAT] {
        assert_eq!(f.path_op(op, file, "x", [0, 0]), notdir, "{op}");
    }
    assert_eq!(f.list(file, 1000), Err(notdir));
    let wrong = Submission {
        op: op::READ,
        handle: file,
        address: MMAP_START,
        len: 1,
        ..Submission::default()
    };
    assert_eq!(f.call(wrong), badf);
    let reader = f.opened("file", READ);
    assert_eq!(f.write_at(reader, b"x", 0, false), badf);
    let writer = f.opened("file", open::WRITE);
    assert_eq!(f.read_at(writer, 1, 0), Err(badf));
    assert_eq!(f.read_at(writer, 0, 0), Err(badf));
}

#[test]
fn status_and_times() {
    let (mut f, temp) = granted(false);
    fs::write(temp.path().join("file"), "12345").unwrap();
    symlink("file", temp.path().join("link")).unwrap();
    let meta = fs::metadata(temp.path().join("file")).unwrap();
    let stat = f.stat(DIR, "file", false).unwrap();
    assert_eq!(
        stat[..5],
        [meta.dev(), meta.ino(), Type::RegularFile as u64, 1, 5]
    );
    assert_eq!(stat[7].cast_signed(), meta.mtime());
    assert_eq!(stat[8].cast_signed(), meta.mtime_nsec());
    assert_eq!(f.stat(DIR, "link", true).unwrap()[1], meta.ino());
    assert_eq!(f.stat(DIR, "link", false).unwrap()[2], Type::SymbolicLink as u64);
    assert_eq!(
        f.stat(DIR, "./link", false).unwrap()[2],
        Type::SymbolicLink as u64
    );
    assert_eq!(f.stat(DIR, "", false).unwrap()[2], Type::Directory as u64);
    let file = f.opened("link", RW | open::FOLLOW);
    assert_eq!(f.stat(file, "", false).unwrap()[4], 5);

    let set = |f: &mut Fixture, dir, path: &str, follow: u64, times: [u64; 4]| {
        let bytes: Vec<u8> = times.iter().flat_map(|t| t.to_le_bytes()).collect();
        let address = f.put(DATA, &bytes);
        f.path_op(op::SET_TIMES, dir, path, [follow, address])
    };
    assert_eq!(set(&mut f, DIR, "link", 1, [10, 1, 20, 2]), 0);
    let meta = fs::metadata(temp.path().join("file")).unwrap();
    assert_eq!(
        (meta.atime(), meta.atime_nsec(), meta.mtime(), meta.mtime_nsec()),
        (10, 1, 20, 2)
    );
    assert_eq!(set(&mut f, DIR, "link", 0, [30, 0, 40, 0]), 0);
    let link = fs::symlink_metadata(temp.path().join("link")).unwrap();
    assert_eq!(link.mtime(), 40);
    assert_eq!(set(&mut f, file, "", 0, [0, time::OMIT, 50, 0]), 0);
    let meta = fs::metadata(temp.path().join("file")).unwrap();
    assert_eq!((meta.atime(), meta.mtime()), (10, 50));
    assert_eq!(set(&mut f, DIR, "", 0, [0, time::OMIT, 60, 0]), 0);
    assert_eq!(
        set(&mut f, DIR, "file", 0, [0, 1_000_000_000, 0, 0]),
        error(libc::EINVAL)
    );
    assert_eq!(
        set(&mut f, DIR, "file", 0, [0, u64::MAX, 0, 0]),
        error(libc::EINVAL)
    );
    assert_eq!(set(&mut f, DIR, "file", 0, [0, time::NOW, 0, time::OMIT]), 0);
    assert!(fs::metadata(temp.path().join("file")).unwrap().atime() > 1000);
}

#[test]
fn the_tree_changes() {
    let (mut f, temp) = granted(false);
    let root = temp.path();
    let other = tempfile::tempdir().unwrap();
    let second = grant(&mut f, other.path(), false);
    assert_eq!(f.path_op(op::MAKE_DIRECTORY, DIR, "d//", [0, 0]), 0);
    assert_eq!(
        f.path_op(op::MAKE_DIRECTORY, DIR, "d", [0, 0]),
        error(libc::EEXIST)
    );
    assert_eq!(
        f.path_op(op::MAKE_DIRECTORY, DIR, "", [0, 0]),
        error(libc::ENOENT)
    );
    f.opened("d/file", NEW);
    assert_eq!(
        f.path_op(op::REMOVE_DIRECTORY, DIR, "d", [0, 0]),
        error(libc::ENOTEMPTY)
    );
    assert_eq!(f.path_op(op::UNLINK, DIR, "d", [0, 0]), error(libc::EISDIR));
    assert_eq!(
        f.path_op(op::UNLINK, DIR, "d/file/", [0, 0]),
        error(libc::ENOTDIR)
    );
    assert_eq!(
        f.path_op(op::REMOVE_DIRECTORY, DIR, "d/file", [0, 0]),
        error(libc::ENOTDIR)
    );
    assert_eq!(f.two_paths(op::LINK, (DIR, "d/file"), (second, "hard")), 0);
    assert_eq!(fs::metadata(other.path().join("hard")).unwrap().nlink(), 2);
    assert_eq!(f.two_paths(op::RENAME, (DIR, "d/file"), (second, "moved")), 0);
    assert!(other.path().join("moved").exists() && !root.join("d/file").exists());
    assert_eq!(
        f.two_paths(op::RENAME, (second, "moved/"), (DIR, "x")),
        error(libc::ENOTDIR)
    );
    assert_eq!(
        f.two_paths(op::RENAME, (second, "moved"), (DIR, "x/")),
        error(libc::ENOTDIR)
    );
    assert_eq!(f.two_paths(op::RENAME, (DIR, "d/"), (second, "e/")), 0);
    assert!(other.path().join("e").is_dir());
    assert_eq!(f.symlink("l", "some/where"), 0);
    assert_eq!(f.symlink("l", "x"), error(libc::EEXIST));
    assert_eq!(f.symlink("l2/", "x"), error(libc::ENOENT));
    let to = MMAP_START + DATA;
    let read_link = |f: &mut Fixture, room| {
        let address = f.put(PATH, b"l");
        f.call(Submission {
            op: op::READ_LINK,
            handle: DIR,
            address,
            len: 1,
            offset: to,
            extra: [0, room],
            ..Submission::default()
        })
    };
    assert_eq!(read_link(&mut f, 10), 10);
    assert_eq!(f.get(DATA, 10), b"some/where");
    assert_eq!(read_link(&mut f, 9), error(libc::ERANGE));
    // A link to a link is a name of the link itself.
    assert_eq!(f.two_paths(op::LINK, (DIR, "l"), (DIR, "l3")), 0);
    assert!(fs::symlink_metadata(root.join("l3")).unwrap().is_symlink());
    assert_eq!(f.path_op(op::UNLINK, DIR, "l", [0, 0]), 0);
    assert_eq!(f.path_op(op::REMOVE_DIRECTORY, second, "e", [0, 0]), 0);
}

#[test]
fn a_directory_is_listed_in_pieces() {
    let (mut f, temp) = granted(false);
    for i in 0..3000 {
        fs::write(temp.path().join(format!("file-{i:04}")), "").unwrap();
    }
    fs::create_dir(temp.path().join("sub")).unwrap();
    symlink("x", temp.path().join("sym")).unwrap();
    for room in [64, 1000, 64 << 10, 1 << 20] {
        let names = f.list(DIR, room).unwrap();
        assert_eq!(names.len(), 3002, "{room}");
        assert_eq!(names[17], ("file-0017".into(), Type::RegularFile as u32));
        assert_eq!(names[3000], ("sub".into(), Type::Directory as u32));
        assert_eq!(names[3001], ("sym".into(), Type::SymbolicLink as u32));
    }
    assert_eq!(f.list(DIR, 20), Err(error(libc::EINVAL)), "no room for one");
    assert_eq!(f.list(DIR, 7 << 20), Ok(f.list(DIR, 100).unwrap()));
    let sub = f.opened("sub", READ);
    assert_eq!(f.list(sub, 100), Ok(vec![]));
    assert_eq!(f.on(op::READ_DIRECTORY, sub, 2, [0, 0]), error(libc::EINVAL));
}

#[test]
fn sizes_advice_and_identity() {
    let (mut f, temp) = granted(false);
    let file = f.opened("file", NEW);
    assert_eq!(f.on(op::SET_SIZE, file, 1000, [0, 0]), 0);
    assert_eq!(fs::metadata(temp.path().join("file")).unwrap().len(), 1000);
    assert_eq!(f.on(op::SET_SIZE, file, u64::MAX, [0, 0]), error(libc::EINVAL));
    for advice in 0..=5 {
        assert_eq!(f.on(op::ADVISE, file, 0, [advice, 100]), 0);
    }
    assert_eq!(f.on(op::ADVISE, file, 0, [6, 100]), error(libc::EINVAL));
    for how in [0, 1] {
        assert_eq!(f.on(op::SYNC, file, 0, [how, 0]), 0);
        assert_eq!(f.on(op::SYNC, DIR, 0, [how, 0]), 0);
    }
    let again = f.opened("./file", READ);
    assert_eq!(f.on(op::IS_SAME, file, 0, [again, 0]), 1);
    assert_eq!(f.on(op::IS_SAME, file, 0, [DIR, 0]), 0);
    assert_eq!(f.on(op::CLOSE, file, 0, [0, 0]), 0);
    assert_eq!(f.on(op::IS_SAME, file, 0, [again, 0]), error(libc::EBADF));
    assert_eq!(f.opened("file", READ), file, "the handle is free again");
}

#[test]
fn a_fifo_reads_as_a_stream() {
    let (mut f, temp) = granted(false);
    let path = temp.path().join("fifo");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    // Nobody writes: opening waits for nobody.
    let fifo = f.opened("fifo", RW);
    let read = Submission {
        op: op::READ_AT,
        token: 1,
        handle: fifo,
        address: MMAP_START + DATA,
        len: 10,
        ..Submission::default()
    };
    f.submit(read);
    f.submit(Submission { token: 2, ..read });
    f.submit(Submission { token: 3, ..read });
    assert_eq!(f.completions(), []);
    let mut other = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    other.write_all(b"abc").unwrap();
    assert_eq!(f.completions(), [(1, 3)]);
    assert_eq!(f.get(DATA, 3), b"abc");
    f.submit(Submission {
        op: op::CANCEL,
        token: 4,
        extra: [2, 0],
        ..Submission::default()
    });
    assert_eq!(f.completions(), [(2, error(libc::ECANCELED)), (4, 0)]);
    assert_eq!(f.on(op::SET_FLAGS, fifo, 0, [open::NONBLOCK, 0]), 0);
    f.submit(Submission {
        op: op::CLOSE,
        token: 5,
        handle: fifo,
        ..Submission::default()
    });
    assert_eq!(f.completions(), [(3, error(libc::ECANCELED)), (5, 0)]);

    let fifo = f.opened("fifo", RW | open::NONBLOCK);
    assert_eq!(f.read_at(fifo, 1, 0), Err(error(libc::EAGAIN)));
    // A write that does not fit goes on as it is read.
    let fifo = f.opened("fifo", RW);
    let data = vec![7; 200_000];
    f.put(DATA, &data);
    f.submit(Submission {
        op: op::WRITE_AT,
        token: 6,
        handle: fifo,
        address: MMAP_START + DATA,
        len: 200_000,
        ..Submission::default()
    });
    let mut got = Vec::new();
    let mut buffer = vec![0; 50_000];
    let mut answers = Vec::new();
    while got.len() < data.len() {
        answers.extend(f.completions());
        let n = other.read(&mut buffer).unwrap();
        got.extend_from_slice(&buffer[..n]);
    }
    answers.extend(f.completions());
    assert_eq!(answers, [(6, 200_000)]);
    assert!(got == data);
}

#[test]
fn handles_run_out_before_a_file_is_made() {
    let (mut f, temp) = granted(false);
    let most = mote_abi::ring::HANDLES_MAX;
    // SAFETY: pointer to a local; the test's own process.
    let files = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max.min(most + 1000);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        limit.rlim_cur
    };
    if files < most + 1000 {
        return;
    }
    f.opened("file", NEW);
    for _ in 0..most - 5 {
        f.opened("file", READ);
    }
    assert_eq!(f.open("new", NEW), error(libc::EMFILE));
    assert!(!temp.path().join("new").exists());
}
