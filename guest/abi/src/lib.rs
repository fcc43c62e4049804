//! The contract between the guest image, the VMM and the compiler.
//!
//! Everything here has a fixed layout, checked at compile time, and one version: [`VERSION`].
//! The VMM refuses a guest image or a code file that carries another.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod boot;
pub mod code;
pub mod cpu;
pub mod fs;
pub mod http;
pub mod layout;
pub mod net;
pub mod ring;
pub mod trap;
pub mod wasi;

/// Version of every structure in this crate. Any change of layout or meaning raises it.
pub const VERSION: u32 = 8;

/// Size of a page, and the alignment of everything that is mapped. (SDM Vol. 3A 4.5)
pub const PAGE_SIZE: u64 = 4096;

/// Size of what one page-directory entry maps. (SDM Vol. 3A 4.5)
pub const LARGE_PAGE_SIZE: u64 = 2 << 20;

/// Unmapped address space before and behind each linear memory. An access beyond it is checked in code.
pub const GUARD_SIZE: u64 = 32 << 20;
