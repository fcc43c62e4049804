//! Reading, writing, and what a handle says of itself.

use super::*;

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
