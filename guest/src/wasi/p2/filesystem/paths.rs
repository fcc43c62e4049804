//! Methods of `descriptor` that name a path beneath it.

use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::AtomicU32;

use wasmtime::component::Resource;

use super::error::{Answer, ErrorCode};
use super::types::{
    DescriptorFlags, DescriptorStat, MetadataHash, NewTimestamp, OpenFlags, PathFlags, open_flags, times,
};
use super::{Descriptor, Open, descriptor};
use crate::vm::ring::{Errno, Ring};
use crate::wasi::files::{self, At, Target};
use crate::wasi::p2::Cx;

type This = Resource<Descriptor>;

fn at<'a>(open: &Open, path: &'a str) -> Result<At<'a>, ErrorCode> {
    if open.is_directory() {
        Ok(At {
            directory: open.target.handle,
            path,
        })
    } else {
        Err(ErrorCode::NotDirectory)
    }
}

/// Runs `operation` on a place.
fn on_path<T>(
    mut cx: Cx<'_>,
    this: &This,
    path: &str,
    operation: impl FnOnce(&mut Ring, At<'_>) -> Result<T, ErrorCode>,
) -> Answer<T> {
    let host = cx.data_mut();
    let open = &host.table.get(this)?.0;
    Ok((at(open, path).and_then(|at| operation(&mut host.ring, at)),))
}

/// Runs `operation` on two places.
fn on_paths(
    mut cx: Cx<'_>,
    (from, from_path): (&This, &str),
    (to, to_path): (&This, &str),
    operation: fn(&mut Ring, At<'_>, At<'_>) -> Result<(), Errno>,
) -> Answer<()> {
    let host = cx.data_mut();
    let from = at(&host.table.get(from)?.0, from_path);
    let to = at(&host.table.get(to)?.0, to_path);
    let result = from.and_then(|from| Ok(operation(&mut host.ring, from, to?)?));
    Ok((result,))
}

pub(super) fn create_directory_at(cx: Cx<'_>, (this, path): (This, String)) -> Answer<()> {
    on_path(cx, &this, &path, |ring, at| Ok(files::make_directory(ring, at)?))
}

pub(super) fn remove_directory_at(cx: Cx<'_>, (this, path): (This, String)) -> Answer<()> {
    on_path(cx, &this, &path, |ring, at| {
        Ok(files::remove_directory(ring, at)?)
    })
}

pub(super) fn unlink_file_at(cx: Cx<'_>, (this, path): (This, String)) -> Answer<()> {
    on_path(cx, &this, &path, |ring, at| Ok(files::unlink(ring, at)?))
}

pub(super) fn stat_at(cx: Cx<'_>, (this, flags, path): (This, PathFlags, String)) -> Answer<DescriptorStat> {
    on_path(cx, &this, &path, |ring, at| {
        Ok((&files::stat_at(ring, at, flags.follow())?).into())
    })
}

pub(super) fn metadata_hash_at(
    cx: Cx<'_>,
    (this, flags, path): (This, PathFlags, String),
) -> Answer<MetadataHash> {
    on_path(cx, &this, &path, |ring, at| {
        Ok((&files::stat_at(ring, at, flags.follow())?).into())
    })
}

pub(super) fn set_times_at(
    cx: Cx<'_>,
    (this, flags, path, accessed, modified): (This, PathFlags, String, NewTimestamp, NewTimestamp),
) -> Answer<()> {
    on_path(cx, &this, &path, |ring, at| {
        let times = times(&accessed, &modified)?;
        Ok(files::set_times_at(ring, at, flags.follow(), &times)?)
    })
}

pub(super) fn link_at(
    cx: Cx<'_>,
    (this, flags, path, other, new_path): (This, PathFlags, String, This, String),
) -> Answer<()> {
    if flags.follow() {
        return Ok((Err(ErrorCode::Invalid),));
    }
    on_paths(cx, (&this, &path), (&other, &new_path), files::link)
}

pub(super) fn rename_at(
    cx: Cx<'_>,
    (this, path, other, new_path): (This, String, This, String),
) -> Answer<()> {
    on_paths(cx, (&this, &path), (&other, &new_path), files::rename)
}

pub(super) fn symlink_at(cx: Cx<'_>, (this, text, path): (This, String, String)) -> Answer<()> {
    on_path(cx, &this, &path, |ring, at| Ok(files::symlink(ring, &text, at)?))
}

pub(super) fn readlink_at(cx: Cx<'_>, (this, path): (This, String)) -> Answer<String> {
    on_path(cx, &this, &path, |ring, at| {
        String::from_utf8(files::read_link(ring, at)?).map_err(|_| ErrorCode::IllegalByteSequence)
    })
}

pub(super) fn open_at(
    mut cx: Cx<'_>,
    (this, path_flags, path, how, flags): (This, PathFlags, String, OpenFlags, DescriptorFlags),
) -> Answer<Resource<Descriptor>> {
    let host = cx.data_mut();
    let directory = descriptor::open(host, &this)?;
    let opened = at(&directory, &path).and_then(|at| {
        let flags = open_flags(path_flags, how, flags)?;
        let (handle, kind) = files::open(&mut host.ring, at, flags)?;
        Ok(Open {
            target: Target { handle, kind },
            flags,
            preopen: false,
            told: AtomicU32::new(0),
        })
    });
    Ok((match opened {
        Ok(open) => Ok(host.table.push(Descriptor(Arc::new(open)))?),
        Err(code) => Err(code),
    },))
}
