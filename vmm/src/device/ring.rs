//! The VMM's end of the rings. Everything read from them is the guest's word: copied once, checked, then used.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::atomic::{Ordering, fence};

use mote_abi::PAGE_SIZE;
use mote_abi::layout::{COMPLETION_RING, CONTROL_PAGE, SUBMISSION_RING};
use mote_abi::ring::{COMPLETIONS, Completion, ControlPage, SUBMISSIONS, Submission, UNANSWERED_MAX};
use vm_memory::{Bytes, VolatileSlice};

use crate::memory::Reservation;
use crate::vm::data_gpa;

/// How the guest broke the protocol. It ends the VM: a guest that does so is broken or hostile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("the guest put {0} submissions into a ring of {SUBMISSIONS}")]
    TooManySubmissions(u32),
    #[error("the guest has taken completions that were not written ({0} ahead)")]
    CompletionHead(u32),
    #[error("the guest has more than {UNANSWERED_MAX} submissions under way")]
    TooManyUnanswered,
    #[error("the guest asked for unknown operation {0}")]
    Operation(u64),
    #[error("the guest asked for unknown call {0}")]
    Call(u64),
    #[error("the shared pages cannot be reached")]
    Unreachable,
}

/// Private copies of the indices that the VMM writes. The guest can change the shared ones; nobody reads them back.
#[derive(Debug, Default)]
pub struct Ring {
    submission_head: u32,
    completion_tail: u32,
    /// Taken and not yet answered.
    unanswered: u32,
    /// Answers that found the completion ring full. Bounded with `unanswered`.
    waiting: VecDeque<Completion>,
}

fn page(mem: &Reservation, gva: u64) -> Result<VolatileSlice<'_>, ProtocolError> {
    mem.slice(data_gpa(gva), PAGE_SIZE)
        .map_err(|_| ProtocolError::Unreachable)
}

/// The control page.
///
/// # Errors
/// [`ProtocolError::Unreachable`] never happens with a layout that was checked.
pub fn control_page(mem: &Reservation) -> Result<VolatileSlice<'_>, ProtocolError> {
    page(mem, CONTROL_PAGE)
}

fn load(mem: &Reservation, field: usize) -> Result<u32, ProtocolError> {
    page(mem, CONTROL_PAGE)?
        .load(field, Ordering::Acquire)
        .map_err(|_| ProtocolError::Unreachable)
}

fn store(mem: &Reservation, field: usize, value: u32) -> Result<(), ProtocolError> {
    page(mem, CONTROL_PAGE)?
        .store(value, field, Ordering::Release)
        .map_err(|_| ProtocolError::Unreachable)
}

/// Tells the guest whether a doorbell is needed for its submissions to be seen. What it has submitted before it could
/// know is seen by whoever looks afterwards.
///
/// # Errors
/// As [`control_page`].
pub fn set_looking(mem: &Reservation, looking: bool) -> Result<(), ProtocolError> {
    store(mem, offset_of!(ControlPage, looking), looking.into())?;
    fence(Ordering::SeqCst);
    Ok(())
}

impl Ring {
    /// How many submissions were taken so far, with wrap-around.
    pub(super) fn taken(&self) -> u32 {
        self.submission_head
    }

    /// The next submission, copied out of the ring.
    ///
    /// # Errors
    /// [`ProtocolError`] if the guest's indices cannot be.
    pub fn take(&mut self, mem: &Reservation) -> Result<Option<Submission>, ProtocolError> {
        let tail = load(mem, offset_of!(ControlPage, submission_tail))?;
        let waiting = tail.wrapping_sub(self.submission_head);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > SUBMISSIONS {
            return Err(ProtocolError::TooManySubmissions(waiting));
        }
        let kept = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        if self.unanswered.saturating_add(kept) >= UNANSWERED_MAX {
            return Err(ProtocolError::TooManyUnanswered);
        }
        let slot = (self.submission_head % SUBMISSIONS) as usize * size_of::<[u64; 8]>();
        let words = page(mem, SUBMISSION_RING)?
            .read_obj::<[u64; 8]>(slot)
            .map_err(|_| ProtocolError::Unreachable)?;
        self.submission_head = self.submission_head.wrapping_add(1);
        self.unanswered += 1;
        store(
            mem,
            offset_of!(ControlPage, submission_head),
            self.submission_head,
        )?;
        Ok(Some(Submission::from_words(words)))
    }

    /// Answers a submission that was taken. The answer waits while the completion ring is full.
    ///
    /// # Errors
    /// [`ProtocolError`] if the guest's indices cannot be.
    pub fn answer(&mut self, mem: &Reservation, token: u64, result: i64) -> Result<(), ProtocolError> {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.waiting.push_back(Completion { token, result });
        self.unread(mem).map(drop)
    }

    /// Completions in the ring that the guest has not taken yet. Puts answers that wait into what room there is.
    ///
    /// # Errors
    /// [`ProtocolError::CompletionHead`] if the guest claims to be ahead.
    pub fn unread(&mut self, mem: &Reservation) -> Result<u32, ProtocolError> {
        let head = load(mem, offset_of!(ControlPage, completion_head))?;
        let mut unread = self.completion_tail.wrapping_sub(head);
        if unread > COMPLETIONS {
            return Err(ProtocolError::CompletionHead(unread));
        }
        while unread < COMPLETIONS
            && let Some(completion) = self.waiting.pop_front()
        {
            self.put(mem, completion)?;
            unread += 1;
        }
        Ok(unread)
    }

    /// Writes a completion into a free slot and publishes it.
    fn put(&mut self, mem: &Reservation, completion: Completion) -> Result<(), ProtocolError> {
        let slot = (self.completion_tail % COMPLETIONS) as usize * size_of::<[u64; 2]>();
        page(mem, COMPLETION_RING)?
            .write_obj(completion.to_words(), slot)
            .map_err(|_| ProtocolError::Unreachable)?;
        self.completion_tail = self.completion_tail.wrapping_add(1);
        store(
            mem,
            offset_of!(ControlPage, completion_tail),
            self.completion_tail,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mote_abi::ring::op;

    fn memory() -> Reservation {
        Reservation::new(8 << 20).unwrap()
    }

    fn set(mem: &Reservation, field: usize, value: u32) {
        store(mem, field, value).unwrap();
    }

    fn submit(mem: &Reservation, index: u32, submission: Submission) {
        let slot = (index % SUBMISSIONS) as usize * 64;
        page(mem, SUBMISSION_RING)
            .unwrap()
            .write_obj(submission.to_words(), slot)
            .unwrap();
        set(
            mem,
            offset_of!(ControlPage, submission_tail),
            index.wrapping_add(1),
        );
    }

    #[test]
    fn submissions_come_out_in_order_and_answers_go_back() {
        let (mem, mut ring) = (memory(), Ring::default());
        for i in 0..3 {
            submit(
                &mem,
                i,
                Submission {
                    op: op::WRITE,
                    token: u64::from(i) + 10,
                    ..Submission::default()
                },
            );
        }
        for i in 0..3 {
            assert_eq!(ring.take(&mem).unwrap().unwrap().token, i + 10);
            ring.answer(&mem, i + 10, -5).unwrap();
        }
        assert_eq!(ring.take(&mem).unwrap(), None);
        assert_eq!(ring.unread(&mem).unwrap(), 3);
        let words: [u64; 2] = page(&mem, COMPLETION_RING).unwrap().read_obj(16).unwrap();
        assert_eq!(
            Completion::from_words(words),
            Completion {
                token: 11,
                result: -5
            }
        );
    }

    #[test]
    fn impossible_indices_end_the_vm() {
        let (mem, mut ring) = (memory(), Ring::default());
        set(&mem, offset_of!(ControlPage, submission_tail), SUBMISSIONS + 1);
        assert_eq!(
            ring.take(&mem),
            Err(ProtocolError::TooManySubmissions(SUBMISSIONS + 1))
        );
        set(&mem, offset_of!(ControlPage, submission_tail), u32::MAX);
        assert!(matches!(
            ring.take(&mem),
            Err(ProtocolError::TooManySubmissions(_))
        ));
        set(&mem, offset_of!(ControlPage, completion_head), 1);
        assert!(matches!(ring.unread(&mem), Err(ProtocolError::CompletionHead(_))));
    }

    #[test]
    fn too_many_unanswered_are_refused() {
        let (mem, mut ring) = (memory(), Ring::default());
        for i in 0..UNANSWERED_MAX {
            submit(&mem, i, Submission::default());
            assert!(ring.take(&mem).unwrap().is_some());
        }
        submit(&mem, UNANSWERED_MAX, Submission::default());
        assert_eq!(ring.take(&mem), Err(ProtocolError::TooManyUnanswered));
    }

    #[test]
    fn answers_wait_for_room_in_the_completion_ring() {
        let (mem, mut ring) = (memory(), Ring::default());
        for i in 0..COMPLETIONS + 10 {
            submit(&mem, i, Submission::default());
            assert!(ring.take(&mem).unwrap().is_some());
        }
        for i in 0..COMPLETIONS + 10 {
            ring.answer(&mem, u64::from(i), 0).unwrap();
        }
        assert_eq!(ring.unread(&mem).unwrap(), COMPLETIONS);
        set(&mem, offset_of!(ControlPage, completion_head), COMPLETIONS);
        assert_eq!(ring.unread(&mem).unwrap(), 10);
        let words: [u64; 2] = page(&mem, COMPLETION_RING).unwrap().read_obj(9 * 16).unwrap();
        assert_eq!(Completion::from_words(words).token, u64::from(COMPLETIONS) + 9);
    }

    #[test]
    fn changing_the_vmm_own_indices_changes_nothing() {
        let (mem, mut ring) = (memory(), Ring::default());
        submit(
            &mem,
            0,
            Submission {
                token: 1,
                ..Submission::default()
            },
        );
        ring.take(&mem).unwrap();
        set(&mem, offset_of!(ControlPage, submission_head), 77);
        submit(
            &mem,
            1,
            Submission {
                token: 2,
                ..Submission::default()
            },
        );
        assert_eq!(ring.take(&mem).unwrap().unwrap().token, 2);
    }
}
