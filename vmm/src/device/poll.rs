//! Readiness of descriptors: poll(2) without waiting.

use mote_abi::net::ready;
use mote_abi::ring::Submission;

use super::answer::{Attempt, Errno, Wait};
use super::objects::Objects;

/// Serves [`mote_abi::ring::op::POLL`].
pub(super) fn serve(objects: &Objects, submission: &Submission) -> Attempt {
    let fd = match objects.descriptor(submission.handle) {
        Ok(fd) => fd,
        Err(errno) => return errno.into(),
    };
    let asked = submission.extra[0];
    let (reads, writes) = (asked & ready::READ != 0, asked & ready::WRITE != 0);
    if !reads && !writes {
        return Errno(libc::EINVAL).into();
    }
    let mut events = 0;
    if reads {
        events |= libc::POLLIN;
    }
    if writes {
        events |= libc::POLLOUT;
    }
    let wait = Wait { fd, events };
    let seen = seen(wait);
    // An error or a hang-up is something that a read and a write would answer with.
    let ended = seen & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
    let mut result = 0;
    if reads && (ended || seen & libc::POLLIN != 0) {
        result |= ready::READ;
    }
    if writes && (ended || seen & libc::POLLOUT != 0) {
        result |= ready::WRITE;
    }
    if result == 0 {
        Attempt::Wait(wait)
    } else {
        Ok(result).into()
    }
}

/// What poll(2) says of one descriptor.
pub(super) fn seen(wait: Wait) -> libc::c_short {
    look(&mut [entry(wait)]).first().copied().unwrap_or(0)
}

/// Which of these have come about; false where there is nothing to wait for.
pub(super) fn ready(waits: impl Iterator<Item = Option<Wait>>) -> Vec<bool> {
    // poll(2) passes over negative descriptors.
    let nothing = Wait { fd: -1, events: 0 };
    let mut list: Vec<libc::pollfd> = waits.map(|wait| entry(wait.unwrap_or(nothing))).collect();
    if list.iter().all(|entry| entry.fd < 0) {
        return vec![false; list.len()];
    }
    look(&mut list).iter().map(|seen| *seen != 0).collect()
}

/// An entry of poll(2)'s list.
pub(super) fn entry(wait: Wait) -> libc::pollfd {
    libc::pollfd {
        fd: wait.fd,
        events: wait.events,
        revents: 0,
    }
}

fn look(list: &mut [libc::pollfd]) -> Vec<libc::c_short> {
    // SAFETY: the list is valid for its length. An error of poll itself leaves all entries at 0: nothing is ready.
    unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, 0) };
    list.iter().map(|entry| entry.revents).collect()
}
