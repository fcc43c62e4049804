//! The image that runs in the micro-VM, in ring 3, without a kernel: Wasmtime's runtime and WASI around one program.
//!
//! The way of a run: [`entry`] is the first instruction; `runtime` gives Wasmtime memory, traps and thread-local
//! state; `program` loads the compiled code, links WASI and calls the program's main; `vm` is the way out to the VMM.
#![no_std]
#![no_main]

extern crate alloc;

#[cfg(feature = "conformance")]
mod conformance;
mod entry;
mod program;
mod runtime;
mod serve;
mod vm;
mod wasi;
