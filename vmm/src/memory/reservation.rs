//! The host side of guest-physical memory: one contiguous range of address space.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use mote_abi::LARGE_PAGE_SIZE;
use vm_memory::VolatileSlice;

use super::MemoryError;

/// Host address space that backs guest-physical memory from address 0 on. Pages exist once they are touched, and no others:
/// huge pages are only where they are asked for.
///
/// Guest memory is never seen as a Rust reference: the guest may change it at any time.
#[derive(Debug)]
pub struct Reservation {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the reservation is plain memory that is reached only through raw pointers and volatile accesses, and lives
// until it is dropped; which thread does so does not matter.
unsafe impl Send for Reservation {}
// SAFETY: as above; concurrent access is what the memory is for, guest included.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `len` bytes, rounded up to large pages and aligned to them, so that the host can back a guest's large
    /// page with one of its own.
    ///
    /// # Errors
    /// [`MemoryError::Reserve`] if the host has no such address space.
    pub fn new(len: u64) -> Result<Reservation, MemoryError> {
        let large = usize_of(LARGE_PAGE_SIZE);
        let len = usize_of(len.next_multiple_of(LARGE_PAGE_SIZE));
        let error = |source| MemoryError::Reserve {
            len: len as u64,
            source,
        };
        // SAFETY: a new anonymous mapping at an address of the kernel's choosing touches no existing memory.
        let raw = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len + large,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if raw == libc::MAP_FAILED {
            return Err(error(io::Error::last_os_error()));
        }
        let head = raw.cast::<u8>().align_offset(large);
        // SAFETY: `head` is less than `large`, so the result is inside the mapping.
        let base = unsafe { raw.cast::<u8>().add(head) };
        let base = NonNull::new(base).ok_or_else(|| error(io::Error::from_raw_os_error(libc::ENOMEM)))?;
        let memory = Reservation { base, len };
        // A host that gives huge pages to everybody (transparent_hugepage/enabled: always) would spend 2 MiB on each frame
        // that is touched. And shadow page tables that were made for a guest's large page take neighbours in as they are
        // there on the host, without a look at the guest's tables, which may have taken them away since.
        memory.advise(0, memory.len(), libc::MADV_NOHUGEPAGE);
        Ok(memory)
    }

    /// Bytes reserved.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether nothing is reserved; never the case.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory at guest-physical `gpa`.
    ///
    /// # Errors
    /// [`MemoryError::Range`] if the range is not inside the reservation.
    pub fn slice(&self, gpa: u64, len: u64) -> Result<VolatileSlice<'_>, MemoryError> {
        let ptr = self.host(gpa, len)?;
        // SAFETY: `host` checked that the range is inside the mapping, which lives as long as `self`, and guest
        // memory is accessed through volatile slices only.
        Ok(unsafe { VolatileSlice::new(ptr, usize_of(len)) })
    }

    /// Host address of the guest-physical range.
    ///
    /// # Errors
    /// [`MemoryError::Range`] if the range is not inside the reservation.
    pub fn host(&self, gpa: u64, len: u64) -> Result<*mut u8, MemoryError> {
        match gpa.checked_add(len) {
            // SAFETY: the offset is at most `self.len`, so the pointer stays inside (or one past) the mapping.
            Some(end) if end <= self.len() => Ok(unsafe { self.base.as_ptr().add(usize_of(gpa)) }),
            _ => Err(MemoryError::Range { gpa, len }),
        }
    }

    /// Puts the pages of `file` from `offset` on at `gpa`, read-only and shared with every other VM that does so.
    ///
    /// # Errors
    /// [`MemoryError`] if the range is outside or the file cannot be mapped.
    pub fn map_file(&self, gpa: u64, len: u64, file: &File, offset: u64) -> Result<(), MemoryError> {
        let at = self.host(gpa, len)?;
        let error = |source| MemoryError::Map {
            what: "the code file",
            source,
        };
        let offset = libc::off_t::try_from(offset)
            .map_err(|_| error(io::Error::from_raw_os_error(libc::EOVERFLOW)))?;
        // SAFETY: the range is inside the reservation, which nothing but this type's users sees; MAP_FIXED replaces
        // its pages and nothing else.
        let mapped = unsafe {
            libc::mmap(
                at.cast(),
                usize_of(len),
                libc::PROT_READ,
                libc::MAP_SHARED | libc::MAP_FIXED,
                file.as_raw_fd(),
                offset,
            )
        };
        if mapped == libc::MAP_FAILED {
            Err(error(io::Error::last_os_error()))
        } else {
            Ok(())
        }
    }

    /// Gives advice on the range, as madvise(2). Advice that the kernel does not take changes nothing but speed, so
    /// the result says only whether it was taken.
    pub fn advise(&self, gpa: u64, len: u64, advice: i32) -> bool {
        let Ok(at) = self.host(gpa, len) else { return false };
        // SAFETY: the range is inside the reservation. The advices in use drop or fill pages of memory that is only
        // accessed through volatile slices.
        unsafe { libc::madvise(at.cast(), usize_of(len), advice) == 0 }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mapping (its unaligned head and tail stay reserved, unused), and no
        // slice outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// `u64` to `usize`: the same on the only architecture that the VMM runs on.
fn usize_of(value: u64) -> usize {
    const { assert!(size_of::<usize>() == size_of::<u64>()) };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "asserted above: usize has 64 bits"
    )]
    {
        value as usize
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Flags of the mapping that an address lies in. (proc(5), `/proc/pid/smaps`, VmFlags)
    fn flags(address: *const u8) -> Option<String> {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((start, end)) = range {
                let address_of = |text| usize::from_str_radix(text, 16).unwrap();
                inside = (address_of(start)..address_of(end)).contains(&address.addr());
            } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return Some(flags.to_string());
            }
        }
        None
    }

    #[test]
    fn huge_pages_are_asked_for() {
        if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            return;
        }
        let memory = Reservation::new(3 * LARGE_PAGE_SIZE).unwrap();
        memory.advise(LARGE_PAGE_SIZE, LARGE_PAGE_SIZE, libc::MADV_HUGEPAGE);
        let flags = |gpa| flags(memory.host(gpa, 1).unwrap()).unwrap();
        for (gpa, flag) in [(0, " nh"), (LARGE_PAGE_SIZE, " hg"), (2 * LARGE_PAGE_SIZE, " nh")] {
            assert!(flags(gpa).contains(flag), "{gpa:#x}: {}", flags(gpa));
        }
    }
}
