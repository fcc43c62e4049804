//! Wasmtime's virtual memory: address space is divided here, pages come from the VMM.
//!
//! (wasmtime `custom-virtual-memory`, `wasmtime-platform.h`)

use alloc::vec::Vec;
use core::ptr;

use mote_abi::layout::{MMAP_END, MMAP_START};
use mote_abi::ring::call;
use mote_abi::{LARGE_PAGE_SIZE, PAGE_SIZE};

use super::{Global, size};

/// `WASMTIME_PROT_READ | WASMTIME_PROT_WRITE`, and no bit at all.
const PROT_READ_WRITE: u32 = 3;
const PROT_NONE: u32 = 0;

/// Linux's ENOMEM and EINVAL.
const NO_MEMORY: i32 = 12;
const INVALID: i32 = 22;

struct AddressSpace {
    next: u64,
    /// Ranges that were given back, for a mapping of the same size.
    free: Vec<(u64, u64)>,
    /// Range that the VMM mapped before the first instruction.
    premapped: (u64, u64),
}

static SPACE: Global<AddressSpace> = Global::new(AddressSpace {
    next: MMAP_START,
    free: Vec::new(),
    premapped: (0, 0),
});

pub(crate) fn init(premapped: u64, len: u64) {
    // SAFETY: one thread; no reference is kept.
    unsafe { (*SPACE.get()).premapped = (premapped, len) };
}

impl AddressSpace {
    fn reserve(&mut self, len: u64) -> Option<u64> {
        if let Some(at) = self.free.iter().position(|(_, free)| *free == len) {
            return Some(self.free.swap_remove(at).0);
        }
        let start = self.next;
        let end = start
            .checked_add(len)?
            .checked_next_multiple_of(LARGE_PAGE_SIZE)?;
        if end > MMAP_END {
            return None;
        }
        self.next = end;
        Some(start)
    }

    fn is_premapped(&self, start: u64, len: u64) -> bool {
        let (at, size) = self.premapped;
        start >= at && start + len <= at + size
    }
}

fn whole_pages(size: usize) -> u64 {
    (size as u64).next_multiple_of(PAGE_SIZE)
}

fn map(start: u64, len: u64) -> i32 {
    if crate::vm::call(&[call::MAP, start, len]) < 0 {
        NO_MEMORY
    } else {
        0
    }
}

fn unmap(start: u64, len: u64) -> i32 {
    if crate::vm::call(&[call::UNMAP, start, len]) < 0 {
        INVALID
    } else {
        0
    }
}

/// Reserves address space, and maps it unless `prot` is none.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_new(len: usize, prot: u32, ret: &mut *mut u8) -> i32 {
    // SAFETY: one thread; the reference ends with this function.
    let space = unsafe { &mut *SPACE.get() };
    let len = whole_pages(len);
    let Some(start) = space.reserve(len) else {
        return NO_MEMORY;
    };
    *ret = start as *mut u8;
    if prot == PROT_NONE {
        0
    } else {
        protect(space, start, len, prot)
    }
}

/// Replaces a range by fresh memory.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_mmap_remap(addr: *mut u8, size: usize, prot: u32) -> i32 {
    // SAFETY: one thread; the reference ends with this function.
    let space = unsafe { &mut *SPACE.get() };
    let (start, len) = (addr as u64, whole_pages(size));
    space.premapped = (0, 0);
    match unmap(start, len) {
        0 if prot != PROT_NONE => protect(space, start, len, prot),
        result => result,
    }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_munmap(ptr: *mut u8, size: usize) -> i32 {
    // SAFETY: one thread; the reference ends with this function.
    let space = unsafe { &mut *SPACE.get() };
    let (start, len) = (ptr as u64, whole_pages(size));
    space.premapped = (0, 0);
    let result = unmap(start, len);
    if result == 0 {
        space.free.push((start, len));
    }
    result
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_mprotect(ptr: *mut u8, size: usize, prot: u32) -> i32 {
    // SAFETY: one thread; the reference ends with this function.
    let space = unsafe { &mut *SPACE.get() };
    protect(space, ptr as u64, whole_pages(size), prot)
}

/// Makes a range accessible, or not. Code is mapped by the VMM alone, and nothing that Wasmtime maps here is read-only.
fn protect(space: &mut AddressSpace, start: u64, len: u64, prot: u32) -> i32 {
    match prot {
        _ if len == 0 => 0,
        PROT_NONE => {
            space.premapped = (0, 0);
            unmap(start, len)
        }
        PROT_READ_WRITE if space.is_premapped(start, len) => 0,
        PROT_READ_WRITE => map(start, len),
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
