//! The guest's heap: dlmalloc on the rest of the data region, grown in large pages that the VMM maps.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use dlmalloc::{Allocator, Dlmalloc};
use mote_abi::LARGE_PAGE_SIZE;
use mote_abi::layout::{DATA_END, HEAP_END};
use mote_abi::ring::call;

use super::{Global, size};

struct Region {
    /// Where the first chunk starts; 0 once it is given out.
    first: Global<usize>,
    /// End of what is mapped.
    end: Global<usize>,
}

static REGION: Region = Region {
    first: Global::new(0),
    end: Global::new(size(DATA_END)),
};

struct System;

// SAFETY: every chunk is mapped memory that nothing else uses: first the rest of the data region, then what the VMM
// maps behind it, each part given out once and never taken back.
unsafe impl Allocator for System {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        // SAFETY: one thread; no reference is kept.
        let (first, end) = unsafe { (&mut *REGION.first.get(), &mut *REGION.end.get()) };
        if *first != 0 && *end - *first >= size {
            let chunk = (*first as *mut u8, *end - *first, 0);
            *first = 0;
            return chunk;
        }
        let Some(len) = size.checked_next_multiple_of(super::size(LARGE_PAGE_SIZE)) else {
            return (ptr::null_mut(), 0, 0);
        };
        if len > super::size(HEAP_END) - *end {
            return (ptr::null_mut(), 0, 0);
        }
        if crate::vm::call(&[call::MAP, *end as u64, len as u64]) < 0 {
            return (ptr::null_mut(), 0, 0);
        }
        let chunk = (*end as *mut u8, len, 0);
        *end += len;
        chunk
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

struct Heap(Global<Dlmalloc<System>>);

#[global_allocator]
static HEAP: Heap = Heap(Global::new(Dlmalloc::new_with_allocator(System)));

/// Gives the heap its first memory: from `start` to the end of the data region.
pub(crate) fn init(start: u64) {
    // SAFETY: called once, before the first allocation.
    unsafe { *REGION.first.get() = size(start) };
}

// SAFETY: dlmalloc keeps GlobalAlloc's contract; there is one thread, and no allocation happens in a trap handler.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, so this is the only reference.
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back what `alloc` gave out.
        unsafe { (*self.0.get()).free(ptr, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller passes what `alloc` gave out.
        unsafe { (*self.0.get()).realloc(ptr, layout.size(), layout.align(), new_size) }
    }
}
