//! Wasmtime's virtual memory: address space is divided here, pages come from the VMM.
//!
//! (wasmtime `custom-virtual-memory`, `wasmtime-platform.h`)

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr;

use mote_abi::PAGE_SIZE;

use super::space::{AddressSpace, NoMemory};
use super::{Global, size};

/// `WASMTIME_PROT_READ | WASMTIME_PROT_WRITE`, and no bit at all.
const PROT_READ_WRITE: u32 = 3;
const PROT_NONE: u32 = 0;

/// Linux's ENOMEM and EINVAL.
const NO_MEMORY: i32 = 12;
const INVALID: i32 = 22;

static SPACE: Global<AddressSpace> = Global::new(AddressSpace::new());

pub(crate) fn init(premapped: u64, len: u64) {
    // SAFETY: one thread; no reference is kept.
    unsafe { (*SPACE.get()).set_premapped(premapped..premapped + len) };
}

/// What was given back and has to be zeroed before it is taken again.
pub(crate) fn soiled() -> Vec<Range<u64>> {
    // SAFETY: one thread; the reference ends with this function.
    unsafe { &*SPACE.get() }.soiled().collect()
}

/// All that [`soiled`] named is zero by now.
pub(crate) fn cleaned() {
    // SAFETY: one thread; the reference ends with this function.
    unsafe { &mut *SPACE.get() }.cleaned();
}

/// The whole pages that `len` bytes at `address` are in.
fn pages(address: *const u8, len: usize) -> Range<u64> {
    let start = address as u64;
    start..start + (len as u64).next_multiple_of(PAGE_SIZE)
}

fn errno(result: Result<(), NoMemory>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(NoMemory) => NO_MEMORY,
    }
}

/// Reserves address space, and maps it unless `prot` is none.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_new(len: usize, prot: u32, ret: &mut *mut u8) -> i32 {
    // SAFETY: one thread; the reference ends with this function.
    let space = unsafe { &mut *SPACE.get() };
    let len = pages(ptr::null(), len).end;
    let Ok(start) = space.reserve(len) else {
        return NO_MEMORY;
    };
    *ret = start as *mut u8;
    protect(space, start..start + len, prot, true)
}

/// Replaces a range by fresh memory.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_remap(addr: *mut u8, size: usize, prot: u32) -> i32 {
    // SAFETY: one thread; the reference ends with this function.
    let space = unsafe { &mut *SPACE.get() };
    let range = pages(addr, size);
    match protect(space, range.clone(), PROT_NONE, false) {
        0 => protect(space, range, prot, true),
        failed => failed,
    }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_munmap(ptr: *mut u8, size: usize) -> i32 {
    // SAFETY: one thread; the reference ends with this function.
    let space = unsafe { &mut *SPACE.get() };
    let range = pages(ptr, size);
    errno(space.release(range.start, range.end - range.start))
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mprotect(ptr: *mut u8, size: usize, prot: u32) -> i32 {
    // SAFETY: one thread; the reference ends with this function.
    let space = unsafe { &mut *SPACE.get() };
    protect(space, pages(ptr, size), prot, false)
}

/// Makes a range accessible, or not. Code is mapped by the VMM alone, and nothing that Wasmtime maps here is read-only.
fn protect(space: &mut AddressSpace, range: Range<u64>, prot: u32, fresh: bool) -> i32 {
    match prot {
        _ if range.is_empty() => 0,
        // Nothing of it is accessible.
        PROT_NONE if fresh => 0,
        PROT_NONE => errno(space.close(range)),
        PROT_READ_WRITE => errno(space.open(range)),
        _ => INVALID,
    }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_page_size() -> usize {
    size(PAGE_SIZE)
}

/// No copy-on-write images: the answer is success and no image, and Wasmtime copies data segments.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_memory_image_new(_ptr: *const u8, _len: usize, ret: &mut *mut u8) -> i32 {
    *ret = ptr::null_mut();
    0
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_memory_image_map_at(_image: *mut u8, _addr: *mut u8, _len: usize) -> i32 {
    INVALID
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_memory_image_free(_image: *mut u8) {}
