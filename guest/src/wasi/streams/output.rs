//! Writing: what is written goes out while the program goes on, up to a bound. An error is told by a later operation.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use mote_abi::ring::{Submission, op};

use crate::vm::ring::{Errno, Ring, Token};
use crate::wasi::errno::EIO;

/// The writing end of a handle.
pub(crate) struct Output {
    handle: u64,
    writes: VecDeque<Write>,
    /// Bytes under way.
    under_way: usize,
    /// Error of an earlier write, told once.
    failed: Option<Errno>,
}

/// A write under way.
struct Write {
    token: Token,
    data: Vec<u8>,
}

impl Output {
    /// Bytes that may be under way.
    pub(crate) const BUDGET: usize = 64 << 10;
    /// Writes that may be under way.
    const WRITES: usize = 32;

    pub(crate) const fn new(handle: u64) -> Output {
        Output {
            handle,
            writes: VecDeque::new(),
            under_way: 0,
            failed: None,
        }
    }

    /// Bytes that can be written without waiting. An error belongs to an earlier write.
    pub(crate) fn permit(&mut self, ring: &mut Ring) -> Result<usize, Errno> {
        self.check(ring)?;
        if self.writes.len() >= Self::WRITES {
            return Ok(0);
        }
        Ok(Self::BUDGET.saturating_sub(self.under_way))
    }

    /// Whether [`Self::permit`] has something to say.
    pub(crate) fn writable(&mut self, ring: &mut Ring) -> bool {
        self.reap(ring);
        self.failed.is_some() || (self.writes.len() < Self::WRITES && self.under_way < Self::BUDGET)
    }

    /// Starts to write all of `data`; waits for room if there is none. An error may belong to an earlier write.
    pub(crate) fn write(&mut self, ring: &mut Ring, data: Vec<u8>) -> Result<(), Errno> {
        while self.permit(ring)? == 0 {
            ring.wait(u64::MAX);
        }
        if data.is_empty() {
            return Ok(());
        }
        self.submit(ring, data);
        ring.kick();
        Ok(())
    }

    /// Puts a write of `data` into the ring, whether there is room or not.
    pub(crate) fn submit(&mut self, ring: &mut Ring, data: Vec<u8>) {
        let token = ring.submit(self.request(&data));
        self.under_way += data.len();
        self.writes.push_back(Write { token, data });
    }

    /// Writes and bytes under way when [`Self::check`] last looked.
    pub(crate) fn under_way(&self) -> (usize, usize) {
        (self.writes.len(), self.under_way)
    }

    /// Takes in which writes have ended: the error of one of them, once.
    pub(crate) fn check(&mut self, ring: &mut Ring) -> Result<(), Errno> {
        self.reap(ring);
        match self.failed.take() {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }

    /// Writes all of `data` from where it stands, and waits until that is done. An error may belong to an earlier write.
    pub(crate) fn write_through(&mut self, ring: &mut Ring, data: &[u8]) -> Result<(), Errno> {
        self.permit(ring)?;
        let result = ring.request(self.request(data));
        self.flush(ring)?;
        match result {
            Ok(len) if len == data.len() as u64 => Ok(()),
            // The VMM writes all or reports why not.
            Ok(_) => Err(EIO),
            Err(errno) => Err(errno),
        }
    }

    /// Waits until all is written.
    pub(crate) fn flush(&mut self, ring: &mut Ring) -> Result<(), Errno> {
        while let Some(write) = self.writes.pop_front() {
            let result = ring.wait_for(write.token);
            self.finish(&write.data, result);
        }
        self.check(ring)
    }

    /// Lets what is under way go on without anybody to ask for it. The handle stays open.
    pub(crate) fn abandon(&mut self, ring: &mut Ring) {
        for write in self.writes.drain(..) {
            ring.abandon(write.token, write.data);
        }
        self.under_way = 0;
    }

    fn request(&self, data: &[u8]) -> Submission {
        Submission {
            op: op::WRITE,
            handle: self.handle,
            address: data.as_ptr() as u64,
            len: data.len() as u64,
            ..Submission::default()
        }
    }

    /// Takes the results of finished writes, in order.
    fn reap(&mut self, ring: &mut Ring) {
        while let Some(first) = self.writes.front() {
            let Some(result) = ring.take(first.token) else {
                return;
            };
            if let Some(write) = self.writes.pop_front() {
                self.finish(&write.data, result);
            }
        }
    }

    fn finish(&mut self, data: &[u8], result: i64) {
        self.under_way -= data.len();
        if usize::try_from(result) != Ok(data.len()) {
            self.failed = Some(if result < 0 { -result } else { EIO });
        }
    }
}
