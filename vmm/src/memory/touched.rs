//! Which pages of the reservation were ever touched.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use mote_abi::PAGE_SIZE;
use vm_memory::VolatileSlice;

/// Entries that are read at once: one page of them.
const ENTRIES: usize = 512;
/// Bytes of an entry. (Documentation/admin-guide/mm/pagemap.rst)
const ENTRY: usize = 8;
/// Bits 61 to 63 of an entry: the page is of a file or shared, is swapped out, is present. An anonymous page with none of
/// them was never touched since it was mapped.
const TOUCHED: u64 = 7 << 61;

/// This process's page map.
#[derive(Debug)]
pub struct Touched(File);

impl Touched {
    /// Opens the page map. Who opens it without CAP_SYS_ADMIN in effect does not see physical addresses in it.
    ///
    /// # Errors
    /// Those of open(2), as where there is no /proc.
    pub fn open() -> io::Result<Touched> {
        File::open("/proc/self/pagemap").map(Touched)
    }

    /// Makes memory of a [`super::Reservation`] zero. Whole pages that were never touched are zero, and are not touched.
    pub fn zero(&self, memory: &VolatileSlice<'_>) {
        let page_size = size(PAGE_SIZE);
        let start = memory.ptr_guard().as_ptr() as usize;
        // A part of a page at the start or the end is a page of its own here.
        let first = start / page_size;
        let pages = (start + memory.len()).div_ceil(page_size) - first;
        let mut entries = [0_u8; ENTRIES * ENTRY];
        for chunk in (0..pages).step_by(ENTRIES) {
            let count = ENTRIES.min(pages - chunk);
            let part = &mut entries[..count * ENTRY];
            let known = self
                .0
                .read_exact_at(part, ((first + chunk) * ENTRY) as u64)
                .is_ok();
            for (at, entry) in part.as_chunks().0.iter().enumerate() {
                // Where nothing is known, everything may have been touched.
                if !known || u64::from_ne_bytes(*entry) & TOUCHED != 0 {
                    let page = (first + chunk + at) * page_size;
                    let from = page.max(start) - start;
                    let to = (page + page_size).min(start + memory.len()) - start;
                    clear(memory, from, to);
                }
            }
        }
    }
}

/// Makes memory zero, touched or not.
pub fn zero(memory: &VolatileSlice<'_>) {
    clear(memory, 0, memory.len());
}

fn clear(memory: &VolatileSlice<'_>, from: usize, to: usize) {
    static ZEROES: [u8; 4096] = [0; 4096];
    for at in (from..to).step_by(ZEROES.len()) {
        let len = ZEROES.len().min(to - at);
        if let Ok(part) = memory.subslice(at, len) {
            part.copy_from(&ZEROES[..len]);
        }
    }
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use vm_memory::Bytes as _;

    use super::super::Reservation;
    use super::*;

    fn resident(memory: &VolatileSlice<'_>) -> usize {
        let mut seen = vec![0_u8; memory.len() / 4096];
        let start = memory.ptr_guard_mut().as_ptr();
        // SAFETY: the range is mapped, and there is a byte for each of its pages.
        let asked = unsafe { libc::mincore(start.cast(), memory.len(), seen.as_mut_ptr()) };
        assert_eq!(asked, 0);
        seen.iter().filter(|page| **page & 1 != 0).count()
    }

    #[test]
    fn what_was_written_is_zero_and_the_rest_stays_untouched() {
        let reservation = Reservation::new(16 << 20).unwrap();
        let memory = reservation.slice(0, 8 << 20).unwrap();
        let written = [0, 5000, 1 << 20, (2 << 20) - 1, (8 << 20) - 1];
        for at in written {
            memory.write_obj(7_u8, at).unwrap();
        }
        assert_eq!(resident(&memory), written.len());
        Touched::open().unwrap().zero(&memory);
        assert_eq!(resident(&memory), written.len());
        for at in written {
            assert_eq!(memory.read_obj::<u8>(at).unwrap(), 0, "{at}");
        }
    }

    #[test]
    fn what_is_beside_the_range_stays() {
        let reservation = Reservation::new(2 << 20).unwrap();
        let whole = reservation.slice(0, 5 * 4096).unwrap();
        whole.copy_from(&[7_u8; 5 * 4096]);
        let part = reservation.slice(4000, 8300).unwrap();
        Touched::open().unwrap().zero(&part);
        let mut bytes = vec![1_u8; 5 * 4096];
        whole.copy_to(&mut bytes);
        assert!(bytes[..4000].iter().chain(&bytes[12300..]).all(|byte| *byte == 7));
        assert!(bytes[4000..12300].iter().all(|byte| *byte == 0));
        zero(&whole);
        whole.copy_to(&mut bytes);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn without_knowledge_everything_is_zeroed() {
        let reservation = Reservation::new(2 << 20).unwrap();
        let memory = reservation.slice(0, 3 * 4096).unwrap();
        memory.copy_from(&[7_u8; 3 * 4096]);
        Touched(File::open("/dev/null").unwrap()).zero(&memory);
        let mut bytes = vec![1_u8; 3 * 4096];
        memory.copy_to(&mut bytes);
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}
