//! `wasi:filesystem`.

mod descriptor;
mod error;
mod listing;
mod paths;
mod streams;
mod types;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;

use mote_abi::boot::grant;
use mote_abi::fs::{Type, open};
use mote_abi::ring::FIRST_PREOPEN;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime::{Result, bail};

use super::Cx;
use crate::wasi::Host;
use crate::wasi::files::Target;
pub(super) use listing::DirectoryEntryStream;
pub(super) use streams::{FileInput, FileOutput};

/// What is open: descriptors and streams share it, and the last one closes it.
pub(super) struct Open {
    target: Target,
    /// `mote_abi::fs::open`.
    flags: u64,
    /// There from the start and never closed.
    preopen: bool,
    /// Errors of writes that the program was told of.
    told: AtomicU32,
}

/// `wasi:filesystem/types.descriptor`.
pub(super) struct Descriptor(Arc<Open>);

impl Open {
    fn is_directory(&self) -> bool {
        self.target.kind == Type::Directory
    }
}

/// Gives up one share of what is open. The last one closes it, and if a write has failed that the program was not told
/// of, it learns it here by its end: dropping a handle has no answer.
fn release(host: &mut Host, open: Arc<Open>) -> Result<()> {
    if let Some(open) = Arc::into_inner(open)
        && !open.preopen
        && let Err(errno) = host.files.close(&mut host.ring, open.target.handle)
        && open.told.into_inner() == 0
    {
        bail!("a write to a file failed after it was taken: error {errno} of the host");
    }
    Ok(())
}

/// The program has dropped the descriptor.
pub(super) fn descriptor_dropped(host: &mut Host, descriptor: Descriptor) -> Result<()> {
    release(host, descriptor.0)
}

pub(super) fn preopens(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "get-directories" => at.func_wrap(name, get_directories)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Directories and the paths that the program knows them by.
type Directories = Vec<(Resource<Descriptor>, String)>;

fn get_directories(mut cx: Cx<'_>, (): ()) -> Result<(Directories,)> {
    let host = cx.data_mut();
    let mut list = Vec::with_capacity(host.preopens.len());
    for (n, path) in (0_u32..).zip(&host.preopens) {
        // The first sixteen are marked.
        let read_only = n < 16 && host.grants & (1 << (grant::READ_ONLY_SHIFT + n)) != 0;
        let open = Open {
            target: Target {
                handle: FIRST_PREOPEN + u64::from(n),
                kind: Type::Directory,
            },
            flags: if read_only {
                open::READ
            } else {
                open::READ | open::WRITE
            },
            preopen: true,
            told: AtomicU32::new(0),
        };
        list.push((host.table.push(Descriptor(Arc::new(open)))?, path.to_string()));
    }
    Ok((list,))
}

#[rustfmt::skip]
pub(super) fn types(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    let Some(method) = name.strip_prefix("[method]descriptor.") else {
        match name {
            "[method]directory-entry-stream.read-directory-entry" => at.func_wrap(name, listing::read_directory_entry)?,
            "filesystem-error-code" => at.func_wrap(name, error::filesystem_error_code)?,
            _ => return Ok(false),
        }
        return Ok(true);
    };
    match method {
        "read-via-stream" => at.func_wrap(name, streams::read_via_stream)?,
        "write-via-stream" => at.func_wrap(name, streams::write_via_stream)?,
        "append-via-stream" => at.func_wrap(name, streams::append_via_stream)?,
        "advise" => at.func_wrap(name, descriptor::advise)?,
        "sync-data" => at.func_wrap(name, descriptor::sync_data)?,
        "get-flags" => at.func_wrap(name, descriptor::get_flags)?,
        "get-type" => at.func_wrap(name, descriptor::get_type)?,
        "set-size" => at.func_wrap(name, descriptor::set_size)?,
        "set-times" => at.func_wrap(name, descriptor::set_times)?,
        "read" => at.func_wrap(name, descriptor::read)?,
        "write" => at.func_wrap(name, descriptor::write)?,
        "read-directory" => at.func_wrap(name, listing::read_directory)?,
        "sync" => at.func_wrap(name, descriptor::sync)?,
        "create-directory-at" => at.func_wrap(name, paths::create_directory_at)?,
        "stat" => at.func_wrap(name, descriptor::stat)?,
        "stat-at" => at.func_wrap(name, paths::stat_at)?,
        "set-times-at" => at.func_wrap(name, paths::set_times_at)?,
        "link-at" => at.func_wrap(name, paths::link_at)?,
        "open-at" => at.func_wrap(name, paths::open_at)?,
        "readlink-at" => at.func_wrap(name, paths::readlink_at)?,
        "remove-directory-at" => at.func_wrap(name, paths::remove_directory_at)?,
        "rename-at" => at.func_wrap(name, paths::rename_at)?,
        "symlink-at" => at.func_wrap(name, paths::symlink_at)?,
        "unlink-file-at" => at.func_wrap(name, paths::unlink_file_at)?,
        "is-same-object" => at.func_wrap(name, descriptor::is_same_object)?,
        "metadata-hash" => at.func_wrap(name, descriptor::metadata_hash)?,
        "metadata-hash-at" => at.func_wrap(name, paths::metadata_hash_at)?,
        _ => return Ok(false),
    }
    Ok(true)
}
