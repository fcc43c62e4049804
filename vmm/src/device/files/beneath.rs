//! Names of files: every path is resolved by the kernel, beneath the directory that it starts from.
//!
//! The directory itself, symbolic links and `..` on the way cannot lead outside. (openat2(2), RESOLVE_BENEATH) An
//! operation that openat2 does not do is done on the last name of the path, in its parent, which openat2 has opened;
//! none of these operations follows a symbolic link at the end.
//!
//! Trailing slashes and dots mean what they mean to the wasmtime command on Linux.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Errno;

/// openat2(2) gives up with EAGAIN where somebody renames a directory while a `..` is looked up.
const TRIES: u32 = 64;

/// The kernel's `struct open_how`. (linux/openat2.h)
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Permissions of a new file, before the umask.
const NEW_FILE: u64 = 0o666;

/// Opens `path` beneath `dir`. `flags` are those of open(2).
///
/// # Errors
/// EPERM for a path that leads outside, else what openat2 says.
pub(super) fn open(dir: BorrowedFd<'_>, path: &[u8], flags: libc::c_int) -> Result<OwnedFd, Errno> {
    let path = c_string(path)?;
    let flags = flags | libc::O_CLOEXEC;
    let how = OpenHow {
        flags: u64::from(flags.cast_unsigned()),
        mode: if flags & libc::O_CREAT == 0 { 0 } else { NEW_FILE },
        resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS,
    };
    let mut errno = Errno(libc::EAGAIN);
    for _ in 0..TRIES {
        // SAFETY: path and structure are valid for the call, the size is the structure's.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        };
        if let Ok(fd) = i32::try_from(fd)
            && fd >= 0
        {
            // SAFETY: the kernel has just made this descriptor for us.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        errno = Errno::last();
        if !matches!(errno.0, libc::EAGAIN | libc::EINTR) {
            break;
        }
    }
    Err(match errno.0 {
        libc::EXDEV => Errno(libc::EPERM),
        _ => errno,
    })
}

/// The parent of what a path names.
pub(super) enum Parent<'d> {
    Start(BorrowedFd<'d>),
    Opened(OwnedFd),
}

impl Parent<'_> {
    pub(super) fn raw(&self) -> libc::c_int {
        match self {
            Parent::Start(fd) => fd.as_raw_fd(),
            Parent::Opened(fd) => fd.as_fd().as_raw_fd(),
        }
    }
}

/// Opens the parent of what `path` names beneath `dir`, and gives the last name in it: one without a slash, never
/// `..`. A path that can only be a directory has the last name `.` in itself.
///
/// # Errors
/// ENOENT for the empty path, else as [`open`].
pub(super) fn parent<'d>(dir: BorrowedFd<'d>, path: &[u8]) -> Result<(Parent<'d>, CString), Errno> {
    let (above, name) = split(path).ok_or(Errno(libc::ENOENT))?;
    let name = c_string(name)?;
    if above.is_empty() {
        return Ok((Parent::Start(dir), name));
    }
    let opened = open(dir, above, libc::O_PATH | libc::O_DIRECTORY)?;
    Ok((Parent::Opened(opened), name))
}

/// Splits a path into that of the parent, which is empty for the start, and the last name.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    let at = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    let (above, name) = path.split_at(at);
    Some(match name {
        b"" | b".." => (path, b"."),
        b"." if !above.is_empty() => (path, b"."),
        name => (above, name),
    })
}

/// The path without slashes at its end.
pub(super) fn without_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(1, |last| last + 1);
    path.get(..end).unwrap_or(path)
}

/// The one name that a path consists of but for slashes and dots at its end.
pub(super) fn single_name(path: &[u8]) -> Option<CString> {
    let mut name = path;
    while let Some(rest) = name.strip_suffix(b"/").or_else(|| name.strip_suffix(b"/.")) {
        name = rest;
    }
    let single = !name.contains(&b'/') && !matches!(name, b"" | b"." | b"..");
    if single { CString::new(name).ok() } else { None }
}

/// The text for a system call. A zero byte was refused when it was copied from the guest.
pub(super) fn c_string(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_their_last_name() {
        for (path, above, name) in [
            ("foo", "", "foo"),
            ("foo/bar", "foo/", "bar"),
            ("foo//bar", "foo//", "bar"),
            (".", "", "."),
            ("foo/", "foo/", "."),
            ("foo/.", "foo/.", "."),
            ("..", "..", "."),
            ("foo/..", "foo/..", "."),
            ("../foo", "../", "foo"),
            ("/foo", "/", "foo"),
            ("/", "/", "."),
            ("foo.", "", "foo."),
        ] {
            let expected = (above.as_bytes(), name.as_bytes());
            assert_eq!(split(path.as_bytes()), Some(expected), "{path}");
        }
        assert_eq!(split(b""), None);
    }

    #[test]
    fn ends_of_paths() {
        assert_eq!(without_slashes(b"a//"), b"a");
        assert_eq!(without_slashes(b"///"), b"/");
        assert_eq!(without_slashes(b""), b"");
        assert_eq!(single_name(b"a/./"), CString::new("a").ok());
        for path in ["a/b", "/a", "./a", ".", "..", "/", "", "./"] {
            assert_eq!(single_name(path.as_bytes()), None, "{path}");
        }
    }
}
