//! The vCPU's first state, and the CPUID leaves that go with a set of features.

use kvm_bindings::{kvm_cpuid_entry2, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use mote_abi::cpu::{FEATURES, Features, Reg, State};
use mote_abi::layout::{GDT, IDT, TSS, selector};

use super::descriptors::{GDT_LIMIT, IDT_LIMIT, TSS_LIMIT};
use crate::memory::PageTables;

/// PG, AM, WP, NE, ET, MP, PE. (SDM Vol. 3A 2.5)
const CR0: u64 = 0x8005_0033;
/// PAE, OSFXSR, OSXMMEXCPT. (SDM Vol. 3A 2.5)
const CR4: u64 = 0x620;
/// OSXSAVE.
const CR4_OSXSAVE: u64 = 1 << 18;
/// LME, LMA, NXE. (SDM Vol. 3A 2.2.1)
const EFER: u64 = 0xd00;
/// Reset value with the APIC enabled, which KVM expects of a boot processor.
const APIC_BASE: u64 = 0xfee0_0900;

/// XCR0 for x87, SSE and AVX state. (SDM Vol. 3A 2.6)
const XCR0_AVX: u64 = 0x7;
/// The same with AVX-512 state.
const XCR0_AVX512: u64 = 0xe7;

/// XCR0 that the features need, if any beyond the reset value.
pub(super) fn xcr0_of(features: Features) -> Option<u64> {
    let uses = |state| features.iter().any(|f| f.state == state);
    if uses(State::Avx512) {
        Some(XCR0_AVX512)
    } else if uses(State::Avx) {
        Some(XCR0_AVX)
    } else {
        None
    }
}

/// Ring 3 of long mode from the first instruction on.
pub(super) fn special_registers(xsave: bool) -> kvm_sregs {
    let user = |selector, type_, l, db| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        dpl: 3,
        db,
        s: 1,
        l,
        g: 1,
        ..Default::default()
    };
    let data = user(selector::USER_DATA, 3, 0, 1);
    kvm_sregs {
        cs: user(selector::USER_CODE, 0xb, 1, 0),
        ss: data,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        tr: kvm_segment {
            base: TSS,
            limit: u32::try_from(TSS_LIMIT).unwrap_or(u32::MAX),
            selector: selector::TSS,
            type_: 0xb,
            present: 1,
            ..Default::default()
        },
        ldt: kvm_segment {
            type_: 2,
            unusable: 1,
            ..Default::default()
        },
        gdt: kvm_dtable {
            base: GDT,
            limit: GDT_LIMIT,
            ..Default::default()
        },
        idt: kvm_dtable {
            base: IDT,
            limit: IDT_LIMIT,
            ..Default::default()
        },
        cr0: CR0,
        cr3: PageTables::ROOT,
        cr4: if xsave { CR4 | CR4_OSXSAVE } else { CR4 },
        efer: EFER,
        apic_base: APIC_BASE,
        ..Default::default()
    }
}

/// General registers of the entry: one argument by the System V convention, IF set, nothing else.
pub(super) fn registers(rip: u64, rsp: u64, argument: u64) -> kvm_regs {
    // Bit 1 is always one; IF so that a hypervisor that runs ring 3 on the host's own interrupt flag is at home.
    // (SDM Vol. 1 3.4.3)
    kvm_regs {
        rip,
        rsp,
        rdi: argument,
        rflags: 0x202,
        ..Default::default()
    }
}

/// CPUID as the guest is to see it: the features, and XSAVE where they need its state.
///
/// KVM refuses to enable a state component in XCR0 that leaf 0DH does not list, and CR4.OSXSAVE without leaf 1's
/// XSAVE bit. (KVM API 4.20; SDM Vol. 2A CPUID, leaf 0DH)
pub(super) fn cpuid_of(features: Features) -> Vec<kvm_cpuid_entry2> {
    /// KVM_CPUID_FLAG_SIGNIFCANT_INDEX
    const INDEXED: u32 = 1;
    let entry = |function, index, flags| kvm_cpuid_entry2 {
        function,
        index,
        flags,
        ..Default::default()
    };
    let mut highest = entry(0, 0, 0);
    highest.eax = 0xd;
    // Baseline of long mode as Wasmtime's code uses it: FPU, TSC, MSR, PAE, CX8, APIC, PGE, CMOV, PAT, FXSR, SSE, SSE2.
    let mut leaf1 = entry(1, 0, 0);
    leaf1.edx = 0x0701_a371;
    let mut leaf7 = entry(7, 0, INDEXED);
    let mut leaf7_1 = entry(7, 1, INDEXED);
    let mut highest_ext = entry(0x8000_0000, 0, 0);
    highest_ext.eax = 0x8000_0008;
    let mut leaf_ext = entry(0x8000_0001, 0, 0);
    // NX and LM. (APM Vol. 3 E.4.2)
    leaf_ext.edx = (1 << 20) | (1 << 29);
    let mut address = entry(0x8000_0008, 0, 0);
    // 48 bits of linear address, 46 of physical.
    address.eax = 48 << 8 | 46;
    for f in features.iter() {
        let leaf = match f.leaf {
            (1, _) => &mut leaf1,
            (7, 0) => &mut leaf7,
            (7, _) => &mut leaf7_1,
            _ => &mut leaf_ext,
        };
        *register(leaf, f.reg) |= 1 << f.bit;
    }
    leaf7.eax = 1;
    let mut entries = vec![highest];
    if let Some(xcr0) = xcr0_of(features) {
        // XSAVE and, as CR4 has it, OSXSAVE.
        leaf1.ecx |= (1 << 26) | (1 << 27);
        let size = if xcr0 == XCR0_AVX512 { 0xa80 } else { 0x340 };
        let mut main = entry(0xd, 0, INDEXED);
        #[allow(clippy::cast_possible_truncation, reason = "XCR0 bits in use are below 8")]
        {
            main.eax = xcr0 as u32;
        }
        (main.ebx, main.ecx) = (size, size);
        entries.extend([main, entry(0xd, 1, INDEXED)]);
        // Size and offset of the standard-format components. (SDM Vol. 1 13.4.2, 13.5)
        for (component, size, offset) in [(2, 256, 576), (5, 64, 1088), (6, 512, 1152), (7, 1024, 1664)] {
            if xcr0 & (1 << component) != 0 {
                let mut part = entry(0xd, component, INDEXED);
                (part.eax, part.ebx) = (size, offset);
                entries.push(part);
            }
        }
    }
    entries.extend([leaf1, leaf7, leaf7_1, highest_ext, leaf_ext, address]);
    entries
}

fn register(leaf: &mut kvm_cpuid_entry2, reg: Reg) -> &mut u32 {
    match reg {
        Reg::Eax => &mut leaf.eax,
        Reg::Ebx => &mut leaf.ebx,
        Reg::Ecx => &mut leaf.ecx,
        Reg::Edx => &mut leaf.edx,
    }
}

/// The features in `word`, without bits that no feature of this version has.
#[must_use]
pub fn features_of(word: u64) -> Features {
    let known = if FEATURES.len() == 64 {
        u64::MAX
    } else {
        (1 << FEATURES.len()) - 1
    };
    Features(word & known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avx_brings_its_state_along() {
        let avx2 = Features(1 << FEATURES.iter().position(|f| f.name == "avx2").unwrap());
        assert_eq!(xcr0_of(avx2), Some(7));
        let entries = cpuid_of(avx2);
        let leaf = |f, i| *entries.iter().find(|e| e.function == f && e.index == i).unwrap();
        assert_eq!(leaf(7, 0).ebx, 1 << 5);
        assert_eq!(leaf(0xd, 0).eax, 7);
        assert_eq!(leaf(0xd, 2).eax, 256);
        assert_ne!(leaf(1, 0).ecx & (1 << 26), 0);
    }

    #[test]
    fn without_avx_there_is_no_xsave() {
        let sse = Features(1);
        assert_eq!(xcr0_of(sse), None);
        assert!(cpuid_of(sse).iter().all(|e| e.function != 0xd));
    }
}
