use super::super::fixture::{MAPPED, fixture};
use super::*;
use mote_abi::layout::MMAP_START;
use mote_abi::net::ready;
use std::fs::File;
use std::io::{Read, Write};

fn submission(op: u64, handle: u64, len: u64) -> Submission {
    Submission {
        op,
        token: 7,
        handle,
        address: MMAP_START,
        len,
        ..Submission::default()
    }
}

fn with_token(token: u64, submission: Submission) -> Submission {
    Submission { token, ..submission }
}

fn extra(op: u64, handle: u64, value: u64) -> Submission {
    Submission {
        extra: [value, 0],
        ..submission(op, handle, 0)
    }
}

const CANCELED: i64 = -125; // ECANCELED

#[test]
fn a_large_write_waits_for_its_reader_and_arrives_whole() {
    let mut f = fixture();
    let data: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    f.put(0, &data);
    f.submit(submission(op::WRITE, 1, 3_000_000));
    assert!(!f.serve().unwrap());
    assert!(f.server.has_output());
    assert!(!f.server.is_watched());
    assert_eq!(f.server.watch()[0].events, libc::POLLOUT);
    assert!(f.server.is_watched());
    let mut got = Vec::new();
    let mut buffer = vec![0; 65536];
    while !f.serve().unwrap() {
        let n = f.output.read(&mut buffer).unwrap();
        got.extend_from_slice(&buffer[..n]);
    }
    assert_eq!(f.completions(), [(7, 3_000_000)]);
    let left = data.len() - got.len();
    let mut rest = vec![0; left];
    f.output.read_exact(&mut rest).unwrap();
    got.extend(rest);
    assert!(got == data);
}

#[test]
fn memory_is_zeroed() {
    let mut f = fixture();
    let zero = |len| submission(op::ZERO, 0, len);
    for known in [false, true] {
        if known {
            f.server.know_touched(Touched::open().unwrap());
        }
        f.put(0, &[7; 3 << 20]);
        assert_eq!(f.call(zero(0)), 0);
        assert_eq!(f.call(zero(2_500_000)), 0);
        assert!(f.get(0, 2_500_000).iter().all(|byte| *byte == 0));
        assert!(f.get(2_500_000, 500_000).iter().all(|byte| *byte == 7));
    }
    assert_eq!(f.call(zero(MAPPED + 1)), -i64::from(libc::EFAULT));
    assert_eq!(f.call(zero(u64::MAX)), -i64::from(libc::EINVAL));
}

#[test]
fn a_read_waits_for_input_and_sees_the_end() {
    let mut f = fixture();
    f.submit(submission(op::READ, 0, 100));
    assert!(!f.serve().unwrap());
    f.input.write_all(b"hello").unwrap();
    assert_eq!(f.completions(), [(7, 5)]);
    f.input = File::open("/dev/null").unwrap();
    assert_eq!(f.call(submission(op::READ, 0, 100)), 0);
}

#[test]
fn reads_keep_their_order_and_do_not_wait_for_writes() {
    let mut f = fixture();
    f.submit(with_token(1, submission(op::WRITE, 1, 3_000_000)));
    f.submit(with_token(2, submission(op::READ, 0, 2)));
    f.submit(with_token(3, submission(op::READ, 0, 2)));
    f.submit(with_token(4, submission(op::WRITE, 2, 5)));
    assert_eq!(f.completions(), [(4, 5)]);
    f.input.write_all(b"abcd").unwrap();
    assert_eq!(f.completions(), [(2, 2), (3, 2)]);
    assert_eq!(f.get(0, 2), b"cd");
}

#[test]
fn poll_answers_when_something_is_ready() {
    let mut f = fixture();
    assert_eq!(f.call(extra(op::POLL, 1, ready::READ | ready::WRITE)), 2);
    f.submit(with_token(1, extra(op::POLL, 0, ready::READ)));
    f.submit(with_token(2, submission(op::READ, 0, 10)));
    assert_eq!(f.completions(), []);
    assert_eq!(f.server.waits().len(), 1, "one entry for one descriptor");
    f.input.write_all(b"x").unwrap();
    assert_eq!(f.completions(), [(1, 1), (2, 1)]);
    assert_eq!(f.call(extra(op::POLL, 0, 0)), -i64::from(libc::EINVAL));
    assert_eq!(f.call(extra(op::POLL, 9, 1)), -i64::from(libc::EBADF));
    f.input = File::open("/dev/null").unwrap();
    assert_eq!(f.call(extra(op::POLL, 0, ready::READ)), 1, "the end is ready");
}

#[test]
fn what_is_cancelled_lets_the_next_one_through() {
    let mut f = fixture();
    f.submit(with_token(1, submission(op::READ, 0, 4)));
    f.submit(with_token(2, submission(op::READ, 0, 4)));
    f.submit(with_token(3, extra(op::CANCEL, 0, 1)));
    assert_eq!(f.completions(), [(1, CANCELED), (3, 0)]);
    assert_eq!(f.server.waits().len(), 1, "the second read waits");
    f.input.write_all(b"abcd").unwrap();
    assert_eq!(f.completions(), [(2, 4)]);
    assert_eq!(
        f.call(extra(op::CANCEL, 0, 2)),
        0,
        "answered already: nothing to take back"
    );
}

#[test]
fn closing_answers_what_is_parked_first() {
    let mut f = fixture();
    f.submit(with_token(1, submission(op::READ, 0, 4)));
    f.submit(with_token(2, extra(op::POLL, 0, ready::READ)));
    assert_eq!(f.completions(), []);
    f.server.watch();
    assert!(!f.server.is_stale());
    f.submit(with_token(3, submission(op::CLOSE, 0, 0)));
    assert_eq!(f.completions(), [(1, CANCELED), (2, CANCELED), (3, 0)]);
    assert!(f.server.is_stale(), "a closed descriptor is waited for");
    assert!(f.server.watch().is_empty() && !f.server.is_stale());
    assert_eq!(f.call(submission(op::READ, 0, 4)), -i64::from(libc::EBADF));
    assert_eq!(f.call(submission(op::CLOSE, 0, 4)), -i64::from(libc::EBADF));
}

#[test]
fn closing_can_take_its_turn_after_what_is_written() {
    let mut f = fixture();
    let last = |token, handle| with_token(token, extra(op::CLOSE, handle, 1));
    f.submit(with_token(1, submission(op::WRITE, 1, 3_000_000)));
    f.submit(with_token(2, submission(op::WRITE, 1, 5)));
    f.submit(last(3, 1));
    f.submit(with_token(4, submission(op::WRITE, 1, 5)));
    f.submit(last(5, 2));
    assert_eq!(f.completions(), [(5, 0)], "nothing is before it");
    assert!(!f.server.is_answered(3));
    let mut buffer = vec![0; 65536];
    let mut got = 0;
    while !f.server.is_answered(3) {
        got += f.output.read(&mut buffer).unwrap();
        f.serve().unwrap();
    }
    assert_eq!(f.completions(), [(1, 3_000_000), (2, 5), (4, CANCELED), (3, 0)]);
    assert!(got <= 3_000_005);
    assert_eq!(f.call(submission(op::WRITE, 1, 5)), -i64::from(libc::EBADF));
}

#[test]
fn closing_that_waits_for_its_turn_is_overtaken_and_taken_back() {
    let mut f = fixture();
    let last = |token| with_token(token, extra(op::CLOSE, 1, 1));
    f.submit(with_token(1, submission(op::WRITE, 1, 3_000_000)));
    f.submit(last(2));
    f.submit(with_token(3, extra(op::CANCEL, 0, 2)));
    assert_eq!(f.completions(), [(2, CANCELED), (3, 0)]);
    f.submit(last(4));
    f.submit(with_token(5, submission(op::CLOSE, 1, 0)));
    assert_eq!(f.completions(), [(1, CANCELED), (4, CANCELED), (5, 0)]);
}

#[test]
fn the_vmm_can_speak_after_the_program_closed_its_standard_error() {
    let mut f = fixture();
    assert_eq!(f.call(submission(op::CLOSE, 2, 0)), 0);
    f.server.write_error("text");
    let mut text = [0; 4];
    f.errors.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"text");
}

#[test]
fn hostile_submissions_get_an_error_or_end_the_vm() {
    let mut f = fixture();
    for (op, handle, address, len, errno) in [
        (op::WRITE, 0, MMAP_START, 1, libc::EBADF),
        (op::WRITE, u64::MAX, MMAP_START, 1, libc::EBADF),
        (op::READ, 1, MMAP_START, 1, libc::EBADF),
        (op::WRITE, 1, 0, 1, libc::EFAULT),
        (op::WRITE, 1, u64::MAX, 2, libc::EFAULT),
        (op::WRITE, 1, MMAP_START, u64::MAX, libc::EINVAL),
        (op::WRITE, 1, MMAP_START + MAPPED - 1, 2, libc::EFAULT),
        (op::CLOSE, 3, 0, 0, libc::EBADF),
        (op::CLOSE, u64::MAX, 0, 0, libc::EBADF),
    ] {
        let s = Submission {
            address,
            ..submission(op, handle, len)
        };
        assert_eq!(f.call(s), -i64::from(errno), "{s:?}");
    }
    f.submit(submission(99, 1, 1));
    assert_eq!(f.serve(), Err(ProtocolError::Operation(99)));
}
