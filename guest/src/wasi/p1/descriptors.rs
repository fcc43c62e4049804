//! Calls on descriptors that move no data.

use mote_abi::fs::{Stat, Type, open};
use mote_abi::ring::{Submission, op};
use wasmtime::Caller;

use super::fds::Fd;
use super::flags::{self, fdflags, rights};
use super::{Answer, Failure, errno, fail, memory};
use crate::wasi::{Host, files};

type Cx<'a, 'b> = &'a mut Caller<'b, Host>;

pub(super) fn fd_close(caller: Cx<'_, '_>, fd: u32) -> Answer {
    let host = caller.data_mut();
    let closed = host.fds.remove(fd)?;
    close(host, closed)
}

fn close(host: &mut Host, fd: Fd) -> Answer {
    let handle = match fd {
        Fd::Stdio(_) => {
            host.stdio.flush(&mut host.ring);
            return Ok(());
        }
        Fd::Directory(directory) => directory.handle,
        Fd::File(file) => file.target.handle,
    };
    Ok(host.files.close(&mut host.ring, handle)?)
}

pub(super) fn fd_renumber(caller: Cx<'_, '_>, from: u32, to: u32) -> Answer {
    let host = caller.data_mut();
    host.fds.get(from)?;
    host.fds.get(to)?;
    if from == to {
        return Ok(());
    }
    let moved = host.fds.remove(from)?;
    let replaced = host.fds.remove(to)?;
    host.fds.put(to, moved);
    close(host, replaced)
}

pub(super) fn fd_fdstat_get(caller: Cx<'_, '_>, fd: u32, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let (filetype, flags, base, inheriting) = match host.fds.get(fd)? {
        Fd::Stdio(number) => {
            let base = if *number == 0 {
                rights::FD_READ
            } else {
                rights::FD_WRITE
            };
            (stream_type(host.stdio.is_terminal(*number)), 0, base, base)
        }
        Fd::Directory(directory) if directory.preopen.is_some() => (
            flags::filetype(Type::Directory),
            0,
            rights::PREOPEN,
            rights::PREOPEN_INHERITING,
        ),
        Fd::Directory(directory) => {
            let absent = rights::FD_SEEK
                | rights::FD_FILESTAT_SET_SIZE
                | rights::PATH_FILESTAT_SET_SIZE
                | rights::FD_WRITE
                | if directory.flags & open::READ == 0 {
                    rights::FD_READ | rights::FD_READDIR
                } else {
                    0
                };
            let base = rights::ALL & !absent;
            (flags::filetype(Type::Directory), 0, base, base)
        }
        Fd::File(file) => {
            let mut base = rights::ALL;
            if file.flags & open::READ == 0 {
                base &= !(rights::FD_READ | rights::FD_READDIR);
            }
            if file.flags & open::WRITE == 0 {
                base &= !rights::FD_WRITE;
            }
            let on = |set: bool, flag: u32| if set { flag } else { 0 };
            let flags = on(file.append, fdflags::APPEND) | on(file.nonblock, fdflags::NONBLOCK);
            (flags::filetype(file.target.kind), flags, base, base)
        }
    };
    // struct fdstat: filetype u8, flags u16 at 2, rights_base u64 at 8, rights_inheriting u64 at 16.
    let mut stat = [0; 24];
    stat[0] = filetype;
    stat[2..4].copy_from_slice(&flags.to_le_bytes()[..2]);
    stat[8..16].copy_from_slice(&base.to_le_bytes());
    stat[16..].copy_from_slice(&inheriting.to_le_bytes());
    memory::write(memory, out, 8, &stat)
}

/// `filetype` of a standard stream.
fn stream_type(terminal: bool) -> u8 {
    flags::filetype(if terminal {
        Type::CharacterDevice
    } else {
        Type::Unknown
    })
}

pub(super) fn fd_fdstat_set_flags(caller: Cx<'_, '_>, fd: u32, flags: u32) -> Answer {
    let flags = flags::set(flags, flags::FDFLAGS)?;
    let host = caller.data_mut();
    let file = host.fds.file(fd)?;
    if flags & (fdflags::DSYNC | fdflags::SYNC | fdflags::RSYNC) != 0 {
        return fail(errno::INVAL);
    }
    let nonblock = flags & fdflags::NONBLOCK != 0;
    if nonblock != file.nonblock && file.target.kind != Type::RegularFile {
        host.ring.request(Submission {
            op: op::SET_FLAGS,
            handle: file.target.handle,
            extra: [if nonblock { open::NONBLOCK } else { 0 }, 0],
            ..Submission::default()
        })?;
    }
    file.append = flags & fdflags::APPEND != 0;
    file.nonblock = nonblock;
    Ok(())
}

pub(super) fn fd_fdstat_set_rights(caller: Cx<'_, '_>, fd: u32, base: u64, inheriting: u64) -> Answer {
    if (base | inheriting) & !rights::ALL != 0 {
        return fail(errno::INVAL);
    }
    caller.data_mut().fds.handle(fd)?;
    fail(errno::NOTSUP)
}

/// struct filestat: dev u64, ino u64, filetype u8 at 16, nlink u64 at 24, size, atim, mtim, ctim.
pub(super) fn filestat(stat: &Stat) -> Result<[u8; 64], Failure> {
    let words = [
        (0, stat.device),
        (8, stat.inode),
        (24, stat.links),
        (32, stat.size),
        (40, flags::timestamp(stat.accessed)?),
        (48, flags::timestamp(stat.modified)?),
        (56, flags::timestamp(stat.changed)?),
    ];
    let mut raw = [0; 64];
    for (at, word) in words {
        raw[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
    }
    raw[16] = flags::filetype(kind(stat));
    Ok(raw)
}

fn kind(stat: &Stat) -> Type {
    u8::try_from(stat.kind).map_or(Type::Unknown, Type::from_raw)
}

pub(super) fn fd_filestat_get(caller: Cx<'_, '_>, fd: u32, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let raw = if let Fd::Stdio(number) = host.fds.get(fd)? {
        let mut raw = [0; 64];
        raw[16] = stream_type(host.stdio.is_terminal(*number));
        raw
    } else {
        let handle = host.fds.handle(fd)?;
        filestat(&files::stat(&mut host.ring, handle)?)?
    };
    memory::write(memory, out, 8, &raw)
}

pub(super) fn fd_filestat_set_size(caller: Cx<'_, '_>, fd: u32, size: u64) -> Answer {
    let host = caller.data_mut();
    let handle = host.fds.file(fd)?.target.handle;
    Ok(host.files.set_size(&mut host.ring, handle, size)?)
}

pub(super) fn fd_filestat_set_times(
    caller: Cx<'_, '_>,
    fd: u32,
    accessed: u64,
    modified: u64,
    fstflags: u32,
) -> Answer {
    let times = flags::times(accessed, modified, fstflags)?;
    let host = caller.data_mut();
    let handle = host.fds.handle(fd)?;
    Ok(files::set_times(&mut host.ring, handle, &times)?)
}

pub(super) fn fd_advise(caller: Cx<'_, '_>, fd: u32, offset: u64, len: u64, advice: u32) -> Answer {
    use mote_abi::fs::advice;
    let advice = match advice {
        0 => advice::NORMAL,
        1 => advice::SEQUENTIAL,
        2 => advice::RANDOM,
        3 => advice::WILL_NEED,
        4 => advice::DONT_NEED,
        5 => advice::NO_REUSE,
        _ => return fail(errno::INVAL),
    };
    let host = caller.data_mut();
    let handle = host.fds.file(fd)?.target.handle;
    Ok(files::advise(&mut host.ring, handle, offset, len, advice)?)
}

/// As wasmtime answers: WASI 0.2 left the call out because not all systems have it.
pub(super) fn fd_allocate(caller: Cx<'_, '_>, fd: u32, _offset: u64, _len: u64) -> Answer {
    caller.data_mut().fds.file(fd)?;
    fail(errno::NOTSUP)
}

fn sync(caller: Cx<'_, '_>, fd: u32, data_only: bool) -> Answer {
    let host = caller.data_mut();
    let handle = host.fds.file(fd)?.target.handle;
    Ok(host.files.sync(&mut host.ring, handle, data_only)?)
}

pub(super) fn fd_sync(caller: Cx<'_, '_>, fd: u32) -> Answer {
    sync(caller, fd, false)
}

pub(super) fn fd_datasync(caller: Cx<'_, '_>, fd: u32) -> Answer {
    sync(caller, fd, true)
}

pub(super) fn fd_seek(caller: Cx<'_, '_>, fd: u32, delta: i64, whence: u32, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let file = host.fds.seekable(fd)?;
    let base = match whence {
        0 => 0,
        1 => file.position,
        2 => files::stat(&mut host.ring, file.target.handle)?.size,
        _ => return fail(errno::INVAL),
    };
    file.position = base
        .checked_add_signed(delta)
        .ok_or(Failure::Errno(errno::INVAL))?;
    memory::write_u64(memory, out, file.position)
}

pub(super) fn fd_tell(caller: Cx<'_, '_>, fd: u32, out: u32) -> Answer {
    let (memory, host) = memory::split(caller)?;
    let position = host.fds.seekable(fd)?.position;
    memory::write_u64(memory, out, position)
}

/// A call on sockets, which no program is given by 0.1.
pub(super) fn not_a_socket(caller: Cx<'_, '_>, fd: u32) -> Answer {
    caller.data_mut().fds.get(fd)?;
    fail(errno::NOTSOCK)
}
