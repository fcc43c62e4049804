//! CPU features that compiled code may use, as one word.
//!
//! The word is read once per node by a probe VM that executes CPUID and XGETBV in ring 3, because what
//! KVM_GET_SUPPORTED_CPUID lists and what ring 3 really sees can differ. The compiler turns it into Cranelift
//! settings, and the guest answers Wasmtime's check at load from the same word.

/// A set of CPU features: bit `n` stands for `FEATURES[n]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Features(pub u64);

/// A CPUID output register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reg {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Vector state that the operating system must have enabled in XCR0 for a feature to be usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Legacy SSE state: always on in long mode.
    Sse,
    /// XCR0 bits 1 and 2. (SDM Vol. 1 14.3)
    Avx,
    /// XCR0 bits 1, 2, 5, 6 and 7. (SDM Vol. 1 15.2)
    Avx512,
}

/// One CPU feature: its names on both sides and where CPUID reports it.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Name that Wasmtime asks for when it loads code, as in `is_x86_feature_detected!`.
    pub name: &'static str,
    /// Cranelift's x86 setting that makes code use it.
    pub cranelift: &'static str,
    /// CPUID leaf and subleaf. (SDM Vol. 2A CPUID; APM Vol. 3 appendix E for 8000_0001H)
    pub leaf: (u32, u32),
    pub reg: Reg,
    pub bit: u32,
    pub state: State,
}

const fn feature(
    name: &'static str,
    cranelift: &'static str,
    leaf: (u32, u32),
    reg: Reg,
    bit: u32,
    state: State,
) -> Feature {
    Feature {
        name,
        cranelift,
        leaf,
        reg,
        bit,
        state,
    }
}

/// Every feature that Wasmtime 48 can ask for on x86-64. The position is the bit in [`Features`]: append only.
pub const FEATURES: &[Feature] = &[
    feature("sse3", "has_sse3", (1, 0), Reg::Ecx, 0, State::Sse),
    feature("ssse3", "has_ssse3", (1, 0), Reg::Ecx, 9, State::Sse),
    feature("sse4.1", "has_sse41", (1, 0), Reg::Ecx, 19, State::Sse),
    feature("sse4.2", "has_sse42", (1, 0), Reg::Ecx, 20, State::Sse),
    feature("popcnt", "has_popcnt", (1, 0), Reg::Ecx, 23, State::Sse),
    feature("cmpxchg16b", "has_cmpxchg16b", (1, 0), Reg::Ecx, 13, State::Sse),
    feature("avx", "has_avx", (1, 0), Reg::Ecx, 28, State::Avx),
    feature("fma", "has_fma", (1, 0), Reg::Ecx, 12, State::Avx),
    feature("avx2", "has_avx2", (7, 0), Reg::Ebx, 5, State::Avx),
    feature("bmi1", "has_bmi1", (7, 0), Reg::Ebx, 3, State::Sse),
    feature("bmi2", "has_bmi2", (7, 0), Reg::Ebx, 8, State::Sse),
    feature("avxvnni", "has_avx_vnni", (7, 1), Reg::Eax, 4, State::Avx),
    feature("lzcnt", "has_lzcnt", (0x8000_0001, 0), Reg::Ecx, 5, State::Sse),
    feature("avx512f", "has_avx512f", (7, 0), Reg::Ebx, 16, State::Avx512),
    feature("avx512dq", "has_avx512dq", (7, 0), Reg::Ebx, 17, State::Avx512),
    feature("avx512vl", "has_avx512vl", (7, 0), Reg::Ebx, 31, State::Avx512),
    feature("avx512vbmi", "has_avx512vbmi", (7, 0), Reg::Ecx, 1, State::Avx512),
    feature(
        "avx512vnni",
        "has_avx512vnni",
        (7, 0),
        Reg::Ecx,
        11,
        State::Avx512,
    ),
    feature(
        "avx512bitalg",
        "has_avx512bitalg",
        (7, 0),
        Reg::Ecx,
        12,
        State::Avx512,
    ),
];

const _: () = assert!(FEATURES.len() <= 64);

/// Features without which nothing is compiled: with them no float operation of Wasm becomes a library call,
/// and so no float crosses the guest's soft-float ABI.
pub const REQUIRED: &[&str] = &["sse3", "ssse3", "sse4.1", "sse4.2", "fma"];

impl Features {
    /// Whether the feature that Wasmtime calls `name` is in the set; `None` for a name this version does not know.
    #[must_use]
    pub fn has(self, name: &str) -> Option<bool> {
        let bit = FEATURES.iter().position(|f| f.name == name)?;
        Some(self.0 & (1 << bit) != 0)
    }

    /// The features in the set.
    pub fn iter(self) -> impl Iterator<Item = &'static Feature> {
        FEATURES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, f)| f)
    }

    /// The first of [`REQUIRED`] that the set lacks.
    #[must_use]
    pub fn missing_required(self) -> Option<&'static str> {
        REQUIRED.iter().copied().find(|name| self.has(name) != Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_required_ones_known() {
        for (i, f) in FEATURES.iter().enumerate() {
            assert_eq!(
                FEATURES.iter().position(|g| g.name == f.name),
                Some(i),
                "{}",
                f.name
            );
        }
        for name in REQUIRED {
            assert_eq!(Features(u64::MAX).has(name), Some(true), "{name}");
        }
    }

    #[test]
    fn missing_required_names_the_first_gap() {
        assert_eq!(Features(0).missing_required(), Some("sse3"));
        assert_eq!(Features(u64::MAX).missing_required(), None);
    }
}
