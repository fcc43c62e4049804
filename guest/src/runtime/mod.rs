//! What Wasmtime expects of a platform: heap, address space, traps, thread-local state, CPU features.

pub(crate) mod cpu;
pub(crate) mod heap;
pub(crate) mod mmap;
mod space;
pub(crate) mod tls;
pub(crate) mod traps;

use core::cell::UnsafeCell;

/// An address or length of this address space as `usize`.
pub(crate) const fn size(value: u64) -> usize {
    const { assert!(size_of::<usize>() == size_of::<u64>()) };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "asserted above: usize has 64 bits"
    )]
    {
        value as usize
    }
}

/// A global of a guest that has one vCPU and no interrupts.
pub(crate) struct Global<T>(UnsafeCell<T>);

// SAFETY: there is one thread of execution. The trap handler, the only code that interrupts another, touches no
// `Global` but its own.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    pub(crate) const fn new(value: T) -> Global<T> {
        Global(UnsafeCell::new(value))
    }

    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}
