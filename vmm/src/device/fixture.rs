//! A server with guest memory and pipes for streams, for tests.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};

use mote_abi::layout::{COMPLETION_RING, CONTROL_PAGE, MMAP_START, SUBMISSION_RING};
use mote_abi::ring::{COMPLETIONS, SUBMISSIONS, Submission};
use vm_memory::Bytes;

use super::ring::ProtocolError;
use super::server::Server;
use super::stream::Stream;
use crate::memory::{Reservation, Space};
use crate::vm::data_gpa;

/// Bytes that are mapped at [`MMAP_START`].
pub(crate) const MAPPED: u64 = 8 << 20;

pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: both are new and unowned.
    unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) }
}

pub(crate) struct Fixture {
    pub(crate) space: Space,
    pub(crate) server: Server,
    /// The other ends of standard input, output and error.
    pub(crate) input: File,
    pub(crate) output: File,
    pub(crate) errors: File,
    submitted: u32,
    taken: u32,
}

pub(crate) fn fixture() -> Fixture {
    let mem = Reservation::new(64 << 20).unwrap();
    let mut space = Space::new(mem, 8 << 20, 64 << 20, 32 << 20);
    space.map(MMAP_START, MAPPED).unwrap();
    let ((in_r, in_w), (out_r, out_w), (err_r, err_w)) = (pipe(), pipe(), pipe());
    Fixture {
        space,
        server: Server::new([in_r, out_w, err_w].map(Stream::new)),
        input: in_w.into(),
        output: out_r.into(),
        errors: err_r.into(),
        submitted: 0,
        taken: 0,
    }
}

impl Fixture {
    pub(crate) fn submit(&mut self, submission: Submission) {
        let mem = self.space.memory();
        let slot = (self.submitted % SUBMISSIONS) as usize * 64;
        mem.slice(data_gpa(SUBMISSION_RING), 4096)
            .unwrap()
            .write_obj(submission.to_words(), slot)
            .unwrap();
        self.submitted += 1;
        self.control(0, self.submitted);
    }

    fn control(&self, field: usize, value: u32) {
        let page = self.space.memory().slice(data_gpa(CONTROL_PAGE), 4096).unwrap();
        page.write_obj(value, field).unwrap();
    }

    pub(crate) fn serve(&mut self) -> Result<bool, ProtocolError> {
        self.server.serve(&self.space)
    }

    /// Serves and takes all completions: token and result.
    pub(crate) fn completions(&mut self) -> Vec<(u64, i64)> {
        self.serve().unwrap();
        let mem = self.space.memory();
        let control = mem.slice(data_gpa(CONTROL_PAGE), 4096).unwrap();
        let tail: u32 = control
            .read_obj(std::mem::offset_of!(mote_abi::ring::ControlPage, completion_tail))
            .unwrap();
        let mut got = Vec::new();
        while self.taken != tail {
            let at = data_gpa(COMPLETION_RING) + u64::from(self.taken % COMPLETIONS) * 16;
            let entry = mem.slice(at, 16).unwrap();
            got.push((entry.read_obj(0).unwrap(), entry.read_obj(8).unwrap()));
            self.taken += 1;
        }
        self.control(4, self.taken);
        got
    }

    /// The result of one submission that does not park.
    pub(crate) fn call(&mut self, submission: Submission) -> i64 {
        let token = u64::from(self.submitted) + 1_000_000;
        self.submit(Submission { token, ..submission });
        let got = self.completions();
        let own = got.iter().find(|(t, _)| *t == token);
        own.unwrap_or_else(|| panic!("{submission:?} was not answered")).1
    }

    /// Writes guest memory at `offset` from [`MMAP_START`] and returns the address.
    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) -> u64 {
        let mut at = 0;
        for part in self
            .space
            .resolve(MMAP_START + offset, bytes.len() as u64, true)
            .unwrap()
        {
            part.write_slice(&bytes[at..at + part.len()], 0).unwrap();
            at += part.len();
        }
        MMAP_START + offset
    }

    /// Reads guest memory at `offset` from [`MMAP_START`].
    pub(crate) fn get(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in self
            .space
            .resolve(MMAP_START + offset, len as u64, false)
            .unwrap()
        {
            let mut chunk = vec![0; part.len()];
            part.read_slice(&mut chunk, 0).unwrap();
            bytes.extend(chunk);
        }
        bytes
    }
}
