//! Floats and vectors by their bits.

use crate::Float;

pub(crate) fn lanes32(v: u128) -> impl Iterator<Item = u32> {
    (0..4).map(move |i| {
        let bytes = v.to_le_bytes();
        u32::from_le_bytes(core::array::from_fn(|b| bytes[i * 4 + b]))
    })
}

pub(crate) fn lanes64(v: u128) -> impl Iterator<Item = u64> {
    (0..2).map(move |i| {
        let bytes = v.to_le_bytes();
        u64::from_le_bytes(core::array::from_fn(|b| bytes[i * 8 + b]))
    })
}

/// A canonical NaN has only the highest bit of its payload set, an arithmetic NaN at least that; the sign is free.
/// (WebAssembly core specification, "Floating-Point" values)
pub(crate) fn float32(actual: u32, expected: Float) -> bool {
    const QUIET: u32 = 0x7fc0_0000;
    match expected {
        Float::Bits(e) => u64::from(actual) == e,
        Float::CanonicalNan => actual & 0x7fff_ffff == QUIET,
        Float::ArithmeticNan => actual & QUIET == QUIET,
    }
}

pub(crate) fn float64(actual: u64, expected: Float) -> bool {
    const QUIET: u64 = 0x7ff8_0000_0000_0000;
    match expected {
        Float::Bits(e) => actual == e,
        Float::CanonicalNan => actual & 0x7fff_ffff_ffff_ffff == QUIET,
        Float::ArithmeticNan => actual & QUIET == QUIET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nans_match_by_their_pattern_and_floats_by_their_bits() {
        for nan in [0x7fc0_0000, 0xffc0_0000] {
            assert!(float32(nan, Float::CanonicalNan) && float32(nan, Float::ArithmeticNan));
        }
        assert!(float32(0x7fc0_0001, Float::ArithmeticNan) && !float32(0x7fc0_0001, Float::CanonicalNan));
        assert!(!float32(0x7fa0_0000, Float::ArithmeticNan));
        assert!(!float32(0, Float::Bits(0x8000_0000)));
        assert!(float64(0xfff8_0000_0000_0000, Float::CanonicalNan));
        assert!(!float64(0x7ff0_0000_0000_0000, Float::ArithmeticNan));
    }

    #[test]
    fn lanes_are_little_endian() {
        let v = 0x0403_0201;
        assert!(lanes32(v).eq([0x0403_0201, 0, 0, 0]));
        assert!(lanes64(v << 64).eq([0, 0x0403_0201]));
    }
}
