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
    /// Texts at [`crate::layout::ARGS`], each a little-endian u32 length and as many bytes: `argc` arguments, `envc`
    /// variables (`NAME=value`), `preopenc` guest paths of the preopened directories, whose handles count up from
    /// [`crate::ring::FIRST_PREOPEN`], then the text of resolv.conf(5), that of hosts(5), and the working directory, empty
    /// for none.
    pub argc: u32,
    pub envc: u32,
    pub args_len: u64,
    pub preopenc: u32,
    /// What else was granted: see [`grant`].
    pub grants: u32,
    /// Which of descriptors 0, 1 and 2 are terminals: bits 0, 1 and 2.
    pub terminals: u64,
    /// What the guest is to do: see [`mode`].
    pub mode: u64,
    /// What the program may ask its runtime for.
    pub limits: Limits,
    /// Fresh entropy for the first requests; later ones ask the VMM.
    pub entropy: [u8; 256],
}

/// What a program may ask its runtime for; over a limit it traps. The guest keeps them: what they limit is its memory, and
/// how much of that there is the VMM decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limits {
    /// Most resources of WASI 0.2 that are alive at once.
    pub resources: u64,
    /// Most random bytes that one call of WASI 0.2 gives.
    pub random_bytes: u64,
    /// Most bytes that the fields of one HTTP message count for: those of its names and 32 for each, those of its values
    /// and 40 for each.
    pub http_fields: u64,
}

impl Limits {
    /// Those of the wasmtime command, but for random bytes, of which it gives 64 MiB.
    pub const DEFAULT: Limits = Limits {
        resources: 1_000_000,
        random_bytes: 16 << 20,
        http_fields: 128 << 10,
    };
}

/// Bits of [`BootPage::grants`]. The VMM enforces them; the guest knows them to answer without asking.
pub mod grant {
    /// TCP sockets.
    pub const TCP: u32 = 1;
    /// Names may be looked up.
    pub const NAME_LOOKUP: u32 = 1 << 1;
    /// Outgoing HTTP requests.
    pub const HTTP: u32 = 1 << 2;
    /// Standard output and error of a serving component are marked with the request they belong to.
    pub const LOG_PREFIX: u32 = 1 << 3;
    /// UDP sockets.
    pub const UDP: u32 = 1 << 4;
    /// Bits 16 and up: preopen `n` (from 0, at most 16 are marked) may not be changed. The VMM's answer counts.
    pub const READ_ONLY_SHIFT: u32 = 16;
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
const _: () = assert!(core::mem::offset_of!(BootPage, entropy) == 112);
