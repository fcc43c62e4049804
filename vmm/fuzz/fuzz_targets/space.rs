//! A guest that maps, unmaps and names ranges as it likes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_abi::layout::{DATA_END, MMAP_END, MMAP_START};
use mote_vmm::memory::{Reservation, Space};

const LIMIT: u64 = 16 << 20;

fuzz_target!(|data: &[u8]| {
    let Ok(mem) = Reservation::new(64 << 20) else { return };
    let mut space = Space::new(mem, 8 << 20, 64 << 20, LIMIT);
    for step in data.chunks_exact(10) {
        let word = u64::from_le_bytes(std::array::from_fn(|i| step[i]));
        // Most addresses near the areas' edges, some anywhere.
        let base = [MMAP_START, DATA_END, MMAP_END - (4 << 20), 0][usize::from(step[8] & 3)];
        let address = if step[8] & 4 == 0 { base.wrapping_add((word & 0xfff) << 12) } else { word };
        let len = u64::from(step[9]) << (12 + (step[8] >> 4));
        match step[8] >> 3 & 3 {
            0 | 1 => drop(space.map(address, len)),
            2 => drop(space.unmap(address, len)),
            _ => {
                if let Ok(parts) = space.resolve(address, len.min(LIMIT), true) {
                    let total: usize = parts.iter().map(|p| p.len()).sum();
                    assert_eq!(total as u64, len.min(LIMIT));
                }
            }
        }
        assert!(space.peak() <= LIMIT);
    }
});
