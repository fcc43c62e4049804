//! WASI 0.1 (`wasi_snapshot_preview1`) for core modules, linked directly.

mod descriptors;
mod errno;
mod fds;
mod flags;
mod memory;
mod misc;
mod paths;
mod poll;
mod transfer;

use alloc::vec::Vec;

use wasmtime::{Caller, Extern, Func, Instance, Module, Store};

use super::Host;
use crate::vm;
use crate::vm::ring::Errno;
pub(crate) use fds::Fds;
use mote_abi::ring::phase;

/// Name of the module that programs import.
const NAME: &str = "wasi_snapshot_preview1";

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

/// The number that WASI 0.1 has for one of Linux.
impl From<Errno> for Failure {
    fn from(linux: Errno) -> Failure {
        Failure::Errno(errno::from_linux(linux))
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

/// A call on a socket, with the types of its arguments behind the descriptor.
macro_rules! no_socket {
    ($store:expr $(, $arg:ty)*) => {
        Func::wrap($store, |mut caller: Caller<'_, Host>, fd: u32 $(, _: $arg)*| {
            answer(descriptors::not_a_socket(&mut caller, fd))
        })
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
        "fd_write" => host!(store, transfer::fd_write, fd: u32, iovs: u32, count: u32, out: u32),
        "fd_read" => host!(store, transfer::fd_read, fd: u32, iovs: u32, count: u32, out: u32),
        "fd_pwrite" => host!(store, transfer::fd_pwrite, fd: u32, iovs: u32, count: u32, offset: u64, out: u32),
        "fd_pread" => host!(store, transfer::fd_pread, fd: u32, iovs: u32, count: u32, offset: u64, out: u32),
        "fd_close" => host!(store, descriptors::fd_close, fd: u32),
        "fd_seek" => host!(store, descriptors::fd_seek, fd: u32, delta: i64, whence: u32, out: u32),
        "fd_tell" => host!(store, descriptors::fd_tell, fd: u32, out: u32),
        "fd_fdstat_get" => host!(store, descriptors::fd_fdstat_get, fd: u32, out: u32),
        "fd_fdstat_set_flags" => host!(store, descriptors::fd_fdstat_set_flags, fd: u32, flags: u32),
        "fd_fdstat_set_rights" => host!(store, descriptors::fd_fdstat_set_rights, fd: u32, base: u64, inheriting: u64),
        "fd_filestat_get" => host!(store, descriptors::fd_filestat_get, fd: u32, out: u32),
        "fd_filestat_set_size" => host!(store, descriptors::fd_filestat_set_size, fd: u32, size: u64),
        "fd_filestat_set_times" => host!(store, descriptors::fd_filestat_set_times, fd: u32, atim: u64, mtim: u64, flags: u32),
        "fd_sync" => host!(store, descriptors::fd_sync, fd: u32),
        "fd_datasync" => host!(store, descriptors::fd_datasync, fd: u32),
        "fd_renumber" => host!(store, descriptors::fd_renumber, from: u32, to: u32),
        "fd_advise" => host!(store, descriptors::fd_advise, fd: u32, offset: u64, len: u64, advice: u32),
        "fd_allocate" => host!(store, descriptors::fd_allocate, fd: u32, offset: u64, len: u64),
        "fd_prestat_get" => host!(store, paths::fd_prestat_get, fd: u32, out: u32),
        "fd_prestat_dir_name" => host!(store, paths::fd_prestat_dir_name, fd: u32, buf: u32, len: u32),
        "fd_readdir" => host!(store, paths::fd_readdir, fd: u32, buf: u32, len: u32, cookie: u64, out: u32),
        "path_create_directory" => host!(store, paths::path_create_directory, fd: u32, path: u32, len: u32),
        "path_remove_directory" => host!(store, paths::path_remove_directory, fd: u32, path: u32, len: u32),
        "path_unlink_file" => host!(store, paths::path_unlink_file, fd: u32, path: u32, len: u32),
        "path_filestat_get" => host!(store, paths::path_filestat_get, fd: u32, flags: u32, path: u32, len: u32, out: u32),
        "path_filestat_set_times" => host!(store, paths::path_filestat_set_times, fd: u32, flags: u32, path: u32, len: u32, atim: u64, mtim: u64, fst: u32),
        "path_link" => host!(store, paths::path_link, fd: u32, flags: u32, path: u32, len: u32, new_fd: u32, new: u32, new_len: u32),
        "path_open" => host!(store, paths::path_open, fd: u32, flags: u32, path: u32, len: u32, oflags: u32, rights: u64, inheriting: u64, fdflags: u32, out: u32),
        "path_readlink" => host!(store, paths::path_readlink, fd: u32, path: u32, len: u32, buf: u32, buf_len: u32, out: u32),
        "path_rename" => host!(store, paths::path_rename, fd: u32, path: u32, len: u32, new_fd: u32, new: u32, new_len: u32),
        "path_symlink" => host!(store, paths::path_symlink, text: u32, text_len: u32, fd: u32, path: u32, len: u32),
        "sock_accept" => no_socket!(store, i32, i32),
        "sock_recv" => no_socket!(store, i32, i32, i32, i32, i32),
        "sock_send" => no_socket!(store, i32, i32, i32, i32),
        "sock_shutdown" => no_socket!(store, i32),
        _ => return None,
    })
}
