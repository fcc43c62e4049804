//! The Wasmtime settings that the compiler and the guest share.
//!
//! Precompiled code carries the settings that it was made with, and Wasmtime refuses to load code made with others,
//! so both sides start from [`config`] and add only what concerns one side alone.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "compiler")]
pub mod compiler;

use wasmtime::{Collector, Config};

/// Address space that a 32-bit linear memory reserves: all that an index plus a small offset can reach, so that an
/// access needs no bounds check and no memory ever moves.
pub const MEMORY_RESERVATION: u64 = 4 << 30;

/// Address space that a 64-bit linear memory, which may grow beyond [`MEMORY_RESERVATION`], gets on top when it moves.
pub const MEMORY_GROWTH: u64 = 2 << 30;

/// Stack in bytes that Wasm code may use before it traps with stack exhaustion: Wasmtime's own default.
pub const WASM_STACK: usize = 512 << 10;

/// The settings that decide whether precompiled code and runtime fit each other.
///
/// Wasm features are Wasmtime's own choice: all of WebAssembly 3.0. Threads are left out by Wasmtime itself, because
/// they need an operating system (its crate feature `threads` is off).
#[must_use]
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(mote_abi::GUARD_SIZE)
        .memory_reservation_for_growth(MEMORY_GROWTH)
        // The VMM hands out zeroed pages; there is no file that the guest could map copy-on-write.
        .memory_init_cow(false)
        .signals_based_traps(true)
        // Wasmtime's default: it collects cycles. Its heap is memory like a linear one and is set up as such, by the
        // first instance that needs it.
        .collector(Collector::Copying)
        // Backtraces come from frame pointers; nothing in the guest unwinds by tables.
        .native_unwind_info(false)
        .generate_address_map(true)
        .max_wasm_stack(WASM_STACK);
    config
}
