//! The guest's end of the submission and completion rings.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use mote_abi::layout::{COMPLETION_RING, SUBMISSION_RING};
use mote_abi::ring::{COMPLETIONS, Completion, SUBMISSIONS, Submission, UNANSWERED_MAX, call, op};

use super::handles::{HANDLE_MASK, Handles};
use super::{CONTROL, load, store};

/// Errno of Linux, positive.
pub(crate) type Errno = i64;

/// Submissions under way and answers that nobody has asked for yet.
pub(crate) struct Ring {
    next_token: u64,
    pending: BTreeMap<u64, Pending>,
    handles: Handles,
    /// Handles that nobody asked for in the end.
    unwanted: Vec<u64>,
    submitted: u32,
    completed: u32,
}

enum Pending {
    Unanswered {
        handle: u64,
    },
    Answered(i64),
    /// Nobody will ask. If the answer is a new handle, it is closed.
    Unwanted,
    /// Nobody will ask. The memory is the submission's and lives until it is answered.
    Abandoned {
        _memory: Vec<u8>,
    },
}

/// The handle in an answer; other things may stand above it.
fn handle(result: i64) -> Option<u64> {
    u64::try_from(result).ok().map(|result| result & HANDLE_MASK)
}

/// A submission under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

impl Ring {
    pub(crate) const fn new() -> Ring {
        Ring {
            next_token: 1,
            pending: BTreeMap::new(),
            handles: Handles::new(),
            unwanted: Vec::new(),
            submitted: 0,
            completed: 0,
        }
    }

    /// Puts a submission into the ring. It is served at the next doorbell or call. What its addresses point to has to
    /// stay until it is answered.
    pub(crate) fn submit(&mut self, submission: Submission) -> Token {
        let handle = submission.handle;
        let token = self.put(submission);
        self.pending.insert(token, Pending::Unanswered { handle });
        Token(token)
    }

    /// Puts a submission into the ring whose answer nobody asks for. It must not carry addresses.
    pub(crate) fn detach(&mut self, submission: Submission) {
        self.put(submission);
    }

    /// Submits and waits: the result, or the errno.
    pub(crate) fn request(&mut self, submission: Submission) -> Result<u64, Errno> {
        let token = self.submit(submission);
        let result = self.wait_for(token);
        u64::try_from(result).map_err(|_| -result)
    }

    /// Forgets a submission, and keeps `memory`, which its addresses point to, until it is answered.
    pub(crate) fn abandon(&mut self, token: Token, memory: Vec<u8>) {
        self.collect();
        match self.pending.get_mut(&token.0) {
            Some(entry @ Pending::Unanswered { .. }) => *entry = Pending::Abandoned { _memory: memory },
            _ => {
                self.pending.remove(&token.0);
            }
        }
    }

    /// As [`Self::abandon`], and has the VMM take a parked submission back.
    pub(crate) fn cancel(&mut self, token: Token, memory: Vec<u8>) {
        self.abandon(token, memory);
        if self.pending.contains_key(&token.0) {
            self.detach(Submission {
                op: op::CANCEL,
                extra: [token.0, 0],
                ..Submission::default()
            });
        }
    }

    /// Forgets a submission without addresses whose answer is a new handle: it is taken back, or the handle is closed.
    pub(crate) fn discard(&mut self, token: Token) {
        self.collect();
        match self.pending.get_mut(&token.0) {
            Some(entry @ Pending::Unanswered { .. }) => {
                *entry = Pending::Unwanted;
                self.detach(Submission {
                    op: op::CANCEL,
                    extra: [token.0, 0],
                    ..Submission::default()
                });
            }
            _ => {
                let answer = self.take(token).and_then(handle);
                self.unwanted.extend(answer);
            }
        }
    }

    fn put(&mut self, mut submission: Submission) -> u64 {
        while self.unserved() >= SUBMISSIONS {
            // Any call serves the ring; this one does not wait.
            self.wait(0);
        }
        while self.submitted.wrapping_sub(self.completed) >= UNANSWERED_MAX {
            self.wait(u64::MAX);
        }
        let token = self.next_token;
        self.next_token += 1;
        submission.token = token;
        self.handles.submitted(&submission);
        let slot = (self.submitted % SUBMISSIONS) as usize;
        // SAFETY: the slot is inside the ring's page, which is mapped; the VMM does not read it before the tail moves.
        unsafe {
            (SUBMISSION_RING as *mut [u64; 8])
                .add(slot)
                .write_volatile(submission.to_words())
        };
        self.submitted = self.submitted.wrapping_add(1);
        // SAFETY: only the address is computed.
        store(unsafe { &raw mut (*CONTROL).submission_tail }, self.submitted);
        token
    }

    /// Submissions that the VMM has not taken yet.
    fn unserved(&self) -> u32 {
        // SAFETY: only the address is computed.
        let head = load(unsafe { &raw const (*CONTROL).submission_head });
        self.submitted.wrapping_sub(head)
    }

    /// Has the VMM serve what was submitted soon, without waiting for it.
    pub(crate) fn kick(&self) {
        if self.unserved() == 0 {
            return;
        }
        // Either the VMM sees the submission when it stops looking, or this sees that it has stopped.
        fence(Ordering::SeqCst);
        // SAFETY: only the address is computed.
        if load(unsafe { &raw const (*CONTROL).looking }) == 0 {
            super::doorbell();
        }
    }

    /// Takes in what the VMM has answered.
    fn collect(&mut self) {
        // SAFETY: only the address is computed.
        let tail = load(unsafe { &raw const (*CONTROL).completion_tail });
        if self.completed == tail {
            return;
        }
        while self.completed != tail {
            let slot = (self.completed % COMPLETIONS) as usize;
            // SAFETY: the slot is inside the ring's page, and the VMM published it before it moved the tail.
            let words = unsafe { (COMPLETION_RING as *const [u64; 2]).add(slot).read_volatile() };
            let completion = Completion::from_words(words);
            self.handles.answered(&completion);
            match self.pending.get_mut(&completion.token) {
                Some(entry @ Pending::Unanswered { .. }) => *entry = Pending::Answered(completion.result),
                Some(Pending::Abandoned { .. }) => {
                    self.pending.remove(&completion.token);
                }
                Some(Pending::Unwanted) => {
                    self.pending.remove(&completion.token);
                    self.unwanted.extend(handle(completion.result));
                }
                // Detached.
                _ => {}
            }
            self.completed = self.completed.wrapping_add(1);
        }
        // SAFETY: only the address is computed.
        store(unsafe { &raw mut (*CONTROL).completion_head }, self.completed);
    }

    /// The result of a submission, if it is there. Asked for once.
    pub(crate) fn take(&mut self, token: Token) -> Option<i64> {
        self.collect();
        match self.pending.get(&token.0) {
            Some(Pending::Answered(result)) => {
                let result = *result;
                self.pending.remove(&token.0);
                Some(result)
            }
            _ => None,
        }
    }

    /// Whether a submission is unanswered.
    pub(crate) fn is_pending(&mut self, token: Token) -> bool {
        self.collect();
        matches!(self.pending.get(&token.0), Some(Pending::Unanswered { .. }))
    }

    /// Sleeps until a completion arrives or CLOCK_MONOTONIC reaches `deadline`. Serves what was submitted, too.
    pub(crate) fn wait(&mut self, deadline: u64) {
        self.sleep(deadline, 0);
    }

    /// Sleeps until the submission with this token is answered, or until any is if it is 0, or until the deadline.
    fn sleep(&mut self, deadline: u64, token: u64) {
        while let Some(handle) = self.unwanted.pop() {
            self.detach(Submission {
                op: op::CLOSE,
                handle,
                ..Submission::default()
            });
        }
        super::call(&[call::WAIT, deadline, token]);
        self.collect();
    }

    /// The handles that the program has opened and not closed, but for those that it is about to get: these are taken
    /// back.
    pub(crate) fn opened(&mut self) -> Vec<u64> {
        for token in self.handles.asked() {
            self.discard(Token(token));
        }
        self.handles.open()
    }

    /// Waits until no submission about these handles, which are closed, is unanswered. What their addresses point to is
    /// free then.
    pub(crate) fn settle(&mut self, handles: &[u64]) {
        let about =
            |pending: &Pending| matches!(pending, Pending::Unanswered { handle } if handles.contains(handle));
        while self.pending.values().any(about) {
            self.wait(u64::MAX);
        }
    }

    /// Completions taken in so far. Whoever looks at several things before it waits compares this, and looks again
    /// rather than wait if one look has taken in what an earlier one was about.
    pub(crate) fn collected(&self) -> u32 {
        self.completed
    }

    /// Has the VMM serve what was submitted, and takes in what can be answered at once.
    pub(crate) fn serve(&mut self) {
        self.wait(0);
    }

    /// Sleeps until the submission is answered.
    pub(crate) fn wait_for(&mut self, token: Token) -> i64 {
        loop {
            if let Some(result) = self.take(token) {
                return result;
            }
            self.sleep(u64::MAX, token.0);
        }
    }
}
