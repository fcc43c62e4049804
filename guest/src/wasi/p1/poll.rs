//! `poll_oneoff`: sleeping, and waiting for standard input.

use wasmtime::Caller;

use super::{Answer, errno, fail, memory, misc};
use crate::vm::clock;
use crate::wasi::Host;

/// Sizes of `subscription` and `event`. (witx)
const SUBSCRIPTION: u32 = 48;
const EVENT: u32 = 32;

/// Event types. (witx `eventtype`)
const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

/// `subclockflags`: the timeout is a point in time.
const ABSTIME: u16 = 1;

struct Subscription {
    userdata: [u8; 8],
    kind: u8,
    what: What,
}

enum What {
    /// Until CLOCK_MONOTONIC.
    Deadline(u64),
    Input,
    /// Ready, or an error, at once.
    Now(i32),
}

fn parse(memory: &[u8], at: u32, host: &Host) -> Result<Subscription, super::Failure> {
    // struct subscription: userdata u64, tag u8 at 8, then at 16 the clock (id u32, timeout u64 at 24, precision u64
    // at 32, flags u16 at 40) or the descriptor u32.
    let raw: [u8; SUBSCRIPTION as usize] = memory::read(memory, at)?;
    let u32_at = |o: usize| u32::from_le_bytes([raw[o], raw[o + 1], raw[o + 2], raw[o + 3]]);
    let u64_at = |o: usize| u64::from(u32_at(o)) | u64::from(u32_at(o + 4)) << 32;
    let userdata = core::array::from_fn(|i| raw[i]);
    let kind = raw[8];
    let what = match kind {
        CLOCK => {
            let (id, timeout) = (u32_at(16), u64_at(24));
            let absolute = u16::from_le_bytes([raw[40], raw[41]]) & ABSTIME != 0;
            match misc::now(id) {
                None => What::Now(errno::INVAL),
                Some(now) => {
                    let left = if absolute {
                        timeout.saturating_sub(now)
                    } else {
                        timeout
                    };
                    What::Deadline(clock::monotonic_ns().saturating_add(left))
                }
            }
        }
        FD_READ | FD_WRITE => match u32_at(16) {
            fd if !host.open.get(fd as usize).copied().unwrap_or(false) => What::Now(errno::BADF),
            0 if kind == FD_READ => What::Input,
            1 | 2 if kind == FD_WRITE => What::Now(errno::SUCCESS),
            _ => What::Now(errno::BADF),
        },
        _ => return Err(super::Failure::Errno(errno::INVAL)),
    };
    Ok(Subscription { userdata, kind, what })
}

pub(super) fn poll_oneoff(
    caller: &mut Caller<'_, Host>,
    subs: u32,
    events: u32,
    count: u32,
    out: u32,
) -> Answer {
    if count == 0 {
        return fail(errno::INVAL);
    }
    let (memory, host) = memory::split(caller)?;
    // Checked before anything is reserved for them.
    memory::bytes(
        memory,
        subs,
        count
            .checked_mul(SUBSCRIPTION)
            .ok_or(super::Failure::Errno(errno::FAULT))?,
    )?;
    let mut list = alloc::vec::Vec::with_capacity(count as usize);
    for i in 0..count {
        list.push(parse(memory, subs + i * SUBSCRIPTION, host)?);
    }
    let mut written = 0_u32;
    while written == 0 {
        let now = clock::monotonic_ns();
        let mut deadline = u64::MAX;
        for sub in &list {
            let (ready, error) = match sub.what {
                What::Deadline(at) => {
                    deadline = deadline.min(at);
                    (now >= at, errno::SUCCESS)
                }
                What::Input => (host.stdio.input.readable(&mut host.ring), errno::SUCCESS),
                What::Now(error) => (true, error),
            };
            if ready {
                // struct event: userdata u64, error u16 at 8, type u8 at 10, nbytes u64 at 16, flags u16 at 24.
                let mut event = [0; EVENT as usize];
                event[..8].copy_from_slice(&sub.userdata);
                event[8..10].copy_from_slice(&error.to_le_bytes()[..2]);
                event[10] = sub.kind;
                if sub.kind != CLOCK && error == errno::SUCCESS {
                    event[16..24].copy_from_slice(&1_u64.to_le_bytes());
                }
                memory::write(memory, events.wrapping_add(written * EVENT), &event)?;
                written += 1;
            }
        }
        if written == 0 {
            host.ring.wait(deadline);
        }
    }
    memory::write(memory, out, &written.to_le_bytes())
}
