//! `poll_oneoff`: sleeping, and waiting for descriptors.

use alloc::vec::Vec;

use wasmtime::Caller;

use super::fds::Fd;
use super::{Answer, Failure, errno, fail, memory, misc};
use crate::vm::clock;
use crate::wasi::{Host, files};

/// Sizes of `subscription` and `event`, which are aligned to 8. (witx)
const SUBSCRIPTION: u32 = 48;
const EVENT: u32 = 32;

/// Event types. (witx `eventtype`)
const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

/// `subclockflags`: the timeout is a point in time.
const ABSTIME: u16 = 1;

/// `eventrwflags`: the other side has gone, or the file ends.
const HANGUP: u8 = 1;

struct Subscription {
    userdata: [u8; 8],
    kind: u8,
    what: What,
}

enum What {
    /// Until CLOCK_MONOTONIC.
    Deadline(u64),
    Input,
    Output(u32),
    /// A file, which is ready at once. Whether it is to be read at its end.
    File {
        ended: bool,
    },
}

fn parse(memory: &[u8], at: u32, host: &mut Host) -> Result<Subscription, Failure> {
    // struct subscription: userdata u64, tag u8 at 8, then at 16 the clock (id u32, timeout u64 at 24, precision u64
    // at 32, flags u16 at 40) or the descriptor u32.
    let raw: [u8; SUBSCRIPTION as usize] = memory::read(memory, at, 8)?;
    let u32_at = |o: usize| u32::from_le_bytes([raw[o], raw[o + 1], raw[o + 2], raw[o + 3]]);
    let u64_at = |o: usize| u64::from(u32_at(o)) | u64::from(u32_at(o + 4)) << 32;
    let userdata = core::array::from_fn(|i| raw[i]);
    let kind = raw[8];
    let what = match kind {
        CLOCK => {
            let (id, timeout) = (u32_at(16), u64_at(24));
            let flags = u16::from_le_bytes([raw[40], raw[41]]);
            let Some(now) = misc::now(id).filter(|_| flags & !ABSTIME == 0) else {
                return Err(Failure::Errno(errno::INVAL));
            };
            let left = if flags == ABSTIME {
                timeout.saturating_sub(now)
            } else {
                timeout
            };
            What::Deadline(clock::monotonic_ns().saturating_add(left))
        }
        FD_READ | FD_WRITE => match (host.fds.get(u32_at(16))?, kind) {
            (Fd::Stdio(0), FD_READ) => What::Input,
            (Fd::Stdio(number @ (1 | 2)), FD_WRITE) => What::Output(*number),
            (Fd::File(file), FD_READ) => {
                let size = files::stat(&mut host.ring, file.target.handle)?.size;
                What::File {
                    ended: size <= file.position,
                }
            }
            (Fd::File(_), FD_WRITE) => What::File { ended: false },
            _ => return Err(Failure::Errno(errno::BADF)),
        },
        _ => return Err(Failure::Errno(errno::INVAL)),
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
    let len = |each: u32| count.checked_mul(each).ok_or(Failure::Errno(errno::OVERFLOW));
    memory::bytes(memory, subs, len(SUBSCRIPTION)?)?;
    memory::bytes(memory, events, len(EVENT)?)?;
    let mut list = Vec::with_capacity(count as usize);
    for i in 0..count {
        list.push(parse(memory, subs + i * SUBSCRIPTION, host)?);
    }
    let mut written = 0_u32;
    while written == 0 {
        let seen = host.ring.collected();
        let now = clock::monotonic_ns();
        let mut deadline = u64::MAX;
        for sub in &list {
            let mut flags = 0;
            let ready = match sub.what {
                What::Deadline(at) => {
                    deadline = deadline.min(at);
                    now >= at
                }
                What::Input => host.stdio.input.readable(&mut host.ring),
                What::Output(number) => host.stdio.output(number).writable(&mut host.ring),
                What::File { ended } => {
                    flags = if ended { HANGUP } else { 0 };
                    true
                }
            };
            if ready {
                // struct event: userdata u64, error u16 at 8, type u8 at 10, nbytes u64 at 16, flags u16 at 24.
                let mut event = [0; EVENT as usize];
                event[..8].copy_from_slice(&sub.userdata);
                event[10] = sub.kind;
                event[16] = u8::from(sub.kind != CLOCK);
                event[24] = flags;
                memory::write(memory, events + written * EVENT, 8, &event)?;
                written += 1;
            }
        }
        if written == 0 && host.ring.collected() == seen {
            host.ring.wait(deadline);
        }
    }
    host.ring.kick();
    memory::write_u32(memory, out, written)
}
