//! How an exception reaches ring 3.
//!
//! A ring-0 stub stores what the CPU pushed into the trap page and returns by `iretq` to the handler that the guest
//! named there, on the stack that it named there. Nothing else runs in ring 0.

/// The trap page, written by the stubs and by the guest.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TrapPage {
    /// Address of the ring-3 handler; set by the guest first of all.
    pub handler: u64,
    /// Stack pointer that the handler starts with.
    pub stack: u64,
    /// Exception vector. (SDM Vol. 3A table 7-1)
    pub vector: u64,
    /// Error code, 0 for vectors without one.
    pub error: u64,
    /// Faulting address of a page fault.
    pub cr2: u64,
    pub rip: u64,
    pub rsp: u64,
    pub rflags: u64,
    /// Scratch of the stub.
    pub rax: u64,
}

const _: () = assert!(size_of::<TrapPage>() == 72);
const _: () = assert!(core::mem::offset_of!(TrapPage, rax) == 64);

/// Exception vectors that mean something to the guest. (SDM Vol. 3A table 7-1)
pub mod vector {
    pub const DIVIDE: u64 = 0;
    pub const INVALID_OPCODE: u64 = 6;
    pub const GENERAL_PROTECTION: u64 = 13;
    pub const PAGE_FAULT: u64 = 14;
    pub const SIMD_FLOAT: u64 = 19;
}
