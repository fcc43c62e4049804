//! Serves submissions: tries each at once, parks what would block, tries again when its descriptor is ready.
//!
//! Nothing in here blocks, so the vCPU thread and the I/O thread may both serve, under one lock.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use mote_abi::ring::{Submission, TRANSFER_MAX, op};

use super::ring::{ProtocolError, Ring};
use super::stream::{Progress, Stream};
use crate::memory::Space;

/// A submission that could not be finished yet.
#[derive(Debug)]
struct Parked {
    submission: Submission,
    done: u64,
}

/// The rings and what their submissions reach.
#[derive(Debug)]
pub struct Server {
    ring: Ring,
    streams: [Stream; 3],
    parked: VecDeque<Parked>,
}

impl Server {
    /// A server for the program's standard input, output and error.
    #[must_use]
    pub fn new(streams: [Stream; 3]) -> Server {
        Server {
            ring: Ring::default(),
            streams,
            parked: VecDeque::new(),
        }
    }

    /// Serves all that can be served now. Whether the guest has completions to read.
    ///
    /// # Errors
    /// [`ProtocolError`] ends the VM.
    pub fn serve(&mut self, space: &Space) -> Result<bool, ProtocolError> {
        self.retry(space)?;
        while let Some(submission) = self.ring.take(space.memory())? {
            if !matches!(submission.op, op::WRITE | op::READ) {
                return Err(ProtocolError::Operation(submission.op));
            }
            let parked = Parked { submission, done: 0 };
            // What comes later on the same stream waits its turn.
            let behind = self
                .parked
                .iter()
                .any(|p| p.submission.handle == submission.handle);
            if behind {
                self.parked.push_back(parked);
            } else {
                self.attempt(space, parked)?;
            }
        }
        Ok(self.ring.unread(space.memory())? > 0)
    }

    /// Whether output is still to be written.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.parked.iter().any(|p| p.submission.op == op::WRITE)
    }

    /// Descriptors to wait for, with the event of poll(2): the first parked submission of each.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<(RawFd, libc::c_short)> {
        let mut list: Vec<(RawFd, libc::c_short)> = Vec::new();
        for parked in &self.parked {
            let event = if parked.submission.op == op::WRITE {
                libc::POLLOUT
            } else {
                libc::POLLIN
            };
            let fd = self.stream(parked.submission.handle).map(Stream::fd);
            if let Some(fd) = fd.filter(|fd| list.iter().all(|(known, _)| known != fd)) {
                list.push((fd, event));
            }
        }
        list
    }

    /// Writes a text of the VMM's own to the program's standard error, as far as it does not block.
    pub fn write_error(&mut self, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        let mut rest = vm_memory::VolatileSlice::from(bytes.as_mut_slice());
        while let Progress::Bytes(n) = self.streams[2].write(&rest) {
            match rest.offset(n) {
                Ok(left) if !left.is_empty() => rest = left,
                _ => return,
            }
        }
    }

    fn stream(&self, handle: u64) -> Option<&Stream> {
        self.streams.get(usize::try_from(handle).ok()?)
    }

    fn retry(&mut self, space: &Space) -> Result<(), ProtocolError> {
        let mut blocked: Vec<u64> = Vec::new();
        for _ in 0..self.parked.len() {
            let Some(parked) = self.parked.pop_front() else {
                break;
            };
            let handle = parked.submission.handle;
            if blocked.contains(&handle) {
                self.parked.push_back(parked);
                continue;
            }
            let before = self.parked.len();
            self.attempt(space, parked)?;
            if self.parked.len() > before {
                blocked.push(handle);
            }
        }
        Ok(())
    }

    fn attempt(&mut self, space: &Space, mut parked: Parked) -> Result<(), ProtocolError> {
        match self.progress(space, &mut parked) {
            Some(result) => self.ring.answer(space.memory(), parked.submission.token, result),
            None => {
                self.parked.push_back(parked);
                Ok(())
            }
        }
    }

    /// The submission's result, or `None` if it has to wait.
    fn progress(&mut self, space: &Space, parked: &mut Parked) -> Option<i64> {
        let Submission {
            op: operation,
            handle,
            address,
            len,
            ..
        } = parked.submission;
        let writing = operation == op::WRITE;
        let allowed = if writing {
            handle == 1 || handle == 2
        } else {
            handle == 0
        };
        if !allowed {
            return Some(-i64::from(libc::EBADF));
        }
        if len > TRANSFER_MAX {
            return Some(-i64::from(libc::EINVAL));
        }
        let stream = self.streams.get_mut(usize::try_from(handle).ok()?)?;
        while parked.done < len {
            let at = address.wrapping_add(parked.done);
            // A read writes guest memory.
            let Ok(parts) = space.resolve(at, len - parked.done, !writing) else {
                return Some(-i64::from(libc::EFAULT));
            };
            let Some(mut part) = parts.into_iter().next() else {
                break;
            };
            let progress = if writing {
                stream.write(&part)
            } else {
                stream.read(&mut part)
            };
            match progress {
                Progress::Blocked => return None,
                Progress::Failed(errno) => return Some(-i64::from(errno)),
                Progress::Bytes(n) => {
                    parked.done += n as u64;
                    if !writing {
                        break;
                    }
                }
            }
        }
        i64::try_from(parked.done).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Reservation;
    use crate::vm::data_gpa;
    use mote_abi::layout::{CONTROL_PAGE, MMAP_START, SUBMISSION_RING};
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::{FromRawFd, OwnedFd};
    use vm_memory::Bytes;

    fn pipe() -> (OwnedFd, OwnedFd) {
        let mut fds = [0; 2];
        // SAFETY: room for two descriptors.
        assert_eq!(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        // SAFETY: both are new and unowned.
        unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) }
    }

    struct Fixture {
        space: Space,
        server: Server,
        input: File,
        output: File,
        submitted: u32,
    }

    fn fixture() -> Fixture {
        let mem = Reservation::new(64 << 20).unwrap();
        let mut space = Space::new(mem, 8 << 20, 64 << 20, 32 << 20);
        space.map(MMAP_START, 4 << 20).unwrap();
        let ((in_r, in_w), (out_r, out_w), (_, err_w)) = (pipe(), pipe(), pipe());
        let server = Server::new([in_r, out_w, err_w].map(Stream::new));
        Fixture {
            space,
            server,
            input: in_w.into(),
            output: out_r.into(),
            submitted: 0,
        }
    }

    impl Fixture {
        fn submit(&mut self, op: u64, handle: u64, address: u64, len: u64) {
            let s = Submission {
                op,
                token: 7,
                handle,
                address,
                len,
                ..Submission::default()
            };
            let mem = self.space.memory();
            let slot = (self.submitted % 64) as usize * 64;
            mem.slice(data_gpa(SUBMISSION_RING), 4096)
                .unwrap()
                .write_obj(s.to_words(), slot)
                .unwrap();
            self.submitted += 1;
            mem.slice(data_gpa(CONTROL_PAGE), 4096)
                .unwrap()
                .write_obj(self.submitted, 0)
                .unwrap();
        }

        fn result(&self, index: u64) -> i64 {
            let mem = self.space.memory();
            let at = data_gpa(mote_abi::layout::COMPLETION_RING) + index * 16 + 8;
            mem.slice(at, 8).unwrap().read_obj(0).unwrap()
        }
    }

    #[test]
    fn a_large_write_waits_for_its_reader_and_arrives_whole() {
        let mut f = fixture();
        let data: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        f.space
            .resolve(MMAP_START, 3_000_000, true)
            .unwrap()
            .iter()
            .fold(0, |at, part| {
                part.write_slice(&data[at..at + part.len()], 0).unwrap();
                at + part.len()
            });
        f.submit(op::WRITE, 1, MMAP_START, 3_000_000);
        assert!(!f.server.serve(&f.space).unwrap());
        assert!(f.server.has_output());
        assert_eq!(f.server.waiting_for()[0].1, libc::POLLOUT);
        let mut got = Vec::new();
        let mut buffer = vec![0; 65536];
        while !f.server.serve(&f.space).unwrap() {
            let n = f.output.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(f.result(0), 3_000_000);
        let left = data.len() - got.len();
        let mut rest = vec![0; left];
        f.output.read_exact(&mut rest).unwrap();
        got.extend(rest);
        assert!(got == data);
    }

    #[test]
    fn a_read_waits_for_input_and_sees_the_end() {
        let mut f = fixture();
        f.submit(op::READ, 0, MMAP_START, 100);
        assert!(!f.server.serve(&f.space).unwrap());
        f.input.write_all(b"hello").unwrap();
        assert!(f.server.serve(&f.space).unwrap());
        assert_eq!(f.result(0), 5);
        f.input = File::open("/dev/null").unwrap();
        f.submit(op::READ, 0, MMAP_START, 100);
        f.server.serve(&f.space).unwrap();
        assert_eq!(f.result(1), 0);
    }

    #[test]
    fn hostile_submissions_get_an_error_or_end_the_vm() {
        let mut f = fixture();
        for (i, (op, handle, address, len, errno)) in [
            (op::WRITE, 0, MMAP_START, 1, libc::EBADF),
            (op::WRITE, u64::MAX, MMAP_START, 1, libc::EBADF),
            (op::READ, 1, MMAP_START, 1, libc::EBADF),
            (op::WRITE, 1, 0, 1, libc::EFAULT),
            (op::WRITE, 1, u64::MAX, 2, libc::EFAULT),
            (op::WRITE, 1, MMAP_START, u64::MAX, libc::EINVAL),
            (op::WRITE, 1, MMAP_START + (4 << 20) - 1, 2, libc::EFAULT),
        ]
        .into_iter()
        .enumerate()
        {
            f.submit(op, handle, address, len);
            f.server.serve(&f.space).unwrap();
            assert_eq!(f.result(i as u64), -i64::from(errno), "case {i}");
        }
        f.submit(99, 1, MMAP_START, 1);
        assert_eq!(f.server.serve(&f.space), Err(ProtocolError::Operation(99)));
    }
}
