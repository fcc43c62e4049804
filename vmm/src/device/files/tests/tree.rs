//! Folders, names, streams, and the number of handles.

use std::path::Path;

use super::*;

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

fn mkfifo(path: &Path) {
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

fn read_of(handle: u64) -> Submission {
    Submission {
        op: op::READ_AT,
        token: 1,
        handle,
        address: MMAP_START + DATA,
        len: 10,
        ..Submission::default()
    }
}

#[test]
fn a_fifo_ends_with_its_writer_and_not_before_it() {
    let (mut f, temp) = granted(false);
    let path = temp.path().join("fifo");
    mkfifo(&path);
    let fifo = f.opened("fifo", READ);
    assert_eq!(f.read_at(fifo, 0, 0), Ok(vec![]), "of no bytes there are enough");
    f.submit(read_of(fifo));
    assert_eq!(f.completions(), [], "a writer may come");
    let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    assert_eq!(f.completions(), [], "it may write");
    writer.write_all(b"abc").unwrap();
    drop(writer);
    assert_eq!(f.completions(), [(1, 3)]);
    assert_eq!(f.read_at(fifo, 10, 0), Ok(vec![]), "the writer has gone");
    // Who does not want to wait is told what is: nothing.
    let fifo = f.opened("fifo", READ | open::NONBLOCK);
    assert_eq!(f.read_at(fifo, 10, 0), Ok(vec![]));
}

#[test]
fn a_fifo_reads_as_a_stream() {
    let (mut f, temp) = granted(false);
    let path = temp.path().join("fifo");
    mkfifo(&path);
    // Nobody writes: opening waits for nobody.
    let fifo = f.opened("fifo", RW);
    let read = read_of(fifo);
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
