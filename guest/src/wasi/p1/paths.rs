//! Calls on paths and directories.

use alloc::string::String;

use mote_abi::fs::Type;
use wasmtime::Caller;

use super::fds::{Directory, Fd, File};
use super::flags::{self, fdflags};
use super::{Answer, Failure, descriptors, errno, fail, memory};
use crate::wasi::Host;
use crate::wasi::files::{self, At, Target};

type Cx<'a, 'b> = &'a mut Caller<'b, Host>;

/// A place that the program names: its directory's handle and the path, copied out of the program's memory.
struct Named {
    directory: u64,
    path: String,
}

impl Named {
    fn at(&self) -> At<'_> {
        At {
            directory: self.directory,
            path: &self.path,
        }
    }
}

fn named(memory: &[u8], host: &mut Host, fd: u32, path: u32, len: u32) -> Result<Named, Failure> {
    Ok(Named {
        directory: host.fds.directory(fd)?.handle,
        path: String::from(memory::text(memory, path, len)?),
    })
}

/// An operation on one path.
macro_rules! on_path {
    ($name:ident, $op:path) => {
        pub(super) fn $name(caller: Cx<'_, '_>, fd: u32, path: u32, len: u32) -> Answer {
            let (memory, host) = memory::split(caller)?;
            let place = named(memory, host, fd, path, len)?;
            Ok($op(&mut host.ring, place.at())?)
        }
    };
}

on_path!(path_create_directory, files::make_directory);
on_path!(path_remove_directory, files::remove_directory);
on_path!(path_unlink_file, files::unlink);

pub(super) fn path_filestat_get(
    caller: Cx<'_, '_>,
    fd: u32,
    lookup: u32,
    path: u32,
    len: u32,
    out: u32,
) -> Answer {
    let follow = flags::follow(lookup)?;
    let (memory, host) = memory::split(caller)?;
    let place = named(memory, host, fd, path, len)?;
    let stat = files::stat_at(&mut host.ring, place.at(), follow)?;
    memory::write(memory, out, 8, &descriptors::filestat(&stat)?)
}

#[allow(clippy::too_many_arguments, reason = "the call's own")]
pub(super) fn path_filestat_set_times(
    caller: Cx<'_, '_>,
    fd: u32,
    lookup: u32,
    path: u32,
    len: u32,
    accessed: u64,
    modified: u64,
    fstflags: u32,
) -> Answer {
    let follow = flags::follow(lookup)?;
    let times = flags::times(accessed, modified, fstflags)?;
    let (memory, host) = memory::split(caller)?;
    let place = named(memory, host, fd, path, len)?;
    Ok(files::set_times_at(&mut host.ring, place.at(), follow, &times)?)
}

#[allow(clippy::too_many_arguments, reason = "the call's own")]
pub(super) fn path_link(
    caller: Cx<'_, '_>,
    old_fd: u32,
    lookup: u32,
    old: u32,
    old_len: u32,
    new_fd: u32,
    new: u32,
    new_len: u32,
) -> Answer {
    let follow = flags::follow(lookup)?;
    let (memory, host) = memory::split(caller)?;
    let from = named(memory, host, old_fd, old, old_len)?;
    let to = named(memory, host, new_fd, new, new_len)?;
    if follow {
        return fail(errno::INVAL);
    }
    Ok(files::link(&mut host.ring, from.at(), to.at())?)
}

pub(super) fn path_rename(
    caller: Cx<'_, '_>,
    old_fd: u32,
    old: u32,
    old_len: u32,
    new_fd: u32,
    new: u32,
    new_len: u32,
) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let from = named(memory, host, old_fd, old, old_len)?;
    let to = named(memory, host, new_fd, new, new_len)?;
    Ok(files::rename(&mut host.ring, from.at(), to.at())?)
}

pub(super) fn path_symlink(
    caller: Cx<'_, '_>,
    text: u32,
    text_len: u32,
    fd: u32,
    path: u32,
    len: u32,
) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let place = named(memory, host, fd, path, len)?;
    let text = memory::text(memory, text, text_len)?;
    Ok(files::symlink(&mut host.ring, text, place.at())?)
}

pub(super) fn path_readlink(
    caller: Cx<'_, '_>,
    fd: u32,
    path: u32,
    len: u32,
    buffer: u32,
    buffer_len: u32,
    out: u32,
) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let place = named(memory, host, fd, path, len)?;
    let text = files::read_link(&mut host.ring, place.at())?;
    if core::str::from_utf8(&text).is_err() {
        return fail(errno::ILSEQ);
    }
    // What does not fit is cut off, as with readlink(2).
    let text = &text[..text.len().min(buffer_len as usize)];
    memory::write(memory, buffer, 1, text)?;
    let len = u32::try_from(text.len()).map_err(|_| Failure::Errno(errno::OVERFLOW))?;
    memory::write_u32(memory, out, len)
}

#[allow(clippy::too_many_arguments, reason = "the call's own")]
pub(super) fn path_open(
    caller: Cx<'_, '_>,
    fd: u32,
    lookup: u32,
    path: u32,
    len: u32,
    oflags: u32,
    rights: u64,
    _inheriting: u64,
    fdflags: u32,
    out: u32,
) -> Answer {
    let flags = flags::open_flags(lookup, oflags, rights, fdflags)?;
    let (memory, host) = memory::split(caller)?;
    let directory = match host.fds.get(fd)? {
        Fd::Directory(directory) => directory.handle,
        Fd::File(_) => return fail(errno::NOTDIR),
        Fd::Stdio(_) => return fail(errno::BADF),
    };
    let path = memory::text(memory, path, len)?;
    let (handle, kind) = files::open(&mut host.ring, At { directory, path }, flags)?;
    let opened = if kind == Type::Directory {
        Fd::Directory(Directory {
            handle,
            flags,
            preopen: None,
            entries: None,
        })
    } else {
        Fd::File(File {
            target: Target { handle, kind },
            flags,
            position: 0,
            append: fdflags & fdflags::APPEND != 0,
            nonblock: fdflags & fdflags::NONBLOCK != 0,
        })
    };
    let number = host.fds.push(opened)?;
    memory::write_u32(memory, out, number)
}

/// The preopened directory's path.
fn preopen(host: &mut Host, fd: u32) -> Result<Option<&'static str>, Failure> {
    Ok(match host.fds.get(fd)? {
        Fd::Directory(directory) => directory.preopen,
        _ => None,
    })
}

pub(super) fn fd_prestat_get(caller: Cx<'_, '_>, fd: u32, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let Some(path) = preopen(host, fd)? else {
        return fail(errno::BADF);
    };
    // struct prestat: tag u8 (0 is a directory), at 4 the length of its path.
    let len = u32::try_from(path.len()).map_err(|_| Failure::Errno(errno::OVERFLOW))?;
    let [a, b, c, d] = len.to_le_bytes();
    memory::write(memory, out, 4, &[0, 0, 0, 0, a, b, c, d])
}

pub(super) fn fd_prestat_dir_name(caller: Cx<'_, '_>, fd: u32, buffer: u32, len: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let Some(path) = preopen(host, fd)? else {
        return fail(errno::NOTDIR);
    };
    if path.len() > len as usize {
        return fail(errno::NAMETOOLONG);
    }
    memory::write(memory, buffer, 1, path.as_bytes())
}

/// struct dirent: next u64, ino u64, namlen u32, type u8. The name follows.
const DIRENT: usize = 24;

pub(super) fn fd_readdir(
    caller: Cx<'_, '_>,
    fd: u32,
    buffer: u32,
    buffer_len: u32,
    cookie: u64,
    out: u32,
) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let Host { fds, ring, .. } = host;
    let directory = fds.directory(fd)?;
    let entries = match directory.entries.take() {
        Some(entries) if cookie != 0 => entries,
        _ => files::list(ring, directory.handle)?,
    };
    let own = files::stat(ring, directory.handle)?.inode;
    let entries = directory.entries.insert(entries);
    let place = memory::bytes_mut(memory, buffer, buffer_len)?;
    // `..` has the directory's own number, too: what is above it is not the program's to know.
    let dots = [
        (own, Type::Directory, Some(".")),
        (own, Type::Directory, Some("..")),
    ];
    let named = entries
        .iter()
        .map(|entry| (entry.inode, entry.kind, entry.name.as_deref()));
    let mut used = 0;
    let first = usize::try_from(cookie).map_err(|_| Failure::Errno(errno::OVERFLOW))?;
    for (next, (inode, kind, name)) in (1_u64..).zip(dots.into_iter().chain(named)).skip(first) {
        let name = name.ok_or(Failure::Errno(errno::ILSEQ))?;
        let mut head = [0; DIRENT];
        head[..8].copy_from_slice(&next.to_le_bytes());
        head[8..16].copy_from_slice(&inode.to_le_bytes());
        let len = u32::try_from(name.len()).map_err(|_| Failure::Errno(errno::OVERFLOW))?;
        head[16..20].copy_from_slice(&len.to_le_bytes());
        head[20] = flags::filetype(kind);
        // The last entry may be cut off: a full buffer says that there is more.
        for part in [&head[..], name.as_bytes()] {
            let part = &part[..part.len().min(place.len() - used)];
            place[used..used + part.len()].copy_from_slice(part);
            used += part.len();
        }
        if used == place.len() {
            break;
        }
    }
    let used = u32::try_from(used).map_err(|_| Failure::Errno(errno::OVERFLOW))?;
    memory::write_u32(memory, out, used)
}
