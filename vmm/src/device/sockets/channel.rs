//! A seqpacket socket to a helper outside of the jail, which is asked for descriptors and hands them over: the broker
//! and the HTTP front.
//!
//! Questions are answered in their order. Nobody waits in here: who asks gets a ticket, and the answer is kept under it.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::super::answer::Errno;

/// Longest message that is understood.
const MESSAGE_MAX: usize = 16;

/// Bytes of a descriptor in a message.
const FD_LEN: u32 = 4;
const _: () = assert!(size_of::<RawFd>() == 4);

/// An answer of the helper.
pub(super) type Answer = Result<OwnedFd, Errno>;

/// Questions under way and answers that were not asked for yet.
#[derive(Debug)]
pub(super) struct Channel {
    fd: OwnedFd,
    next_ticket: u64,
    /// Tickets in the order of their questions; 0 for one that nobody waits for any more.
    asked: VecDeque<u64>,
    answers: BTreeMap<u64, Answer>,
    /// The helper has gone.
    ended: bool,
}

/// A message of the helper.
pub(super) struct Message {
    bytes: [u8; MESSAGE_MAX],
    len: usize,
    pub(super) fd: Option<OwnedFd>,
}

impl Message {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Channel {
    pub(super) fn new(fd: OwnedFd) -> Channel {
        Channel {
            fd,
            next_ticket: 1,
            asked: VecDeque::new(),
            answers: BTreeMap::new(),
            ended: false,
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether the helper has gone.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Whether there are questions without an answer.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether there are answers that were not taken.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Asks a question: the ticket for its answer. EAGAIN if it cannot be asked yet, EPIPE if the helper has gone.
    pub(super) fn ask(&mut self, question: &[u8]) -> Result<u64, Errno> {
        self.tell(question)?;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.asked.push_back(ticket);
        Ok(ticket)
    }

    /// Sends what needs no answer. EAGAIN if there is no room yet, EPIPE if the helper has gone.
    pub(super) fn tell(&mut self, message: &[u8]) -> Result<(), Errno> {
        if self.ended {
            return Err(Errno(libc::EPIPE));
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the message is valid for its length.
        let sent = unsafe {
            libc::sendto(
                self.fd(),
                message.as_ptr().cast(),
                message.len(),
                flags,
                std::ptr::null(),
                0,
            )
        };
        if sent < 0 {
            return match Errno::last() {
                again @ Errno(libc::EAGAIN) => Err(again),
                _ => {
                    self.ended = true;
                    Err(Errno(libc::EPIPE))
                }
            };
        }
        Ok(())
    }

    /// Keeps the answer to the oldest question. Without one, it is dropped.
    pub(super) fn answer(&mut self, answer: Answer) {
        match self.asked.pop_front() {
            None | Some(0) => {}
            Some(ticket) => {
                self.answers.insert(ticket, answer);
            }
        }
    }

    /// The answer for a ticket, once it is there.
    pub(super) fn take(&mut self, ticket: u64) -> Option<Answer> {
        self.answers
            .remove(&ticket)
            .or_else(|| self.ended.then_some(Err(Errno(libc::EPIPE))))
    }

    /// Nobody waits for this ticket any more.
    pub(super) fn forget(&mut self, ticket: u64) {
        self.answers.remove(&ticket);
        if let Some(asked) = self.asked.iter_mut().find(|asked| **asked == ticket) {
            *asked = 0;
        }
    }

    /// The next message, if there is one.
    pub(super) fn receive(&mut self) -> Option<Message> {
        let mut bytes = [0; MESSAGE_MAX];
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        // Room for one descriptor, aligned as a header has to be. (cmsg(3))
        let mut control = [0_u64; 3];
        // SAFETY: an all-zero header is a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: plain arithmetic.
        let room = unsafe { libc::CMSG_LEN(FD_LEN) };
        // One descriptor and no more fits: the kernel drops all others. (unix(7))
        // The field's type is the C library's choice.
        message.msg_controllen = room as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the message points to locals that are valid for the lengths that it carries.
        let len = unsafe { libc::recvmsg(self.fd(), &raw mut message, flags) };
        let Ok(len) = usize::try_from(len) else {
            self.ended |= !matches!(Errno::last(), Errno(libc::EAGAIN | libc::EINTR));
            return None;
        };
        // SAFETY: the kernel has filled the message, and the control buffer is valid for the length in it.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        let mut fd = None;
        if !header.is_null() {
            // SAFETY: the header is inside the control buffer, whose length has room for one header and one descriptor
            // and no more, so if it carries descriptors it carries one, which is now ours.
            unsafe {
                if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                    let number = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
                    fd = Some(OwnedFd::from_raw_fd(number));
                }
            }
        }
        if len == 0 {
            self.ended = true;
            return None;
        }
        Some(Message { bytes, len, fd })
    }
}
