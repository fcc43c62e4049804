//! The allocator of a process that lives for one compilation.
//!
//! musl's allocator takes one lock for all threads and gives memory back to the kernel eagerly; a compiler that makes
//! millions of short-lived objects on every processor spends much of its time there. Here each thread keeps lists of
//! free blocks of its own, by size, and cuts new ones from chunks that are never given back: the process ends soon.
//! Blocks above [`LARGE`] have mappings of their own, which the kernel moves when they grow.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr::{null_mut, without_provenance_mut},
};

/// Blocks up to this size come from lists.
const LARGE: usize = 1 << 20;

/// What is taken from the kernel at once for small blocks.
const CHUNK: usize = 8 << 20;

/// Alignment of every block from a list, and size of the smallest.
const UNIT: usize = 16;

/// Sizes between two powers of two.
const STEPS: usize = 4;

/// Lists for 16, 32, 48 and 64 bytes, then [`STEPS`] for each doubling up to [`LARGE`].
const CLASSES: usize = 4 + 14 * STEPS;

/// The allocator; it has no state of its own.
pub(crate) struct OneShot;

/// The free blocks of one thread.
struct Heap {
    /// The first free block of each class; a free block starts with a pointer to the next.
    free: [*mut u8; CLASSES],
    /// The rest of the newest chunk.
    next: *mut u8,
    left: usize,
}

thread_local! {
    // Constant and without a destructor, so that its first use allocates nothing and its last leaves it usable.
    static HEAP: UnsafeCell<Heap> =
        const { UnsafeCell::new(Heap { free: [null_mut(); CLASSES], next: null_mut(), left: 0 }) };
}

/// The class that holds `size` bytes, and the size of its blocks.
const fn class(size: usize) -> (usize, usize) {
    if size <= 4 * UNIT {
        let class = size.saturating_sub(1) / UNIT;
        return (class, (class + 1) * UNIT);
    }
    // The doubling that `size` falls into: 65 to 128 is 0.
    let doubling = (size - 1).ilog2() as usize - 6;
    let step = (64 << doubling) / STEPS;
    let nth = (size - 1 - (64 << doubling)) / step;
    (4 + doubling * STEPS + nth, (64 << doubling) + (nth + 1) * step)
}

const _: () = assert!(class(LARGE).0 == CLASSES - 1 && class(LARGE).1 == LARGE);

fn is_small(layout: Layout) -> bool {
    layout.size() <= LARGE && layout.align() <= UNIT
}

impl Heap {
    fn take(&mut self, size: usize) -> *mut u8 {
        let (class, size) = class(size);
        let block = self.free[class];
        if !block.is_null() {
            // SAFETY: a block on a list is free, at least a pointer long and aligned, and starts with one.
            self.free[class] = unsafe { block.cast::<*mut u8>().read() };
            return block;
        }
        if self.left < size {
            let chunk = map(CHUNK);
            if chunk.is_null() {
                return chunk;
            }
            // What is left of the old chunk is lost: less than one block.
            (self.next, self.left) = (chunk, CHUNK);
        }
        let block = self.next;
        // SAFETY: `left` bytes follow `next` in its chunk.
        self.next = unsafe { block.add(size) };
        self.left -= size;
        block
    }

    /// # Safety
    /// `block` came from `take` with the same size, of this heap or another thread's, and is not used any more.
    unsafe fn give(&mut self, block: *mut u8, size: usize) {
        let (class, _) = class(size);
        // SAFETY: the block is ours now, at least a pointer long and aligned.
        unsafe { block.cast::<*mut u8>().write(self.free[class]) };
        self.free[class] = block;
    }
}

/// Memory from the kernel, zeroed and page-aligned; null if there is none.
fn map(size: usize) -> *mut u8 {
    const PROT: i32 = libc::PROT_READ | libc::PROT_WRITE;
    const FLAGS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping where the kernel likes.
    let p = unsafe { libc::mmap(null_mut(), size, PROT, FLAGS, -1, 0) };
    if p == libc::MAP_FAILED {
        null_mut()
    } else {
        p.cast()
    }
}

/// Bytes to map so that an aligned block of the layout lies in them.
fn mapped(layout: Layout) -> usize {
    // Mappings are aligned to 4096 only.
    let slack = if layout.align() > 4096 { layout.align() } else { 0 };
    layout.size().saturating_add(slack)
}

// SAFETY: blocks are of at least the size and the alignment of their layout and belong to one owner at a time: lists
// and chunks are a thread's own, mappings are the kernel's.
unsafe impl GlobalAlloc for OneShot {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_small(layout) {
            // SAFETY: the heap is this thread's own, and `take` calls nothing that allocates.
            return HEAP.with(|heap| unsafe { (*heap.get()).take(layout.size()) });
        }
        let p = map(mapped(layout));
        if layout.align() > 4096 && !p.is_null() {
            // Rounded up within the slack, which is never given back.
            let offset = p.align_offset(layout.align());
            // SAFETY: the slack is as large as the alignment.
            return unsafe { p.add(offset) };
        }
        p
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_small(layout) {
            // SAFETY: as in `alloc`; the caller gives up the block.
            HEAP.with(|heap| unsafe { (*heap.get()).give(block, layout.size()) });
        } else if layout.align() <= 4096 {
            // SAFETY: the block is a whole mapping that the caller gives up.
            unsafe { libc::munmap(block.cast(), layout.size()) };
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is handed on.
        let p = unsafe { self.alloc(layout) };
        // Mappings are zeroed by the kernel.
        if is_small(layout) && !p.is_null() {
            // SAFETY: the block is at least this long.
            unsafe { p.write_bytes(0, layout.size()) };
        }
        p
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if is_small(layout) && is_small(new) && class(layout.size()).0 == class(size).0 {
            return block;
        }
        if !is_small(layout) && !is_small(new) && layout.align() <= 4096 {
            // SAFETY: the block is a whole mapping that the caller gives up for what comes back.
            let p = unsafe { libc::mremap(block.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
            return if p == libc::MAP_FAILED {
                without_provenance_mut(0)
            } else {
                p.cast()
            };
        }
        // SAFETY: as the trait's own version: a new block, a copy of what fits, and the old block given up.
        unsafe {
            let p = self.alloc(new);
            if !p.is_null() {
                p.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            p
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_their_sizes_and_waste_at_most_a_quarter() {
        let mut last = 0;
        for size in 1..=LARGE {
            let (class, block) = class(size);
            assert!(block >= size && class < CLASSES && class >= last, "{size}");
            assert!(size <= 64 || block - size < size.div_ceil(4), "{size} {block}");
            assert_eq!(block % UNIT, 0);
            last = class;
        }
    }

    #[test]
    fn blocks_keep_their_content_across_threads_and_sizes() {
        let mut growing = Vec::new();
        for i in 0..300_000u32 {
            growing.push(i);
        }
        assert!(growing.iter().zip(0..).all(|(a, b)| *a == b));
        let blocks: Vec<Vec<u8>> = (0..2000usize)
            .map(|n| vec![u8::try_from(n % 251).unwrap(); n * 37])
            .collect();
        let blocks = std::thread::spawn(move || {
            for (n, block) in blocks.iter().enumerate() {
                assert!(block.iter().all(|b| usize::from(*b) == n % 251));
            }
            blocks.into_iter().step_by(2).collect::<Vec<_>>()
        })
        .join()
        .unwrap();
        assert_eq!(blocks.len(), 1000);
    }

    #[test]
    fn alignments_are_kept() {
        for align in [1, 8, 16, 64, 4096, 16384] {
            for size in [1, 100, 5000, 100_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout is not empty, and the block is given back with it.
                unsafe {
                    let p = OneShot.alloc_zeroed(layout);
                    assert!(!p.is_null() && p.addr().is_multiple_of(align) && p.add(size - 1).read() == 0);
                    OneShot.dealloc(p, layout);
                }
            }
        }
    }
}
