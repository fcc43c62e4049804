//! Which process of which pod is killed when, by a seed.

use std::time::Duration;

use super::Victim;

/// Pods that are struck at the same time.
pub const LANES: usize = 4;

/// What is to happen to one pod.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub victim: Victim,
    /// Counted from the call that makes the pod, or from the container's start.
    pub at: Duration,
    pub since_start: bool,
    /// How long the program runs, in milliseconds, and its exit code.
    pub lasts: u64,
    pub code: i32,
}

/// Numbers that look random and are the same for the same seed. (Marsaglia, xorshift64)
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn plan(&mut self) -> Plan {
        Plan {
            victim: match self.below(4) {
                0 => Victim::Containerd,
                1 | 2 => Victim::Shim,
                _ => Victim::Vmm,
            },
            at: Duration::from_millis(self.below(600)),
            since_start: self.below(2) == 0,
            lasts: self.below(400),
            code: 1 + i32::try_from(self.below(99)).unwrap_or_default(),
        }
    }

    /// One containerd can be killed once at a time.
    #[must_use]
    pub fn round(&mut self) -> [Plan; LANES] {
        let mut plans = [(); LANES].map(|()| self.plan());
        let crashes = plans.iter_mut().filter(|plan| plan.victim == Victim::Containerd);
        for plan in crashes.skip(1) {
            plan.victim = Victim::Shim;
        }
        plans
    }
}
