//! What a program cannot reach: paths that lead outside, and what is read-only.

use super::*;

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
