//! The guest's end of the submission and completion rings.

use alloc::vec::Vec;

use mote_abi::layout::{COMPLETION_RING, SUBMISSION_RING};
use mote_abi::ring::{COMPLETIONS, Completion, SUBMISSIONS, Submission, call};

use super::{CONTROL, load, store};

/// Unanswered submissions and answers that nobody has asked for yet.
pub(crate) struct Ring {
    next_token: u64,
    /// Token, and the result once it is there.
    pending: Vec<(u64, Option<i64>)>,
    submitted: u32,
    completed: u32,
}

/// A submission under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

impl Ring {
    pub(crate) const fn new() -> Ring {
        Ring {
            next_token: 1,
            pending: Vec::new(),
            submitted: 0,
            completed: 0,
        }
    }

    /// Puts a submission into the ring. It is served at the next doorbell or call.
    pub(crate) fn submit(&mut self, mut submission: Submission) -> Token {
        // The VMM answers at most as many as fit into the completion ring.
        while self.pending.iter().filter(|(_, r)| r.is_none()).count() >= SUBMISSIONS as usize - 1 {
            self.wait(u64::MAX);
        }
        let token = self.next_token;
        self.next_token += 1;
        submission.token = token;
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
        self.pending.push((token, None));
        Token(token)
    }

    /// Takes in what the VMM has answered.
    fn collect(&mut self) {
        // SAFETY: only the address is computed.
        let tail = load(unsafe { &raw const (*CONTROL).completion_tail });
        while self.completed != tail {
            let slot = (self.completed % COMPLETIONS) as usize;
            // SAFETY: the slot is inside the ring's page, and the VMM published it before it moved the tail.
            let words = unsafe { (COMPLETION_RING as *const [u64; 2]).add(slot).read_volatile() };
            let completion = Completion::from_words(words);
            if let Some(entry) = self
                .pending
                .iter_mut()
                .find(|(token, _)| *token == completion.token)
            {
                entry.1 = Some(completion.result);
            }
            self.completed = self.completed.wrapping_add(1);
        }
        // SAFETY: only the address is computed.
        store(unsafe { &raw mut (*CONTROL).completion_head }, self.completed);
    }

    /// The result of a submission, if it is there. Asked for once.
    pub(crate) fn take(&mut self, token: Token) -> Option<i64> {
        self.collect();
        let at = self
            .pending
            .iter()
            .position(|(t, r)| *t == token.0 && r.is_some())?;
        self.pending.swap_remove(at).1
    }

    /// Whether the result of a submission is there.
    pub(crate) fn is_done(&mut self, token: Token) -> bool {
        self.collect();
        self.pending.iter().any(|(t, r)| *t == token.0 && r.is_some())
    }

    /// Sleeps until a completion arrives or CLOCK_MONOTONIC reaches `deadline`. Serves what was submitted, too.
    pub(crate) fn wait(&mut self, deadline: u64) {
        super::call(&[call::WAIT, deadline]);
        self.collect();
    }

    /// Sleeps until the submission is answered.
    pub(crate) fn wait_for(&mut self, token: Token) -> i64 {
        loop {
            if let Some(result) = self.take(token) {
                return result;
            }
            self.wait(u64::MAX);
        }
    }
}
