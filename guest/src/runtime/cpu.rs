//! CPU features: found by a probe VM, known by a word ever after.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicU64, Ordering};

use mote_abi::cpu::{FEATURES, Features, Reg, State};

static AVAILABLE: AtomicU64 = AtomicU64::new(0);

/// Remembers the features that the VMM vouches for. CPUID itself is an exit on every hypervisor, so the guest does
/// not ask it again.
pub(crate) fn init(features: Features) {
    AVAILABLE.store(features.0, Ordering::Relaxed);
}

/// Answers Wasmtime's question whether code that uses `feature` may run.
pub(crate) fn detect(feature: &str) -> Option<bool> {
    Features(AVAILABLE.load(Ordering::Relaxed)).has(feature)
}

/// Reads CPUID and XCR0 as ring 3 sees them.
pub(crate) fn probe() -> Features {
    let xcr0 = xcr0();
    let mut word = 0;
    for (bit, f) in FEATURES.iter().enumerate() {
        let state = match f.state {
            State::Sse => true,
            State::Avx => xcr0 & 0x6 == 0x6,
            State::Avx512 => xcr0 & 0xe6 == 0xe6,
        };
        if state && reported(f.leaf, f.reg) & (1 << f.bit) != 0 {
            word |= 1 << bit;
        }
    }
    Features(word)
}

fn reported((leaf, subleaf): (u32, u32), reg: Reg) -> u32 {
    // The highest leaf of the range must reach the asked one; else the CPU answers with another leaf's data. (SDM
    // Vol. 2A CPUID)
    if __cpuid_count(leaf & 0x8000_0000, 0).eax < leaf {
        return 0;
    }
    if leaf == 7 && subleaf > __cpuid_count(7, 0).eax {
        return 0;
    }
    let r = __cpuid_count(leaf, subleaf);
    match reg {
        Reg::Eax => r.eax,
        Reg::Ebx => r.ebx,
        Reg::Ecx => r.ecx,
        Reg::Edx => r.edx,
    }
}

/// XCR0, or just the legacy state where the CPU does not say that XGETBV may be used. (SDM Vol. 1 13.2, OSXSAVE)
fn xcr0() -> u64 {
    if reported((1, 0), Reg::Ecx) & (1 << 27) == 0 {
        return 0x3;
    }
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE is set, so XGETBV of register 0 is open to ring 3.
    unsafe {
        core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(low) | u64::from(high) << 32
}
