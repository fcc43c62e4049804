//! What the VMM tells the guest before its first instruction.

/// The boot page. The guest only reads it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BootPage {
    /// [`crate::VERSION`] of the VMM.
    pub abi_version: u32,
    /// [`crate::code::Kind`] of the program.
    pub kind: u32,
    /// Length of the payload at [`crate::layout::CODE`].
    pub code_len: u64,
    /// CPU features: [`crate::cpu::Features`].
    pub features: u64,
    /// First free byte after the image's `.bss`, where the heap starts.
    pub heap_start: u64,
    /// A range in the mmap area that is already mapped: the program's first linear memory. 0 and 0 if none.
    pub premapped: u64,
    pub premapped_len: u64,
    /// Arguments and environment at [`crate::layout::ARGS`]: `argc` then `envc` entries, each a little-endian u32
    /// length and as many bytes (an environment entry is `NAME=value`).
    pub argc: u32,
    pub envc: u32,
    pub args_len: u64,
    /// Which of descriptors 0, 1 and 2 are terminals: bits 0, 1 and 2.
    pub terminals: u64,
    /// What the guest is to do: see [`mode`].
    pub mode: u64,
    /// Fresh entropy for the first requests; later ones ask the VMM.
    pub entropy: [u8; 256],
}

/// Values of [`BootPage::mode`].
pub mod mode {
    /// Run the program.
    pub const RUN: u64 = 0;
    /// Read the CPU's features as ring 3 sees them and end.
    pub const PROBE: u64 = 1;
    /// End at once: the floor that a start is compared with.
    pub const FLOOR: u64 = 2;
}

const _: () = assert!(size_of::<BootPage>() <= 4096);
const _: () = assert!(core::mem::offset_of!(BootPage, code_len) == 8);
const _: () = assert!(core::mem::offset_of!(BootPage, entropy) == 80);
