//! Which handles stand for one file.

use mote_abi::fs::Stat;
use mote_abi::ring::{Submission, op};

use crate::vm::ring::{Errno, Ring};

/// Device and inode.
pub(super) type Identity = (u64, u64);

pub(super) const fn identity(stat: &Stat) -> Identity {
    (stat.device, stat.inode)
}

/// The results of a request and of a STAT of its handle behind it. Both leave the VM at once.
pub(super) fn with_stat(ring: &mut Ring, request: Submission) -> (Result<u64, Errno>, Result<Stat, Errno>) {
    let mut stat = Stat::default();
    let first = ring.submit(request);
    let second = ring.submit(Submission {
        op: op::STAT,
        handle: request.handle,
        extra: [0, (&raw mut stat) as u64],
        ..Submission::default()
    });
    let (first, second) = (ring.wait_for(first), ring.wait_for(second));
    let stat = if second < 0 { Err(-second) } else { Ok(stat) };
    (u64::try_from(first).map_err(|_| -first), stat)
}
