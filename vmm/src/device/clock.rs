//! The clock page: host time at one reading of the TSC, for the guest to carry on.

use mote_abi::ring::{Clock, ControlPage};
use vm_memory::{Bytes, VolatileSlice};

/// Host time now. `tsc_khz` is the TSC's rate if the guest reads the same counter as the host, 0 if it does not: then
/// the guest asks for every reading.
#[must_use]
pub fn read(tsc_khz: u64) -> Clock {
    let (monotonic_ns, realtime_ns) = (now(libc::CLOCK_MONOTONIC), now(libc::CLOCK_REALTIME));
    Clock {
        tsc: tsc(),
        monotonic_ns,
        realtime_ns,
        ns_per_tick: ns_per_tick(tsc_khz),
    }
}

/// Writes the clock into the control page.
#[must_use]
pub fn write(control: &VolatileSlice<'_>, clock: &Clock) -> Option<()> {
    let words = [
        clock.tsc,
        clock.monotonic_ns,
        clock.realtime_ns,
        clock.ns_per_tick,
    ];
    control
        .write_obj(words, std::mem::offset_of!(ControlPage, clock))
        .ok()
}

/// The clock `id` in nanoseconds.
#[must_use]
pub fn now(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid; the clocks in use exist on every Linux.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The time stamp counter.
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: RDTSC has no preconditions in user space on Linux.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Nanoseconds per tick as 32.32 fixed point.
fn ns_per_tick(khz: u64) -> u64 {
    if khz == 0 {
        0
    } else {
        u64::try_from((1_000_000_u128 << 32) / u128::from(khz)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_of_one_ghz_is_a_nanosecond() {
        assert_eq!(ns_per_tick(1_000_000), 1 << 32);
        assert_eq!(ns_per_tick(0), 0);
    }
}
