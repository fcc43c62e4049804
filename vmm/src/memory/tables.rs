//! The guest's page tables. Only the VMM writes them, so the guest can make nothing executable or writable.
//!
//! Four levels. (SDM Vol. 3A 4.5) Accessed and dirty bits are set ahead: no walk has to write them.
//! The hypervisor does not see user-space writes that change or remove a present entry (its shadow or its TLB keeps
//! the old one), so whoever removes an entry also drops the host pages behind it, which invalidates both.

use mote_abi::layout::{PAGE_TABLES, SYSTEM_END};
use mote_abi::{LARGE_PAGE_SIZE, PAGE_SIZE};
use vm_memory::{Bytes, VolatileSlice};

use super::{MemoryError, Reservation};

/// What ring 3 and ring 0 may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Ring 0 reads.
    SystemRead,
    /// Ring 0 reads and writes.
    SystemWrite,
    /// Ring 0 executes.
    SystemExecute,
    /// Ring 3 reads.
    Read,
    /// Ring 3 reads and writes.
    Write,
    /// Ring 3 executes.
    Execute,
}

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Entries above the last level grant everything; the last level decides. (SDM Vol. 3A 4.6)
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED;

impl Access {
    const fn bits(self) -> u64 {
        let rights = match self {
            Access::SystemRead => NO_EXECUTE,
            Access::SystemWrite => NO_EXECUTE | WRITABLE,
            Access::SystemExecute => 0,
            Access::Read => NO_EXECUTE | USER,
            Access::Write => NO_EXECUTE | WRITABLE | USER,
            Access::Execute => USER,
        };
        PRESENT | ACCESSED | DIRTY | rights
    }
}

/// Writer of the page tables of one VM.
#[derive(Debug)]
pub struct PageTables {
    /// Next free page of the current pool.
    next: u64,
    end: u64,
}

impl PageTables {
    /// Guest-physical address of the top table: what CR3 holds.
    pub const ROOT: u64 = PAGE_TABLES;

    /// Empty tables. The pages behind them must be zero.
    #[must_use]
    pub fn new() -> PageTables {
        PageTables {
            next: Self::ROOT + PAGE_SIZE,
            end: SYSTEM_END,
        }
    }

    /// Whether the pool is too small for one more mapping of any kind; then [`Self::refill`] is due.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.end - self.next < 4 * PAGE_SIZE
    }

    /// Goes on with a new pool of zeroed pages.
    pub fn refill(&mut self, gpa: u64, len: u64) {
        self.next = gpa;
        self.end = gpa + len;
    }

    /// Maps one 4 KiB page.
    ///
    /// # Errors
    /// [`MemoryError::PageTables`] if the pool is empty.
    pub fn map_page(
        &mut self,
        mem: &Reservation,
        gva: u64,
        gpa: u64,
        access: Access,
    ) -> Result<(), MemoryError> {
        let table = self.table_for(mem, gva, 1)?;
        write_entry(&table, index(gva, 0), gpa | access.bits())
    }

    /// Maps one 2 MiB page. Both addresses are aligned to it.
    ///
    /// # Errors
    /// [`MemoryError::PageTables`] if the pool is empty.
    pub fn map_large(
        &mut self,
        mem: &Reservation,
        gva: u64,
        gpa: u64,
        access: Access,
    ) -> Result<(), MemoryError> {
        let table = self.table_for(mem, gva, 2)?;
        write_entry(&table, index(gva, 1), gpa | access.bits() | LARGE)
    }

    /// Maps a range of whole pages, by large pages where both addresses allow.
    ///
    /// # Errors
    /// [`MemoryError::PageTables`] if the pool is empty.
    pub fn map(
        &mut self,
        mem: &Reservation,
        gva: u64,
        gpa: u64,
        len: u64,
        access: Access,
    ) -> Result<(), MemoryError> {
        let mut at = 0;
        while at < len {
            let (va, pa) = (gva + at, gpa + at);
            let large = (va | pa).is_multiple_of(LARGE_PAGE_SIZE) && len - at >= LARGE_PAGE_SIZE;
            if large {
                self.map_large(mem, va, pa, access)?;
                at += LARGE_PAGE_SIZE;
            } else {
                self.map_page(mem, va, pa, access)?;
                at += PAGE_SIZE;
            }
        }
        Ok(())
    }

    /// Removes the page at `gva`. A large page is split first, so that its other pages stay.
    ///
    /// # Errors
    /// [`MemoryError::PageTables`] if the pool is empty.
    pub fn unmap_page(&mut self, mem: &Reservation, gva: u64) -> Result<(), MemoryError> {
        let directory = self.table_for(mem, gva, 2)?;
        let entry = read_entry(&directory, index(gva, 1))?;
        if entry & PRESENT == 0 {
            return Ok(());
        }
        if entry & LARGE != 0 {
            self.split(mem, &directory, gva, entry)?;
        }
        let table = self.table_for(mem, gva, 1)?;
        write_entry(&table, index(gva, 0), 0)
    }

    /// Removes the large page at `gva`, which is aligned to it.
    ///
    /// # Errors
    /// [`MemoryError::PageTables`] if the pool is empty.
    pub fn unmap_large(&mut self, mem: &Reservation, gva: u64) -> Result<(), MemoryError> {
        let directory = self.table_for(mem, gva, 2)?;
        write_entry(&directory, index(gva, 1), 0)
    }

    fn split(
        &mut self,
        mem: &Reservation,
        directory: &VolatileSlice<'_>,
        gva: u64,
        entry: u64,
    ) -> Result<(), MemoryError> {
        let table = self.take()?;
        let pages = mem.slice(table, PAGE_SIZE)?;
        let (base, rights) = (
            entry & ADDRESS & !(LARGE_PAGE_SIZE - 1),
            entry & !(ADDRESS | LARGE),
        );
        for i in 0..512 {
            write_entry(&pages, i, (base + i as u64 * PAGE_SIZE) | rights)?;
        }
        write_entry(directory, index(gva, 1), table | TABLE)
    }

    /// The table that holds the entry of `gva` at `level` (1: page table, 2: page directory), made on the way.
    fn table_for<'m>(
        &mut self,
        mem: &'m Reservation,
        gva: u64,
        level: u32,
    ) -> Result<VolatileSlice<'m>, MemoryError> {
        let mut table = mem.slice(Self::ROOT, PAGE_SIZE)?;
        for depth in (level..4).rev() {
            let entry = read_entry(&table, index(gva, depth))?;
            let next = if entry & PRESENT == 0 {
                let next = self.take()?;
                write_entry(&table, index(gva, depth), next | TABLE)?;
                next
            } else {
                entry & ADDRESS
            };
            table = mem.slice(next, PAGE_SIZE)?;
        }
        Ok(table)
    }

    fn take(&mut self) -> Result<u64, MemoryError> {
        if self.next >= self.end {
            return Err(MemoryError::PageTables);
        }
        let page = self.next;
        self.next += PAGE_SIZE;
        Ok(page)
    }
}

impl Default for PageTables {
    fn default() -> Self {
        Self::new()
    }
}

/// Index of `gva` in the table at `depth`: 0 is the page table, 3 the top. (SDM Vol. 3A figure 4-8)
const fn index(gva: u64, depth: u32) -> usize {
    ((gva >> (12 + 9 * depth)) & 511) as usize
}

fn read_entry(table: &VolatileSlice<'_>, index: usize) -> Result<u64, MemoryError> {
    table.read_obj(index * 8).map_err(|_| MemoryError::PageTables)
}

fn write_entry(table: &VolatileSlice<'_>, index: usize, entry: u64) -> Result<(), MemoryError> {
    table
        .write_obj(entry, index * 8)
        .map_err(|_| MemoryError::PageTables)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the tables as the CPU does: the last entry and its page size.
    fn walk(mem: &Reservation, gva: u64) -> Option<(u64, u64)> {
        let mut table = PageTables::ROOT;
        for depth in (0..4).rev() {
            let entry = read_entry(&mem.slice(table, PAGE_SIZE).unwrap(), index(gva, depth)).unwrap();
            if entry & PRESENT == 0 {
                return None;
            }
            if depth == 0 {
                return Some((entry, PAGE_SIZE));
            }
            if entry & LARGE != 0 {
                return Some((entry, LARGE_PAGE_SIZE));
            }
            table = entry & ADDRESS;
        }
        None
    }

    #[test]
    fn maps_by_large_pages_where_aligned() {
        let mem = Reservation::new(16 << 20).unwrap();
        let mut tables = PageTables::new();
        tables
            .map(
                &mem,
                0x10_0000_0000,
                0x40_0000,
                LARGE_PAGE_SIZE + PAGE_SIZE,
                Access::Write,
            )
            .unwrap();
        let (entry, size) = walk(&mem, 0x10_0000_0000 + 0x1234).unwrap();
        assert_eq!((entry & ADDRESS, size), (0x40_0000, LARGE_PAGE_SIZE));
        let (entry, size) = walk(&mem, 0x10_0000_0000 + LARGE_PAGE_SIZE).unwrap();
        assert_eq!((entry & ADDRESS, size), (0x60_0000, PAGE_SIZE));
        assert!(walk(&mem, 0x10_0000_0000 + LARGE_PAGE_SIZE + PAGE_SIZE).is_none());
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        let all = [
            Access::SystemRead,
            Access::SystemWrite,
            Access::SystemExecute,
            Access::Read,
            Access::Write,
            Access::Execute,
        ];
        for access in all {
            assert!(
                access.bits() & WRITABLE == 0 || access.bits() & NO_EXECUTE != 0,
                "{access:?}"
            );
        }
    }

    #[test]
    fn unmapping_splits_a_large_page() {
        let mem = Reservation::new(16 << 20).unwrap();
        let mut tables = PageTables::new();
        let gva = 0x10_0000_0000;
        tables
            .map(&mem, gva, 0x40_0000, LARGE_PAGE_SIZE, Access::Write)
            .unwrap();
        tables.unmap_page(&mem, gva + 3 * PAGE_SIZE).unwrap();
        assert!(walk(&mem, gva + 3 * PAGE_SIZE).is_none());
        let (entry, size) = walk(&mem, gva + 4 * PAGE_SIZE).unwrap();
        assert_eq!((entry & ADDRESS, size), (0x40_4000, PAGE_SIZE));
        assert_eq!(entry & !ADDRESS, Access::Write.bits());
    }

    #[test]
    fn an_empty_pool_is_an_error() {
        let mem = Reservation::new(16 << 20).unwrap();
        let mut tables = PageTables::new();
        tables.refill(0x8000, 2 * PAGE_SIZE);
        assert!(tables.is_low());
        assert!(matches!(
            tables.map_page(&mem, 0x10_0000_0000, 0x40_0000, Access::Read),
            Err(MemoryError::PageTables)
        ));
    }
}
