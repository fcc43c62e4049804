//! `directory-entry-stream`.

use alloc::string::String;
use alloc::vec::IntoIter;

use wasmtime::component::{ComponentType, Lift, Lower, Resource};

use super::Descriptor;
use super::error::{Answer, ErrorCode};
use super::types::DescriptorType;
use crate::wasi::files::{self, Entry};
use crate::wasi::p2::Cx;

/// `wasi:filesystem/types.directory-entry-stream`: what the directory had when it was read.
pub(in crate::wasi::p2) struct DirectoryEntryStream(IntoIter<Entry>);

/// `directory-entry`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct DirectoryEntry {
    #[component(name = "type")]
    kind: DescriptorType,
    name: String,
}

pub(super) fn read_directory(
    mut cx: Cx<'_>,
    (this,): (Resource<Descriptor>,),
) -> Answer<Resource<DirectoryEntryStream>> {
    let host = cx.data_mut();
    let open = &host.table.get(&this)?.0;
    if !open.is_directory() {
        return Ok((Err(ErrorCode::NotDirectory),));
    }
    Ok((match files::list(&mut host.ring, open.target.handle) {
        Ok(entries) => Ok(host.table.push(DirectoryEntryStream(entries.into_iter()))?),
        Err(errno) => Err(errno.into()),
    },))
}

pub(super) fn read_directory_entry(
    mut cx: Cx<'_>,
    (this,): (Resource<DirectoryEntryStream>,),
) -> Answer<Option<DirectoryEntry>> {
    let entry = match cx.data_mut().table.get_mut(&this)?.0.next() {
        None => Ok(None),
        Some(Entry { name: None, .. }) => Err(ErrorCode::IllegalByteSequence),
        Some(Entry {
            kind,
            name: Some(name),
            ..
        }) => Ok(Some(DirectoryEntry {
            kind: kind.into(),
            name,
        })),
    };
    Ok((entry,))
}
