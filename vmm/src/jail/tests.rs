use super::*;
use crate::device::files::Directory;
use crate::device::fixture::fixture;
use mote_abi::fs::open;
use mote_abi::layout::MMAP_START;
use mote_abi::ring::{FIRST_PREOPEN, Submission, op};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

const FILES_ALONE: Granted = Granted {
    files: true,
    sockets: false,
    front: false,
};

#[test]
fn the_filters_build() {
    let len = |granted| filter(granted).unwrap().len();
    let none = len(Granted::default());
    assert!(none > 0);
    for granted in [
        Granted {
            sockets: true,
            ..Granted::default()
        },
        Granted {
            front: true,
            ..Granted::default()
        },
        FILES_ALONE,
    ] {
        assert!(len(granted) > none, "{granted:?}");
    }
}

/// Runs `body` in a process of its own; how that ended: as wait(2) has it.
fn in_child(body: impl FnOnce()) -> i32 {
    // SAFETY: the child has one thread, works on its copy of the memory and leaves by _exit.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            libc::_exit(i32::from(result.is_err()));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        status
    }
}

/// Every operation on files, in the jail with `writable` and `readable` granted.
fn work(writable: &Path, readable: &Path, user: Option<&User>) -> i32 {
    let mut f = fixture();
    let (w, r) = (File::open(writable).unwrap(), File::open(readable).unwrap());
    in_child(move || {
        drop_privileges(&Keep {
            directories: vec![(w.as_fd(), false), (r.as_fd(), true)],
            user,
        })
        .unwrap();
        let (w, r) = (w.into(), r.into());
        let w = f.server.preopen(Directory::preopened(w, false)).unwrap();
        let r = f.server.preopen(Directory::preopened(r, true)).unwrap();
        assert_eq!((w, r), (FIRST_PREOPEN, FIRST_PREOPEN + 1));
        seal(FILES_ALONE).unwrap();
        let data = MMAP_START + 64;
        let one = f.put(0, b"a");
        let two = f.put(1, b"b");
        let on_path = |op, handle, address, extra| Submission {
            op,
            handle,
            address,
            len: 1,
            extra,
            ..Submission::default()
        };
        let mut ok = |s: Submission| {
            let result = f.call(s);
            assert!(result >= 0, "{s:?}: {result}");
            result.cast_unsigned() & 0xffff_ffff
        };
        let file = ok(on_path(
            op::OPEN,
            w,
            one,
            [open::READ | open::WRITE | open::CREATE, 0],
        ));
        let with = |op, len, offset, extra| Submission {
            op,
            handle: file,
            address: data,
            len,
            offset,
            extra,
            ..Submission::default()
        };
        ok(with(op::WRITE_AT, 5, 0, [0, 0]));
        ok(with(op::WRITE_AT, 5, 0, [1, 0]));
        ok(with(op::READ_AT, 9, 1, [0, 0]));
        ok(with(op::SET_SIZE, 0, 7, [0, 0]));
        ok(with(op::ADVISE, 0, 0, [0, 0]));
        ok(with(op::SYNC, 0, 0, [0, 0]));
        ok(with(op::SYNC, 0, 0, [1, 0]));
        ok(with(op::SET_FLAGS, 0, 0, [open::APPEND, 0]));
        ok(with(op::STAT, 0, 0, [0, data]));
        ok(with(op::IS_SAME, 0, 0, [w, 0]));
        ok(with(op::SET_TIMES, 0, 0, [0, MMAP_START + 4096]));
        ok(on_path(op::STAT, w, one, [0, data]));
        ok(on_path(op::STAT, w, one, [1, data]));
        ok(on_path(op::SET_TIMES, w, one, [0, MMAP_START + 4096]));
        ok(on_path(op::SET_TIMES, w, one, [1, MMAP_START + 4096]));
        ok(on_path(op::MAKE_DIRECTORY, w, two, [0, 0]));
        let inner = ok(on_path(op::OPEN, w, two, [open::READ, 0]));
        for (operation, old, new) in [
            (op::RENAME, w, inner),
            (op::RENAME, inner, w),
            (op::LINK, w, inner),
        ] {
            ok(Submission {
                offset: one,
                ..on_path(operation, old, one, [new, 1])
            });
        }
        ok(on_path(op::UNLINK, inner, one, [0, 0]));
        ok(Submission {
            offset: one,
            ..on_path(op::SYMLINK, inner, two, [0, 1])
        });
        ok(Submission {
            offset: data,
            ..on_path(op::READ_LINK, inner, two, [0, 9])
        });
        ok(Submission {
            len: 1000,
            ..on_path(op::READ_DIRECTORY, w, data, [0, 0])
        });
        ok(on_path(op::UNLINK, inner, two, [0, 0]));
        ok(on_path(op::REMOVE_DIRECTORY, w, two, [0, 0]));
        ok(on_path(op::OPEN, r, one, [open::READ, 0]));
        let at_root = File::open("/");
        assert!(at_root.is_ok(), "not reached: the call ends the process");
    })
}

fn directories() -> (tempfile::TempDir, tempfile::TempDir) {
    let (w, r) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(r.path().join("a"), "text").unwrap();
    for dir in [&w, &r] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    }
    (w, r)
}

const SIGSYS: i32 = 31;

#[test]
fn all_operations_on_files_work_in_the_jail_and_no_other_call() {
    let (w, r) = directories();
    // The last thing it does is open(2).
    assert_eq!(work(w.path(), r.path(), None) & 0x7f, SIGSYS);
    assert_eq!(fs::read(w.path().join("a")).unwrap().len(), 7);
    assert_eq!(fs::read_dir(w.path()).unwrap().count(), 1);
}

#[test]
fn landlock_closes_what_is_outside() {
    let (w, r) = directories();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("a"), "secret").unwrap();
    let (fd, ro) = (File::open(w.path()).unwrap(), File::open(r.path()).unwrap());
    let other = File::open(outside.path()).unwrap();
    let status = in_child(|| {
        confine(&[(fd.as_fd(), false), (ro.as_fd(), true)]).unwrap();
        // SAFETY: asks for the version of Landlock's interface.
        let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
        if version < 2 {
            return;
        }
        for (dir, flags, allowed) in [
            (&ro, libc::O_RDONLY, true),
            (&ro, libc::O_RDWR, false),
            (&fd, libc::O_RDWR | libc::O_CREAT, true),
            (&other, libc::O_RDONLY, false),
        ] {
            // SAFETY: the name is a C string.
            let opened = unsafe { libc::openat(dir.as_raw_fd(), c"a".as_ptr(), flags, 0o600) };
            assert_eq!(opened >= 0, allowed, "{flags:#o}");
        }
    });
    assert_eq!(status, 0);
}

#[test]
fn files_are_reached_as_the_user_that_was_named() {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let (w, r) = directories();
    let user = User {
        uid: 1234,
        gid: 2345,
        groups: vec![3456],
    };
    assert_eq!(work(w.path(), r.path(), Some(&user)) & 0x7f, SIGSYS);
    let meta = fs::metadata(w.path().join("a")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (1234, 2345));

    // Root reaches what it does not own by CAP_DAC_OVERRIDE, and keeps nothing else.
    let (w, r) = directories();
    fs::set_permissions(w.path(), fs::Permissions::from_mode(0o700)).unwrap();
    chown(w.path(), Some(1234), Some(1234)).unwrap();
    let root = User {
        uid: 0,
        gid: 0,
        groups: vec![],
    };
    assert_eq!(work(w.path(), r.path(), Some(&root)) & 0x7f, SIGSYS);
    assert_eq!(fs::metadata(w.path().join("a")).unwrap().uid(), 0);
    let status = in_child(|| {
        become_user(&root).unwrap();
        let text = fs::read_to_string("/proc/self/status").unwrap();
        assert!(text.contains("CapEff:\t000000000000001a"), "{text}");
        assert!(text.contains("CapPrm:\t000000000000001a"), "{text}");
    });
    assert_eq!(status, 0);
}
