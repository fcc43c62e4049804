//! Standard input, output and error.
//!
//! Output is copied into a buffer that the VMM's I/O thread writes from while the program goes on. What is larger than
//! the buffer is written from where it stands, and waited for.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;

use mote_abi::ring::{Submission, op};

use crate::vm;
use crate::vm::ring::{Ring, Token};

/// Bytes of output that may be under way.
const BUFFER: usize = 64 << 10;
/// Largest write that goes through the buffer.
const BUFFERED_MAX: usize = 16 << 10;

/// Linux errno, as the VMM reports it.
pub(crate) type Errno = i64;

/// A write under way.
struct Pending {
    token: Token,
    /// Bytes of the buffer that it holds.
    held: usize,
    descriptor: u32,
    len: usize,
}

pub(crate) struct Stdio {
    pub(crate) ring: Ring,
    buffer: Box<[u8]>,
    /// Next free byte, and free bytes from there on (around the end).
    head: usize,
    free: usize,
    writes: VecDeque<Pending>,
    /// Error of an earlier write to descriptor 1 and 2, reported once by the next.
    failed: [Option<Errno>; 2],
    input: Input,
    terminals: u64,
}

/// Standard input: at most one read is under way, and what it brought is kept until it is asked for.
struct Input {
    buffer: Box<[u8]>,
    /// What is left of the last read.
    data: core::ops::Range<usize>,
    reading: Option<Token>,
    ended: bool,
    failed: Option<Errno>,
}

impl Stdio {
    pub(crate) fn new(ring: Ring, terminals: u64) -> Stdio {
        let input = Input {
            buffer: Box::default(),
            data: 0..0,
            reading: None,
            ended: false,
            failed: None,
        };
        Stdio {
            ring,
            buffer: Box::default(),
            head: 0,
            free: BUFFER,
            writes: VecDeque::new(),
            failed: [None; 2],
            input,
            terminals,
        }
    }

    /// Whether descriptor 0, 1 or 2 is a terminal.
    pub(crate) fn is_terminal(&self, descriptor: u32) -> bool {
        self.terminals & (1 << descriptor) != 0
    }

    /// Writes all of `data` to descriptor 1 or 2. An error may belong to an earlier write.
    pub(crate) fn write(&mut self, descriptor: u32, data: &[u8]) -> Result<(), Errno> {
        self.reap(false);
        self.take_failure(descriptor)?;
        if data.is_empty() {
            return Ok(());
        }
        if data.len() > BUFFERED_MAX {
            return self.write_through(descriptor, data);
        }
        let address = self.copy_in(data);
        self.submit(descriptor, address, data.len(), data.len());
        vm::doorbell();
        Ok(())
    }

    /// Writes to standard error without looking at earlier failures: for the last words of a run.
    pub(crate) fn write_error(&mut self, data: &[u8]) {
        self.failed = [None; 2];
        // There is nobody left to tell that standard error is closed.
        let _ = self.write_through(2, data);
    }

    /// Waits until all output is written.
    pub(crate) fn flush(&mut self) {
        self.reap(true);
    }

    fn take_failure(&mut self, descriptor: u32) -> Result<(), Errno> {
        match self.failed[failure_index(descriptor)].take() {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }

    fn write_through(&mut self, descriptor: u32, data: &[u8]) -> Result<(), Errno> {
        self.submit(descriptor, data.as_ptr() as u64, data.len(), 0);
        self.reap(true);
        self.take_failure(descriptor)
    }

    /// Copies `data` into the buffer, waiting for room.
    fn copy_in(&mut self, data: &[u8]) -> u64 {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER].into_boxed_slice();
        }
        // A write is contiguous: what is left before the end may have to be passed over.
        let tail = BUFFER - self.head;
        let skip = if tail < data.len() { tail } else { 0 };
        while self.free < skip + data.len() {
            self.wait_oldest();
        }
        if skip > 0 {
            self.head = 0;
            self.free -= skip;
            // The skipped bytes come free with the write before them.
            match self.writes.back_mut() {
                Some(last) => last.held += skip,
                None => self.free += skip,
            }
        }
        let at = self.head;
        self.buffer[at..at + data.len()].copy_from_slice(data);
        self.head = (at + data.len()) % BUFFER;
        self.free -= data.len();
        self.buffer[at..].as_ptr() as u64
    }

    fn submit(&mut self, descriptor: u32, address: u64, len: usize, held: usize) {
        let handle = u64::from(descriptor);
        let request = Submission {
            op: op::WRITE,
            handle,
            address,
            len: len as u64,
            ..Submission::default()
        };
        let token = self.ring.submit(request);
        self.writes.push_back(Pending {
            token,
            held,
            descriptor,
            len,
        });
    }

    /// Takes the results of finished writes, in order; with `all`, waits for every one.
    fn reap(&mut self, all: bool) {
        while let Some(first) = self.writes.front() {
            if !self.ring.is_done(first.token) {
                if !all {
                    return;
                }
                self.ring.wait(u64::MAX);
                continue;
            }
            self.wait_oldest();
        }
    }

    fn wait_oldest(&mut self) {
        let Some(oldest) = self.writes.pop_front() else {
            return;
        };
        let result = self.ring.wait_for(oldest.token);
        self.free += oldest.held;
        if usize::try_from(result) != Ok(oldest.len) {
            // The VMM writes all or reports why not.
            let errno = if result < 0 { -result } else { EIO };
            self.failed[failure_index(oldest.descriptor)] = Some(errno);
        }
    }

    /// Takes up to `len` bytes of standard input that are there: `None` if none are yet, an empty slice at the end.
    pub(crate) fn read(&mut self, len: usize) -> Result<Option<&[u8]>, Errno> {
        self.input.poll(&mut self.ring);
        if let Some(errno) = self.input.failed.take() {
            return Err(errno);
        }
        if self.input.data.is_empty() {
            if self.input.ended {
                return Ok(Some(&[]));
            }
            self.input.start(&mut self.ring);
            return Ok(None);
        }
        let start = self.input.data.start;
        let end = self.input.data.end.min(start.saturating_add(len));
        self.input.data.start = end;
        Ok(Some(&self.input.buffer[start..end]))
    }

    /// Whether a read would not have to wait. Starts one if need be.
    pub(crate) fn readable(&mut self) -> bool {
        self.input.poll(&mut self.ring);
        let ready = !self.input.data.is_empty() || self.input.ended || self.input.failed.is_some();
        if !ready {
            self.input.start(&mut self.ring);
        }
        ready
    }

    /// As [`Self::read`], waiting until there is something.
    pub(crate) fn read_blocking(&mut self, len: usize) -> Result<&[u8], Errno> {
        while !self.readable() {
            self.ring.wait(u64::MAX);
        }
        Ok(self.read(len)?.unwrap_or(&[]))
    }
}

impl Input {
    const SIZE: usize = 64 << 10;

    fn start(&mut self, ring: &mut Ring) {
        if self.reading.is_some() {
            return;
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; Self::SIZE].into_boxed_slice();
        }
        let request = Submission {
            op: op::READ,
            handle: 0,
            address: self.buffer.as_mut_ptr() as u64,
            len: self.buffer.len() as u64,
            ..Submission::default()
        };
        self.reading = Some(ring.submit(request));
    }

    fn poll(&mut self, ring: &mut Ring) {
        let Some(result) = self.reading.and_then(|token| ring.take(token)) else {
            return;
        };
        self.reading = None;
        match usize::try_from(result) {
            Ok(0) => self.ended = true,
            Ok(len) => self.data = 0..len.min(self.buffer.len()),
            Err(_) => self.failed = Some(-result),
        }
    }
}

/// Linux's EIO.
const EIO: Errno = 5;

fn failure_index(descriptor: u32) -> usize {
    usize::from(descriptor == 2)
}
