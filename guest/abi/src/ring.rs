//! Requests from the guest to the VMM.
//!
//! Two ways lead out. A **submission** goes into a ring in shared memory, is served by an I/O thread when the doorbell
//! rings or by the vCPU thread at the next call, and is answered in the completion ring. A **call** is a real exit:
//! the vCPU stops until it is served. Calls are for memory, for sleeping and for the end.
//!
//! The VMM trusts none of this: it copies an entry once, then checks the copy, then uses it.

/// Entries of the submission ring.
pub const SUBMISSIONS: u32 = 64;
/// Entries of the completion ring. While it is full, the VMM keeps further answers until the guest has taken some.
pub const COMPLETIONS: u32 = 128;
/// Most submissions that may be unanswered, kept answers included: a read and a write for each handle.
pub const UNANSWERED_MAX: u32 = 16384;

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
    /// Not 0 while no doorbell is needed, because the VMM looks at the submission ring by itself every few milliseconds.
    /// The guest reads it after it has published a submission, with a full barrier between the two. Written by the VMM.
    pub looking: u32,
    _host_line: [u32; 13],
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
const _: () = assert!(core::mem::offset_of!(ControlPage, looking) == 72);
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
    /// Sleep until a completion is there or CLOCK_MONOTONIC reaches `[1]` nanoseconds (`u64::MAX`: no deadline). If
    /// `[2]` is not 0 it is the token of a submission, and completions of others do not count.
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
    /// Handle of the stream, file or socket: 0, 1 and 2 are the standard streams.
    pub handle: u64,
    /// Guest-virtual address of the data.
    pub address: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Offset in a file.
    pub offset: u64,
    pub extra: [u64; 2],
}

/// Operations of the submission ring. "Parks" means: answered when it can be, however long that takes; all others are
/// answered at once. Results are 0 or a value, or a negative errno of Linux. Fields that are not named are ignored.
///
/// Addresses are guest-virtual. A *path* is `address` and `len`: UTF-8, at most [`crate::fs::PATH_MAX`] bytes, no zero
/// byte, relative to the directory `handle` and resolved beneath it.
pub mod op {
    /// Write all of `len` bytes at `address` to a stream or socket. Parks. Result: bytes written.
    pub const WRITE: u64 = 1;
    /// Read at least one byte of a stream or socket. Parks. Result: bytes read, 0 at the end.
    pub const READ: u64 = 2;
    /// Wait until `handle` is ready for any of `extra[0]` (see [`crate::net::ready`]). Parks. Result: what it is ready for.
    pub const POLL: u64 = 3;
    /// Take back the parked submission whose token is `extra[0]`: it is answered with -ECANCELED, unless it has been
    /// answered already. Result: 0.
    pub const CANCEL: u64 = 4;
    /// Close `handle`. What is parked on it is answered with -ECANCELED first. If `extra[0]` is 1, it takes its turn after
    /// the writes before it: parks.
    pub const CLOSE: u64 = 5;
    /// Make `len` bytes at `address` zero. The VMM knows which pages of them were ever touched, and leaves the others alone.
    pub const ZERO: u64 = 6;

    /// Read up to `len` bytes of a file from `offset` on. Result: bytes read, fewer than asked only at the file's end.
    /// A file without offsets (a FIFO, a device) reads as a stream: parks.
    pub const READ_AT: u64 = 16;
    /// Write `len` bytes to a file at `offset`, or at its end if `extra[0]` is 1. Result: bytes written.
    pub const WRITE_AT: u64 = 17;
    /// Open a path. `extra[0]`: [`crate::fs::open`]. Result: the new handle in bits 0 to 31, [`crate::fs::Type`] in
    /// bits 32 to 39.
    pub const OPEN: u64 = 18;
    /// Status of a path, or of `handle` itself if `len` is 0. `extra[0]`: 1 follows a symbolic link at the path's end.
    /// `extra[1]`: address of a [`crate::fs::Stat`] to fill.
    pub const STAT: u64 = 19;
    /// Set a file's size to `offset` bytes.
    pub const SET_SIZE: u64 = 20;
    /// Set the times of a path, or of `handle` itself if `len` is 0. `extra[0]`: as for STAT. `extra[1]`: address of
    /// [`crate::fs::Times`].
    pub const SET_TIMES: u64 = 21;
    /// Bring a file to stable storage. `extra[0]`: 1 for the data alone.
    pub const SYNC: u64 = 22;
    /// Tell the host how `extra[1]` bytes from `offset` on will be used. `extra[0]`: [`crate::fs::advice`].
    pub const ADVISE: u64 = 23;
    /// Read directory entries into `len` bytes at `address`, packed as [`crate::fs::EntryHead`] and name. `offset` is
    /// 0 to begin anew, 1 to go on behind what this handle gave last. `.` and `..` are left out. Result: bytes
    /// filled, 0 at the end.
    pub const READ_DIRECTORY: u64 = 24;
    /// Make a directory at a path.
    pub const MAKE_DIRECTORY: u64 = 25;
    /// Remove the empty directory at a path.
    pub const REMOVE_DIRECTORY: u64 = 26;
    /// Remove what is at a path and is no directory.
    pub const UNLINK: u64 = 27;
    /// Move a path to a second one: directory handle `extra[0]`, address `offset`, length `extra[1]`.
    pub const RENAME: u64 = 28;
    /// Make a hard link to a path at a second one, given as for RENAME.
    pub const LINK: u64 = 29;
    /// Make a symbolic link at a path with the text at address `offset`, length `extra[1]`. Absolute texts are refused.
    pub const SYMLINK: u64 = 30;
    /// Read the symbolic link at a path into `extra[1]` bytes at `offset`. Result: its whole length, -ERANGE if it is longer.
    pub const READ_LINK: u64 = 31;
    /// Set status flags of an open file. `extra[0]`: [`crate::fs::open::APPEND`], [`crate::fs::open::NONBLOCK`] or 0.
    pub const SET_FLAGS: u64 = 32;
    /// 1 if `handle` and handle `extra[0]` are the same file, 0 if not.
    pub const IS_SAME: u64 = 33;

    /// Make a socket. `extra[0]`: [`crate::net::family`], `extra[1]`: [`crate::net::kind`]. Parks, for a moment. Result:
    /// its handle. -EACCES without a grant.
    pub const SOCKET: u64 = 48;
    /// Bind to the [`crate::net::Address`] at `address`.
    pub const BIND: u64 = 49;
    /// Connect to the [`crate::net::Address`] at `address`; for a UDP socket, or with `address` 0 disconnect. Parks
    /// until the connection is there or has failed.
    pub const CONNECT: u64 = 50;
    /// Listen, with a queue of `extra[0]`.
    pub const LISTEN: u64 = 51;
    /// Take the next connection of a listening socket or of [`super::HTTP_INCOMING`]. Parks. Result: its handle. A
    /// socket's peer is written to `address` unless that is 0. What is there already of an HTTP request is read into `len`
    /// bytes at `address`: their number is above [`super::ACCEPTED_SHIFT`]. -EPIPE if there will be no more HTTP requests.
    pub const ACCEPT: u64 = 52;
    /// Write the own [`crate::net::Address`] to `address`.
    pub const LOCAL_ADDRESS: u64 = 53;
    /// Write the peer's [`crate::net::Address`] to `address`.
    pub const REMOTE_ADDRESS: u64 = 54;
    /// Value of option `extra[0]` ([`crate::net::option`]).
    pub const GET_OPTION: u64 = 55;
    /// Set option `extra[0]` to `extra[1]`.
    pub const SET_OPTION: u64 = 56;
    /// End a direction of a connection. `extra[0]`: 0 receiving, 1 sending, 2 both. With sending it takes its turn after
    /// the writes before it: parks.
    pub const SHUTDOWN: u64 = 57;
    /// Send a datagram of `len` bytes at `address`, to the [`crate::net::Address`] at `offset` unless that is 0.
    /// Result: bytes sent. -EAGAIN if there is no room: it does not park.
    pub const SEND_TO: u64 = 58;
    /// Receive a datagram into `len` bytes at `address`; its sender is written to `offset`. Parks. Result: bytes.
    pub const RECEIVE_FROM: u64 = 59;
    /// Begin an HTTP request to the outside. Result: the handle of a stream that carries [`crate::http`] frames.
    /// -EACCES without a grant.
    pub const HTTP_REQUEST: u64 = 60;
    /// Write the ASCII form of the domain name of `len` bytes at `address`, at most [`crate::net::NAME_MAX`], to
    /// `offset`, where there are [`crate::net::ASCII_NAME_MAX`] bytes. (UTS #46, as the URL standard has it) Result: its
    /// length. -EILSEQ if there is no such form, -ENAMETOOLONG if name or form is too long, -EACCES without a grant.
    pub const NAME_TO_ASCII: u64 = 61;
}

/// Handle of the stream of incoming HTTP requests, for a program that serves.
pub const HTTP_INCOMING: u64 = 3;
/// Where the number of bytes that ACCEPT has read begins in its result; the handle is below.
pub const ACCEPTED_SHIFT: u32 = 32;
/// Handle of the first preopened directory; the others follow.
pub const FIRST_PREOPEN: u64 = 16;
/// Most handles that a guest may have at once; one more is -EMFILE.
pub const HANDLES_MAX: u64 = 8192;

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
const _: () = assert!(UNANSWERED_MAX as u64 >= 2 * HANDLES_MAX);
