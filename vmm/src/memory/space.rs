//! What the guest has mapped: fixed regions that the VMM laid out, and memory that the guest asked for.
//!
//! Memory is asked for in pages but owned in frames of 2 MiB: a 2 MiB piece of guest-virtual space that has any page
//! mapped owns one frame, and its pages sit at the same offsets in it. So a linear memory that grows stays contiguous
//! and ends up in large pages, while its last, partial piece ends exactly where the program's memory ends and an
//! access behind it faults. Host memory is spent only on pages that are touched.
//!
//! A piece keeps its frame for good, and no other piece gets it. A hypervisor with shadow page tables makes a table of
//! its own for the 4 KiB pages of the host behind a large page, and finds that table again by the frame. It does not see
//! that the large page's entry has changed, and the mmu notifier takes away the pages in that table but not the table.
//! Were another frame's pages then put into it, whoever maps the first frame next would find them there.

use std::collections::BTreeMap;
use std::ops::Range;

use mote_abi::layout::{DATA_END, HEAP_END, MMAP_END, MMAP_START};
use mote_abi::{LARGE_PAGE_SIZE, PAGE_SIZE};
use vm_memory::VolatileSlice;

use super::{Access, MemoryError, PageTables, Reservation};

/// Why a request for memory was not granted.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// Not the guest's fault to be repaired: it broke the protocol.
    #[error("the guest asked for the range {address:#x}+{len:#x}, which is not its to map")]
    Range { address: u64, len: u64 },
    #[error("{mapped} bytes are mapped and {more} more were asked for, the limit is {limit} bytes")]
    Limit { mapped: u64, more: u64, limit: u64 },
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// A fixed region.
#[derive(Clone, Copy, Debug)]
struct Region {
    gva: u64,
    gpa: u64,
    len: u64,
    writable: bool,
}

/// A 2 MiB piece of guest-virtual space that has, or had, a page mapped.
#[derive(Debug)]
struct Piece {
    frame: u64,
    /// Which of its 512 pages are mapped.
    pages: [u64; 8],
    /// It has a page table. Otherwise it is one large page, or nothing.
    table: bool,
}

const NONE: [u64; 8] = [0; 8];
const ALL: [u64; 8] = [u64::MAX; 8];

/// The guest's address space.
#[derive(Debug)]
pub struct Space {
    mem: Reservation,
    tables: PageTables,
    regions: Vec<Region>,
    pieces: BTreeMap<u64, Piece>,
    first_frame: u64,
    next_frame: u64,
    /// Where the frames end that the limit allows.
    end: u64,
    /// Guest-physical memory that the hypervisor knows of. Frames beyond it need another memslot first.
    backed: u64,
    mapped: u64,
    peak: u64,
    limit: u64,
}

impl Space {
    /// A space whose frames start at `first_frame`. `limit` is the most the guest may map, `backed` the memory that
    /// the hypervisor knows of at start.
    #[must_use]
    pub fn new(mem: Reservation, first_frame: u64, backed: u64, limit: u64) -> Space {
        let mut space = Space {
            mem,
            tables: PageTables::new(),
            regions: Vec::with_capacity(8),
            pieces: BTreeMap::new(),
            first_frame,
            next_frame: first_frame,
            end: 0,
            backed,
            mapped: 0,
            peak: 0,
            limit: 0,
        };
        space.set_limit(limit);
        space
    }

    /// Guest-physical memory for frames that a limit takes, in bytes: twice the limit, as a piece keeps its frame when
    /// nothing of it is mapped, and more for pieces that are only partly mapped and for page tables.
    #[must_use]
    pub const fn frames(limit: u64) -> u64 {
        const SLACK: u64 = 128 << 20;
        limit.saturating_mul(2).saturating_add(SLACK + limit / 256)
    }

    /// Sets the most bytes that the guest may map. What is mapped already stays.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        let end = self.first_frame.saturating_add(Space::frames(limit));
        // Frames that were taken stay taken.
        self.end = self.end.max(end.min(self.mem.len()));
    }

    /// The memory itself.
    #[must_use]
    pub fn memory(&self) -> &Reservation {
        &self.mem
    }

    /// Most bytes that were mapped for the guest at once.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Maps a fixed region of whole pages. What ring 3 may write counts toward the limit.
    ///
    /// # Errors
    /// [`SpaceError`] if the page tables' pool is empty.
    pub fn map_fixed(&mut self, gva: u64, gpa: u64, len: u64, access: Access) -> Result<(), SpaceError> {
        self.refill_tables()?;
        self.tables.map(&self.mem, gva, gpa, len, access)?;
        let writable = access == Access::Write;
        if matches!(access, Access::Read | Access::Write) {
            self.regions.push(Region {
                gva,
                gpa,
                len,
                writable,
            });
        }
        if writable {
            self.mapped += len;
            self.peak = self.peak.max(self.mapped);
        }
        Ok(())
    }

    /// Maps zeroed memory at the guest's request.
    ///
    /// # Errors
    /// [`SpaceError::Range`] for a range that is not page-aligned or not the guest's to choose,
    /// [`SpaceError::Limit`] over the memory limit.
    pub fn map(&mut self, address: u64, len: u64) -> Result<(), SpaceError> {
        let range = own_range(address, len)?;
        // A range longer than the limit cannot be mapped already; it need not be looked through.
        let more = if len > self.limit {
            len
        } else {
            self.missing(&range)
        };
        if more > self.limit.saturating_sub(self.mapped) {
            return Err(SpaceError::Limit {
                mapped: self.mapped,
                more,
                limit: self.limit,
            });
        }
        for (start, pages) in pieces(range) {
            self.map_in_piece(start, pages)?;
        }
        Ok(())
    }

    /// Unmaps memory at the guest's request; its pages go back to the host.
    ///
    /// # Errors
    /// [`SpaceError::Range`] as for [`Self::map`].
    pub fn unmap(&mut self, address: u64, len: u64) -> Result<(), SpaceError> {
        let range = own_range(address, len)?;
        let touched: Vec<u64> = self
            .pieces
            .range(range.start & !(LARGE_PAGE_SIZE - 1)..range.end)
            .map(|(start, _)| *start)
            .collect();
        for start in touched {
            let pages = range.start.max(start)..range.end.min(start + LARGE_PAGE_SIZE);
            self.unmap_in_piece(start, &pages)?;
        }
        Ok(())
    }

    /// The host memory behind a guest-virtual range, in order, for reading or (with `write`) for writing.
    ///
    /// # Errors
    /// [`SpaceError::Range`] if any byte of it is not mapped that way.
    pub fn resolve(&self, address: u64, len: u64, write: bool) -> Result<Vec<VolatileSlice<'_>>, SpaceError> {
        let bad = || SpaceError::Range { address, len };
        let end = address.checked_add(len).ok_or_else(bad)?;
        let mut out = Vec::new();
        let mut at = address;
        while at < end {
            let (gpa, run) = self.translate(at, end - at, write).ok_or_else(bad)?;
            out.push(self.mem.slice(gpa, run)?);
            at += run;
        }
        Ok(out)
    }

    /// Frames that must be made known to the hypervisor before the next request: guest-physical range, if any.
    #[must_use]
    pub fn unbacked(&self) -> Option<Range<u64>> {
        (self.next_frame > self.backed).then_some(self.backed..self.next_frame)
    }

    /// The hypervisor now knows memory up to `end`.
    pub fn set_backed(&mut self, end: u64) {
        self.backed = end;
    }

    fn translate(&self, at: u64, len: u64, write: bool) -> Option<(u64, u64)> {
        let fixed = self.regions.iter().find(|r| at >= r.gva && at - r.gva < r.len);
        if let Some(r) = fixed {
            let offset = at - r.gva;
            return (r.writable || !write).then_some((r.gpa + offset, len.min(r.len - offset)));
        }
        let start = at & !(LARGE_PAGE_SIZE - 1);
        let piece = self.pieces.get(&start)?;
        let mut page = (at - start) / PAGE_SIZE;
        let first = page;
        while page < 512 && piece.has(page) && (page - first) * PAGE_SIZE < len + PAGE_SIZE {
            page += 1;
        }
        let run = (start + page * PAGE_SIZE).checked_sub(at)?;
        (run > 0).then_some((piece.frame + (at - start), run.min(len)))
    }

    fn missing(&self, range: &Range<u64>) -> u64 {
        pieces(range.clone())
            .map(|(start, pages)| match self.pieces.get(&start) {
                None => pages.end - pages.start,
                Some(piece) => {
                    page_numbers(start, &pages).filter(|p| !piece.has(*p)).count() as u64 * PAGE_SIZE
                }
            })
            .sum()
    }

    fn map_in_piece(&mut self, start: u64, pages: Range<u64>) -> Result<(), SpaceError> {
        self.refill_tables()?;
        if !self.pieces.contains_key(&start) {
            let frame = self.take_frame()?;
            let piece = Piece {
                frame,
                pages: NONE,
                table: false,
            };
            self.pieces.insert(start, piece);
        }
        let Some(piece) = self.pieces.get_mut(&start) else {
            return Ok(());
        };
        let mut added = 0;
        if !piece.table && piece.pages == NONE && pages.end - pages.start == LARGE_PAGE_SIZE {
            self.tables
                .map_large(&self.mem, start, piece.frame, Access::Write)?;
            piece.pages = ALL;
            added = LARGE_PAGE_SIZE;
        } else {
            for page in page_numbers(start, &pages) {
                if !piece.has(page) {
                    let offset = page * PAGE_SIZE;
                    self.tables
                        .map_page(&self.mem, start + offset, piece.frame + offset, Access::Write)?;
                    piece.set(page, true);
                    piece.table = true;
                    added += PAGE_SIZE;
                }
            }
        }
        self.mapped += added;
        self.peak = self.peak.max(self.mapped);
        Ok(())
    }

    fn unmap_in_piece(&mut self, start: u64, pages: &Range<u64>) -> Result<(), SpaceError> {
        self.refill_tables()?;
        let Some(piece) = self.pieces.get_mut(&start) else {
            return Ok(());
        };
        if piece.pages == NONE {
            return Ok(());
        }
        if !piece.table && pages.end - pages.start == LARGE_PAGE_SIZE {
            self.tables.unmap_large(&self.mem, start)?;
            piece.pages = NONE;
            self.mapped -= LARGE_PAGE_SIZE;
        } else {
            for page in page_numbers(start, pages) {
                if piece.has(page) {
                    self.tables.unmap_page(&self.mem, start + page * PAGE_SIZE)?;
                    piece.set(page, false);
                    piece.table = true;
                    self.mapped -= PAGE_SIZE;
                }
            }
        }
        // Dropping the host pages also makes the hypervisor forget its translations of them (mmu notifier): the
        // removed entries take effect, and the frame is zero when it is used again.
        self.mem.advise(
            piece.frame + (pages.start - start),
            pages.end - pages.start,
            libc::MADV_DONTNEED,
        );
        Ok(())
    }

    fn take_frame(&mut self) -> Result<u64, SpaceError> {
        let frame = self.next_frame;
        // There are more frames than the limit, as pieces can be mapped in part or not at all; past that, the space is
        // as full as the limit says.
        if frame + LARGE_PAGE_SIZE > self.end {
            return Err(SpaceError::Limit {
                mapped: self.mapped,
                more: LARGE_PAGE_SIZE,
                limit: self.limit,
            });
        }
        self.next_frame += LARGE_PAGE_SIZE;
        Ok(frame)
    }

    fn refill_tables(&mut self) -> Result<(), SpaceError> {
        if self.tables.is_low() {
            let frame = self.take_frame()?;
            self.tables.refill(frame, LARGE_PAGE_SIZE);
        }
        Ok(())
    }
}

impl Piece {
    fn has(&self, page: u64) -> bool {
        self.pages
            .get(word(page))
            .is_some_and(|w| w & (1 << (page % 64)) != 0)
    }

    fn set(&mut self, page: u64, mapped: bool) {
        if let Some(w) = self.pages.get_mut(word(page)) {
            if mapped {
                *w |= 1 << (page % 64);
            } else {
                *w &= !(1 << (page % 64));
            }
        }
    }
}

fn word(page: u64) -> usize {
    usize::try_from(page / 64).unwrap_or(usize::MAX)
}

/// The range, if it is whole pages of the heap's or the mmap area's address space.
fn own_range(address: u64, len: u64) -> Result<Range<u64>, SpaceError> {
    let bad = SpaceError::Range { address, len };
    let Some(end) = address.checked_add(len) else {
        return Err(bad);
    };
    let aligned = (address | len).is_multiple_of(PAGE_SIZE);
    let heap = address >= DATA_END && end <= HEAP_END;
    let mmap = address >= MMAP_START && end <= MMAP_END;
    if aligned && (heap || mmap) {
        Ok(address..end)
    } else {
        Err(bad)
    }
}

/// The range cut at 2 MiB boundaries: start of each piece and the part of the range in it.
fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
    let first = range.start / LARGE_PAGE_SIZE;
    let last = range.end.div_ceil(LARGE_PAGE_SIZE);
    (first..last).map(move |i| {
        let start = i * LARGE_PAGE_SIZE;
        (
            start,
            range.start.max(start)..range.end.min(start + LARGE_PAGE_SIZE),
        )
    })
}

fn page_numbers(start: u64, pages: &Range<u64>) -> Range<u64> {
    (pages.start - start) / PAGE_SIZE..(pages.end - start) / PAGE_SIZE
}

#[cfg(test)]
mod tests;
