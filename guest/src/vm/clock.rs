//! Time without exits: the VMM's last reading of the clocks, carried on by the TSC.

use mote_abi::ring::{Clock, call};

use super::CONTROL;

/// Age in nanoseconds at which the VMM is asked for a new reading, so that adjustments of the host's clock arrive.
const MAX_AGE_NS: u64 = 1_000_000_000;

/// The time stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: RDTSC is open to ring 3, CR4.TSD is clear. (SDM Vol. 2B RDTSC)
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn read() -> Clock {
    // SAFETY: the control page is mapped. The VMM writes the clock before the first instruction and while it serves a
    // call, never while the guest runs.
    unsafe { (&raw const (*CONTROL).clock).read_volatile() }
}

/// The last reading and the nanoseconds since.
fn reading() -> (Clock, u64) {
    let clock = read();
    let age = elapsed(&clock);
    if clock.ns_per_tick != 0 && age < MAX_AGE_NS {
        return (clock, age);
    }
    super::call(&[call::CLOCK]);
    let clock = read();
    (clock, elapsed(&clock))
}

fn elapsed(clock: &Clock) -> u64 {
    let ticks = u128::from(tsc().saturating_sub(clock.tsc));
    u64::try_from((ticks * u128::from(clock.ns_per_tick)) >> 32).unwrap_or(u64::MAX)
}

/// CLOCK_MONOTONIC of the host in nanoseconds. Never goes back.
pub(crate) fn monotonic_ns() -> u64 {
    static LAST: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
    let (clock, age) = reading();
    let now = clock.monotonic_ns.saturating_add(age);
    // A new reading can be a few nanoseconds behind what the TSC had extrapolated.
    LAST.fetch_max(now, core::sync::atomic::Ordering::Relaxed)
        .max(now)
}

/// CLOCK_REALTIME of the host in nanoseconds since 1970.
pub(crate) fn realtime_ns() -> u64 {
    let (clock, age) = reading();
    clock.realtime_ns.saturating_add(age)
}
