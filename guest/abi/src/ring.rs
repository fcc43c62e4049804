//! Requests from the guest to the VMM.
//!
//! Two ways lead out. A **submission** goes into a ring in shared memory, is served by an I/O thread when the doorbell
//! rings or by the vCPU thread at the next call, and is answered in the completion ring. A **call** is a real exit:
//! the vCPU stops until it is served. Calls are for memory, for sleeping and for the end.
//!
//! The VMM trusts none of this: it copies an entry once, then checks the copy, then uses it.

/// Entries of the submission ring.
pub const SUBMISSIONS: u32 = 64;
/// Entries of the completion ring. At most as many submissions may be unanswered, so that an answer always fits.
pub const COMPLETIONS: u32 = 128;

/// Shared indices and the request of a call. Indices count up for ever; the slot is the index modulo the ring's size.
#[derive(Debug)]
#[repr(C)]
pub struct ControlPage {
    /// Next submission that the guest will write. Written by the guest.
    pub submission_tail: u32,
    /// Next completion that the guest will read. Written by the guest.
    pub completion_head: u32,
    _guest_line: [u32; 14],
    /// Next submission that the VMM will read. Written by the VMM.
    pub submission_head: u32,
    /// Next completion that the VMM will write. Written by the VMM.
    pub completion_tail: u32,
    _host_line: [u32; 14],
    /// Operation and arguments of a call: see [`call`]. Written by the guest.
    pub call: [u64; 8],
    /// Answer to a call: 0 or a value, or a negative errno of Linux. Written by the VMM.
    pub answer: i64,
    _answer_line: [u64; 7],
    /// The clock, see [`Clock`]. Written by the VMM.
    pub clock: Clock,
    /// Time stamps (TSC) of the start: see [`phase`]. Written by the guest.
    pub phases: [u64; 8],
    /// Result of a probe. Written by the guest.
    pub probed_features: u64,
}

/// Wall and monotonic time at one reading of the TSC. Written by the VMM before the guest first runs and at every
/// call; the guest asks for a new one when it is older than a second.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Clock {
    /// The TSC when the times were read.
    pub tsc: u64,
    /// CLOCK_MONOTONIC in nanoseconds.
    pub monotonic_ns: u64,
    /// CLOCK_REALTIME in nanoseconds since 1970.
    pub realtime_ns: u64,
    /// Nanoseconds per tick as 32.32 fixed point; 0 if the TSC is no clock here and every reading needs a call.
    pub ns_per_tick: u64,
}

const _: () = assert!(core::mem::offset_of!(ControlPage, submission_head) == 64);
const _: () = assert!(core::mem::offset_of!(ControlPage, call) == 128);
const _: () = assert!(core::mem::offset_of!(ControlPage, answer) == 192);
const _: () = assert!(core::mem::offset_of!(ControlPage, clock) == 256);
const _: () = assert!(core::mem::offset_of!(ControlPage, phases) == 288);
const _: () = assert!(core::mem::offset_of!(ControlPage, probed_features) == 352);
const _: () = assert!(size_of::<ControlPage>() <= 4096);

/// Index into [`ControlPage::phases`].
pub mod phase {
    pub const ENTRY: usize = 0;
    pub const RUNTIME: usize = 1;
    pub const CODE: usize = 2;
    pub const MAIN: usize = 3;
    pub const EXIT: usize = 4;
}

/// Calls: `ControlPage::call[0]`, with the arguments after it.
pub mod call {
    /// Sleep until a completion is there or CLOCK_MONOTONIC reaches `[1]` nanoseconds (`u64::MAX`: no deadline).
    pub const WAIT: u64 = 1;
    /// Map `[2]` bytes of zeroed memory at `[1]`, read and write. What is mapped already stays.
    pub const MAP: u64 = 2;
    /// Unmap `[2]` bytes at `[1]`. What is not mapped is passed over.
    pub const UNMAP: u64 = 3;
    /// Refresh the clock.
    pub const CLOCK: u64 = 4;
    /// Fill `[2]` bytes at `[1]` with entropy.
    pub const ENTROPY: u64 = 5;
    /// End. `[1]` is the exit code, `[2]` the [`super::end`], `[3]` and `[4]` address and length of a message.
    pub const END: u64 = 6;
}

/// Why the guest ends.
pub mod end {
    /// The program returned or exited.
    pub const EXITED: u64 = 0;
    /// The program trapped.
    pub const TRAP: u64 = 1;
    /// The guest's own runtime failed.
    pub const PANIC: u64 = 2;
}

/// Most bytes that one submission or message may carry.
pub const TRANSFER_MAX: u64 = 1 << 30;

/// A submission, 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// See [`op`].
    pub op: u64,
    /// Comes back in the completion.
    pub token: u64,
    /// Handle of the stream or file: 0, 1 and 2 are the standard streams.
    pub handle: u64,
    /// Guest-virtual address of the data.
    pub address: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Offset in a file.
    pub offset: u64,
    pub extra: [u64; 2],
}

/// Operations of the submission ring.
pub mod op {
    /// Write all of the data. Result: bytes written, or a negative errno.
    pub const WRITE: u64 = 1;
    /// Read at least one byte. Result: bytes read, 0 at the end, or a negative errno.
    pub const READ: u64 = 2;
}

/// A completion, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    pub token: u64,
    /// The operation's result, or a negative errno.
    pub result: i64,
}

impl Submission {
    /// Words of a submission in the ring.
    pub const WORDS: usize = 8;

    /// The submission as it stands in the ring.
    #[must_use]
    pub const fn to_words(self) -> [u64; 8] {
        let [x, y] = self.extra;
        [
            self.op,
            self.token,
            self.handle,
            self.address,
            self.len,
            self.offset,
            x,
            y,
        ]
    }

    /// The submission that the ring's words stand for. Nothing is checked yet.
    #[must_use]
    pub const fn from_words(words: [u64; 8]) -> Submission {
        let [op, token, handle, address, len, offset, x, y] = words;
        Submission {
            op,
            token,
            handle,
            address,
            len,
            offset,
            extra: [x, y],
        }
    }
}

impl Completion {
    /// The completion as it stands in the ring.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [self.token, self.result.cast_unsigned()]
    }

    /// The completion that the ring's words stand for.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Completion {
        Completion {
            token: words[0],
            result: words[1].cast_signed(),
        }
    }
}

const _: () = assert!(SUBMISSIONS.is_power_of_two() && COMPLETIONS.is_power_of_two());
const _: () = assert!(SUBMISSIONS as usize * size_of::<[u64; 8]>() <= 4096);
const _: () = assert!(COMPLETIONS as usize * size_of::<[u64; 2]>() <= 4096);
const _: () = assert!(SUBMISSIONS <= COMPLETIONS);
