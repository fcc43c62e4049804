//! Methods of `descriptor` that name no path.

use alloc::sync::Arc;
use alloc::vec::Vec;

use wasmtime::Result;
use wasmtime::component::Resource;

use super::error::{Answer, ErrorCode};
use super::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, MetadataHash, NewTimestamp, descriptor_flags,
    times,
};
use super::{Descriptor, Open};
use crate::runtime::size;
use crate::wasi::Host;
use crate::wasi::files;
use crate::wasi::p2::{Bytes, Cx};

/// Largest read; a program that asks for more gets less, as it must expect.
pub(super) const READ_MAX: u64 = 1 << 20;

type This = Resource<Descriptor>;

/// What a handle stands for.
pub(super) fn open(host: &Host, this: &This) -> Result<Arc<Open>> {
    Ok(Arc::clone(&host.table.get(this)?.0))
}

/// What is no directory.
fn file(open: &Open) -> core::result::Result<(), ErrorCode> {
    if open.is_directory() {
        Err(ErrorCode::BadDescriptor)
    } else {
        Ok(())
    }
}

/// Runs `operation` on what a descriptor stands for.
fn with<T>(
    mut cx: Cx<'_>,
    this: &This,
    operation: impl FnOnce(&mut Host, &Open) -> core::result::Result<T, ErrorCode>,
) -> Answer<T> {
    let host = cx.data_mut();
    let open = open(host, this)?;
    // The table has a share of it, too: it stays open.
    Ok((operation(host, &open),))
}

pub(super) fn advise(cx: Cx<'_>, (this, offset, len, advice): (This, u64, u64, Advice)) -> Answer<()> {
    with(cx, &this, |host, open| {
        file(open)?;
        Ok(files::advise(
            &mut host.ring,
            open.target.handle,
            offset,
            len,
            advice.number(),
        )?)
    })
}

pub(super) fn sync_data(cx: Cx<'_>, (this,): (This,)) -> Answer<()> {
    with(cx, &this, |host, open| {
        Ok(host.files.sync(&mut host.ring, open.target.handle, true)?)
    })
}

pub(super) fn sync(cx: Cx<'_>, (this,): (This,)) -> Answer<()> {
    with(cx, &this, |host, open| {
        Ok(host.files.sync(&mut host.ring, open.target.handle, false)?)
    })
}

pub(super) fn get_flags(cx: Cx<'_>, (this,): (This,)) -> Answer<DescriptorFlags> {
    with(cx, &this, |_, open| {
        Ok(descriptor_flags(open.is_directory(), open.flags))
    })
}

pub(super) fn get_type(cx: Cx<'_>, (this,): (This,)) -> Answer<DescriptorType> {
    with(cx, &this, |_, open| Ok(open.target.kind.into()))
}

pub(super) fn set_size(cx: Cx<'_>, (this, size): (This, u64)) -> Answer<()> {
    with(cx, &this, |host, open| {
        file(open)?;
        Ok(host.files.set_size(&mut host.ring, open.target.handle, size)?)
    })
}

pub(super) fn set_times(
    cx: Cx<'_>,
    (this, accessed, modified): (This, NewTimestamp, NewTimestamp),
) -> Answer<()> {
    with(cx, &this, |host, open| {
        let times = times(&accessed, &modified)?;
        Ok(files::set_times(&mut host.ring, open.target.handle, &times)?)
    })
}

pub(super) fn read(cx: Cx<'_>, (this, len, offset): (This, u64, u64)) -> Answer<(Bytes, bool)> {
    with(cx, &this, |host, open| {
        file(open)?;
        let len = size(len.min(READ_MAX));
        let data = host.files.read_vec(&mut host.ring, open.target, len, offset)?;
        let ended = data.is_empty();
        Ok((Bytes(data), ended))
    })
}

pub(super) fn write(cx: Cx<'_>, (this, data, offset): (This, Vec<u8>, u64)) -> Answer<u64> {
    with(cx, &this, |host, open| {
        file(open)?;
        let written = host.files.write(&mut host.ring, open.target, &data, offset)?;
        Ok(written as u64)
    })
}

pub(super) fn stat(cx: Cx<'_>, (this,): (This,)) -> Answer<DescriptorStat> {
    with(cx, &this, |host, open| {
        Ok((&files::stat(&mut host.ring, open.target.handle)?).into())
    })
}

pub(super) fn metadata_hash(cx: Cx<'_>, (this,): (This,)) -> Answer<MetadataHash> {
    with(cx, &this, |host, open| {
        Ok((&files::stat(&mut host.ring, open.target.handle)?).into())
    })
}

pub(super) fn is_same_object(mut cx: Cx<'_>, (this, other): (This, This)) -> Result<(bool,)> {
    let host = cx.data_mut();
    let (handle, other) = (
        open(host, &this)?.target.handle,
        open(host, &other)?.target.handle,
    );
    match files::is_same(&mut host.ring, handle, other) {
        Ok(same) => Ok((same,)),
        Err(errno) => wasmtime::bail!("two descriptors cannot be compared: error {errno} of the host"),
    }
}
