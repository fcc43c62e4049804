//! WASI 0.1 (`wasi_snapshot_preview1`) for core modules, linked directly.

mod memory;
mod misc;
mod poll;
mod streams;

use alloc::vec::Vec;

use wasmtime::{Caller, Extern, Func, Instance, Module, Store};

use super::Host;
use crate::vm;
use mote_abi::ring::phase;

/// Name of the module that programs import.
const NAME: &str = "wasi_snapshot_preview1";

/// Error numbers of WASI 0.1. (wasi_snapshot_preview1 witx, `errno`)
pub(super) mod errno {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const BADF: i32 = 8;
    pub(crate) const FAULT: i32 = 21;
    pub(crate) const INVAL: i32 = 28;
    pub(crate) const IO: i32 = 29;
    pub(crate) const NOTSUP: i32 = 58;
    pub(crate) const OVERFLOW: i32 = 61;
    pub(crate) const PIPE: i32 = 64;
    pub(crate) const SPIPE: i32 = 70;
}

/// A call's failure: a number for the program, or the end of it.
pub(super) enum Failure {
    Errno(i32),
    End(wasmtime::Error),
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Failure {
        Failure::End(error)
    }
}

pub(super) type Answer = Result<(), Failure>;

pub(super) const fn fail(errno: i32) -> Answer {
    Err(Failure::Errno(errno))
}

fn answer(result: Answer) -> wasmtime::Result<i32> {
    match result {
        Ok(()) => Ok(errno::SUCCESS),
        Err(Failure::Errno(errno)) => Ok(errno),
        Err(Failure::End(error)) => Err(error),
    }
}

/// Links what the module imports, and only that, then runs its `_start`.
pub(crate) fn run(store: &mut Store<Host>, module: &Module) -> wasmtime::Result<()> {
    let mut imports = Vec::new();
    for import in module.imports() {
        let func = if import.module() == NAME {
            function(store, import.name())
        } else {
            None
        };
        let Some(func) = func else {
            wasmtime::bail!(
                "the module imports {}.{}, which Mote does not offer",
                import.module(),
                import.name()
            );
        };
        imports.push(Extern::Func(func));
    }
    let instance = Instance::new(&mut *store, module, &imports)?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    vm::stamp(phase::MAIN);
    start.call(&mut *store, ())
}

/// A host function from a handler that takes the caller and the listed arguments.
macro_rules! host {
    ($store:expr, $handler:path $(, $arg:ident: $ty:ty)*) => {
        Func::wrap($store, |mut caller: Caller<'_, Host> $(, $arg: $ty)*| answer($handler(&mut caller $(, $arg)*)))
    };
}

/// A call on a file descriptor that no program without preopens can have.
macro_rules! no_file {
    ($store:expr $(, $arg:ty)*) => {
        Func::wrap($store, |_: Caller<'_, Host> $(, _: $arg)*| errno::BADF)
    };
}

#[rustfmt::skip]
fn function(store: &mut Store<Host>, name: &str) -> Option<Func> {
    Some(match name {
        "args_get" => host!(store, misc::args_get, argv: u32, buf: u32),
        "args_sizes_get" => host!(store, misc::args_sizes_get, count: u32, size: u32),
        "environ_get" => host!(store, misc::environ_get, env: u32, buf: u32),
        "environ_sizes_get" => host!(store, misc::environ_sizes_get, count: u32, size: u32),
        "clock_res_get" => host!(store, misc::clock_res_get, id: u32, out: u32),
        "clock_time_get" => host!(store, misc::clock_time_get, id: u32, precision: u64, out: u32),
        "random_get" => host!(store, misc::random_get, buf: u32, len: u32),
        "sched_yield" => host!(store, misc::sched_yield),
        "proc_raise" => host!(store, misc::proc_raise, signal: u32),
        "proc_exit" => Func::wrap(store, misc::proc_exit),
        "poll_oneoff" => host!(store, poll::poll_oneoff, subs: u32, events: u32, count: u32, out: u32),
        "fd_write" => host!(store, streams::fd_write, fd: u32, iovs: u32, count: u32, out: u32),
        "fd_read" => host!(store, streams::fd_read, fd: u32, iovs: u32, count: u32, out: u32),
        "fd_pwrite" => host!(store, streams::fd_pwrite, fd: u32, iovs: u32, count: u32, offset: u64, out: u32),
        "fd_pread" => host!(store, streams::fd_pread, fd: u32, iovs: u32, count: u32, offset: u64, out: u32),
        "fd_close" => host!(store, streams::fd_close, fd: u32),
        "fd_seek" => host!(store, streams::fd_seek, fd: u32, delta: i64, whence: u32, out: u32),
        "fd_tell" => host!(store, streams::fd_tell, fd: u32, out: u32),
        "fd_fdstat_get" => host!(store, streams::fd_fdstat_get, fd: u32, out: u32),
        "fd_fdstat_set_flags" => host!(store, streams::fd_fdstat_set_flags, fd: u32, flags: u32),
        "fd_fdstat_set_rights" => host!(store, streams::fd_fdstat_set_rights, fd: u32, base: u64, inheriting: u64),
        "fd_filestat_get" => host!(store, streams::fd_filestat_get, fd: u32, out: u32),
        "fd_sync" | "fd_datasync" => host!(store, streams::fd_sync, fd: u32),
        "fd_renumber" => host!(store, streams::fd_renumber, from: u32, to: u32),
        "fd_advise" => no_file!(store, i32, i64, i64, i32),
        "fd_allocate" => no_file!(store, i32, i64, i64),
        "fd_filestat_set_size" => no_file!(store, i32, i64),
        "fd_filestat_set_times" => no_file!(store, i32, i64, i64, i32),
        "fd_prestat_get" => no_file!(store, i32, i32),
        "fd_prestat_dir_name" => no_file!(store, i32, i32, i32),
        "fd_readdir" => no_file!(store, i32, i32, i32, i64, i32),
        "path_create_directory" | "path_remove_directory" | "path_unlink_file" => no_file!(store, i32, i32, i32),
        "path_filestat_get" => no_file!(store, i32, i32, i32, i32, i32),
        "path_filestat_set_times" => no_file!(store, i32, i32, i32, i32, i64, i64, i32),
        "path_link" => no_file!(store, i32, i32, i32, i32, i32, i32, i32),
        "path_open" => no_file!(store, i32, i32, i32, i32, i32, i64, i64, i32, i32),
        "path_readlink" => no_file!(store, i32, i32, i32, i32, i32, i32),
        "path_rename" => no_file!(store, i32, i32, i32, i32, i32, i32),
        "path_symlink" => no_file!(store, i32, i32, i32, i32, i32),
        "sock_accept" => no_file!(store, i32, i32, i32),
        "sock_recv" => no_file!(store, i32, i32, i32, i32, i32, i32),
        "sock_send" => no_file!(store, i32, i32, i32, i32, i32),
        "sock_shutdown" => no_file!(store, i32, i32),
        _ => return None,
    })
}
