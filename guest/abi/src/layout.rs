//! The guest's address space, physical and virtual.
//!
//! Guest-physical (one contiguous host reservation, so that one memslot is enough):
//!
//! ```text
//! 0          system: descriptor tables, exception stubs, trap page, first page tables
//! 2 MiB      text of the guest image            one huge page
//! 4 MiB      read-only data of the image        one huge page
//! 6 MiB      stack, data, shared pages, heap
//! 8 MiB      code file (payload), then frames that the VMM hands out
//! ```
//!
//! Guest-virtual (the lower half only; what is not listed is not mapped):
//!
//! ```text
//! 0x0000_1000   system pages, supervisor but for the trap page
//! 2 MiB         text                            R-X
//! 4 MiB         read-only data                  R--
//! 8 MiB         stack (grows down to an unmapped hole), data, shared pages, heap     RW-
//! 4 GiB         compiled code                   R-X for its text, R-- for the rest
//! 64 GiB        what Wasmtime maps: linear memories with their guards                 RW-
//! ```

use crate::LARGE_PAGE_SIZE;

/// Descriptor tables: GDT and TSS. Supervisor, read-only.
pub const GDT: u64 = 0x1000;
/// The TSS, in the GDT's page. (SDM Vol. 3A 8.7)
pub const TSS: u64 = 0x1100;
/// Interrupt descriptor table. Supervisor, read-only.
pub const IDT: u64 = 0x2000;
/// Exception stubs. Supervisor, read and execute.
pub const STUBS: u64 = 0x3000;
/// Top of the ring-0 stack (RSP0), one supervisor page below.
pub const KERNEL_STACK_TOP: u64 = 0x5000;
/// [`crate::trap::TrapPage`]: user, read and write.
pub const TRAP_PAGE: u64 = 0x5000;
/// First page that the VMM may use for page tables; never mapped in the guest.
pub const PAGE_TABLES: u64 = 0x8000;
/// End of the system region.
pub const SYSTEM_END: u64 = LARGE_PAGE_SIZE;

/// Guest-physical and guest-virtual address of the image's text.
pub const TEXT: u64 = LARGE_PAGE_SIZE;
/// Guest-physical and guest-virtual address of the image's read-only data.
pub const RODATA: u64 = 2 * LARGE_PAGE_SIZE;

/// Guest-physical address of stack, data and first heap.
pub const DATA_GPA: u64 = 3 * LARGE_PAGE_SIZE;
/// Guest-virtual address of the same. The large page below is a hole: the guard of the stack.
pub const DATA_GVA: u64 = 4 * LARGE_PAGE_SIZE;
/// Stack in bytes, at the bottom of the data region: what Wasm may use (`mote_engine::WASM_STACK`) and as much for
/// the runtime and host calls on top of it.
pub const STACK_SIZE: u64 = 1 << 20;
/// Initial stack pointer's page end.
pub const STACK_TOP: u64 = DATA_GVA + STACK_SIZE;
/// [`crate::boot::BootPage`], followed by the shared pages.
pub const BOOT_PAGE: u64 = STACK_TOP;
/// [`crate::ring::ControlPage`].
pub const CONTROL_PAGE: u64 = BOOT_PAGE + 0x1000;
/// Submission ring: [`crate::ring::SUBMISSIONS`] entries.
pub const SUBMISSION_RING: u64 = BOOT_PAGE + 0x2000;
/// Completion ring: [`crate::ring::COMPLETIONS`] entries.
pub const COMPLETION_RING: u64 = BOOT_PAGE + 0x3000;
/// The image's `.data` and `.bss`.
pub const DATA_SEGMENT: u64 = BOOT_PAGE + 0x4000;
/// End of the data region as it is mapped at start; the heap grows on from here in large pages.
pub const DATA_END: u64 = DATA_GVA + LARGE_PAGE_SIZE;
/// End of the address space that the heap may grow into.
pub const HEAP_END: u64 = 2 << 30;

/// Arguments and environment, see [`crate::boot::BootPage`]. Read-only.
pub const ARGS: u64 = 0x8000_0000;
/// Most bytes of arguments and environment.
pub const ARGS_MAX: u64 = 64 << 20;

/// Guest-virtual address of the code file's payload.
pub const CODE: u64 = 4 << 30;
/// Most bytes of payload.
pub const CODE_MAX: u64 = 2 << 30;
/// Guest-physical address of the code file's payload.
pub const CODE_GPA: u64 = 4 * LARGE_PAGE_SIZE;

/// Start of the address space that the guest divides among mappings of its own choosing.
pub const MMAP_START: u64 = 64 << 30;
/// Its end: half of the lower half, which every x86-64 hypervisor grants.
pub const MMAP_END: u64 = 64 << 40;

/// Selectors. 0x33 and 0x2b are what Linux itself uses for user code and data, which matters where guest and host
/// share the descriptor tables while the guest runs. (SDM Vol. 3A 3.4.2)
pub mod selector {
    pub const KERNEL_CODE: u16 = 1 << 3;
    pub const USER_DATA: u16 = (5 << 3) | 3;
    pub const USER_CODE: u16 = (6 << 3) | 3;
    pub const TSS: u16 = 7 << 3;
}

/// I/O ports that the TSS's permission bitmap opens to ring 3. (SDM Vol. 1 20.5.2)
pub mod port {
    /// Wakes the I/O thread through an ioeventfd. No exit to user space.
    pub const DOORBELL: u8 = 0x20;
    /// A real exit: the request is in [`crate::ring::ControlPage`].
    pub const CALL: u8 = 0x21;
}

const _: () = assert!(DATA_SEGMENT < DATA_END);
const _: () = assert!(selector::USER_CODE == 0x33 && selector::USER_DATA == 0x2b);
