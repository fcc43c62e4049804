//! Which handles the program has open: a server gives back what an instance has left.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use mote_abi::ring::{Completion, Submission, op};

/// Where the handle is in an answer: OPEN tells the type as well, ACCEPT how much it has read.
pub(super) const HANDLE_MASK: u64 = u32::MAX as u64;

/// Handles by what is submitted and answered. Those that are there from the start are none of them.
pub(super) struct Handles {
    /// Tokens of submissions whose answer is a new handle.
    asked: BTreeSet<u64>,
    open: BTreeSet<u64>,
}

impl Handles {
    pub(super) const fn new() -> Handles {
        Handles {
            asked: BTreeSet::new(),
            open: BTreeSet::new(),
        }
    }

    pub(super) fn submitted(&mut self, submission: &Submission) {
        match submission.op {
            op::OPEN | op::SOCKET | op::ACCEPT | op::HTTP_REQUEST => {
                self.asked.insert(submission.token);
            }
            op::CLOSE => {
                self.open.remove(&submission.handle);
            }
            _ => {}
        }
    }

    pub(super) fn answered(&mut self, completion: &Completion) {
        if self.asked.remove(&completion.token)
            && let Ok(result) = u64::try_from(completion.result)
        {
            self.open.insert(result & HANDLE_MASK);
        }
    }

    /// Submissions whose answer is a new handle and is not here yet.
    pub(super) fn asked(&self) -> Vec<u64> {
        self.asked.iter().copied().collect()
    }

    /// The handles that are open.
    pub(super) fn open(&self) -> Vec<u64> {
        self.open.iter().copied().collect()
    }
}
