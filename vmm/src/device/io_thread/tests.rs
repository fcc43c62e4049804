use std::io::Write;
use std::mem::offset_of;
use std::thread;

use mote_abi::layout::{CONTROL_PAGE, MMAP_START};
use mote_abi::ring::{ControlPage, Submission, op};
use vm_memory::Bytes;

use super::super::fixture::{Fixture, fixture};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::vm::data_gpa;

/// A read of standard input, which waits.
const READ: Submission = Submission {
    op: op::READ,
    token: 7,
    handle: 0,
    address: MMAP_START,
    len: 1,
    offset: 0,
    extra: [0; 2],
};

/// A state with what the guest has submitted, and the other end of its standard input.
fn state(submissions: &[Submission]) -> (State, std::fs::File) {
    let mut f = fixture();
    submissions.iter().for_each(|submission| f.submit(*submission));
    let Fixture {
        space,
        server,
        input,
        output,
        errors,
        ..
    } = f;
    // Readers of what the program writes, which no test here does.
    drop((output, errors));
    (State::new(space, server), input)
}

/// Whether the guest has been told that it need not ring.
fn told(state: &State) -> bool {
    let page = state.space.memory().slice(data_gpa(CONTROL_PAGE), 4096).unwrap();
    let looking: u32 = page.read_obj(offset_of!(ControlPage, looking)).unwrap();
    assert_eq!(looking != 0, state.looking);
    state.looking
}

#[test]
fn a_guest_that_submits_is_looked_at_and_then_watched() {
    let (mut state, _input) = state(&[READ]);
    let mut look = None;
    let waits = attend(&mut state, &mut look, true).unwrap();
    assert_eq!((waits.len(), look.is_some(), told(&state)), (1, true, true));
    assert!(!state.needs_io_thread());
    // Nothing new by then: from here on it rings.
    look = Some(Instant::now());
    let waits = attend(&mut state, &mut look, false).unwrap();
    assert_eq!((waits.len(), look, told(&state)), (1, None, false));
    assert!(!state.needs_io_thread(), "what is parked is watched");
}

#[test]
fn a_guest_that_sleeps_is_left_alone() {
    let (mut state, _input) = state(&[READ]);
    state.serve().unwrap();
    (state.asleep, state.slept) = (true, true);
    let mut look = None;
    // Rung on the way to sleep: it is busy, and will be back.
    assert!(attend(&mut state, &mut look, true).unwrap().is_empty());
    assert!(look.is_some() && told(&state));
    look = Some(Instant::now());
    assert!(attend(&mut state, &mut look, false).unwrap().is_empty());
    assert!(look.is_none() && !told(&state));
    // It runs on, and nobody waits for what is parked.
    state.asleep = false;
    assert!(state.needs_io_thread());
    assert_eq!(attend(&mut state, &mut look, true).unwrap().len(), 1);
    assert!(!state.needs_io_thread());
}

#[test]
fn while_the_vcpu_thread_sleeps_the_io_thread_serves_nothing() {
    let (mut state, _input) = state(&[READ]);
    state.asleep = true;
    attend(&mut state, &mut None, true).unwrap();
    assert_eq!(state.server.taken(), 0);
    assert!(state.serve().is_ok_and(|unread| !unread));
    assert_eq!(state.server.taken(), 1);
}

#[test]
fn sleep_ends_with_what_is_waited_for() {
    let (mut state, mut input) = state(&[READ]);
    state.serve().unwrap();
    let shared = Shared::new(state, EventFd::new(0).unwrap()).unwrap();
    let begun = Instant::now();
    let state = shared.sleep(shared.lock(), Some(begun + Duration::from_millis(30)));
    assert!(begun.elapsed() >= Duration::from_millis(30) && !state.asleep && state.slept);
    // For ever, but for a byte that comes.
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        input.write_all(b"x").unwrap();
        input
    });
    let mut state = shared.sleep(state, None);
    assert!(state.serve().unwrap());
    drop(state);
    let _input = writer.join().unwrap();
    // Or for a stop, even one that was there before.
    stop(&shared, &mut shared.lock(), Stop::Timeout);
    let state = shared.sleep(shared.lock(), None);
    assert_eq!(state.stop, Some(Stop::Timeout));
}
