//! Address space for what Wasmtime maps, and which of it has pages.
//!
//! What one instance gives back, the next takes as it is: zeroed, but with its pages still mapped. A server that makes
//! an instance for each request would otherwise leave the VM twice for each memory, and fault each page in again. Most of
//! a large memory was never touched, which the VMM knows: a server has it zeroed there ([`AddressSpace::soiled`]).

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr;

use mote_abi::LARGE_PAGE_SIZE;
use mote_abi::layout::{MMAP_END, MMAP_START};
use mote_abi::ring::call;

use super::size;

/// Most bytes of a mapping that are zeroed here; with more, the VMM gives fresh pages.
const KEPT_SIZE: u64 = 16 << 20;
/// Most bytes that are zeroed at once, without the VMM.
const ZEROED_HERE: u64 = 64 << 10;
/// Most mappings that are kept.
const KEPT: usize = 8;

/// There is no memory, or no address space.
pub(super) struct NoMemory;

/// All of it.
pub(super) struct AddressSpace {
    next: u64,
    /// Ranges that were given back and have no pages: start and length.
    free: Vec<(u64, u64)>,
    /// Mappings that were given back as they are, by their start.
    kept: Vec<Mapping>,
    used: Vec<Mapping>,
    /// What the VMM mapped before the first instruction.
    premapped: Range<u64>,
}

/// A range that Wasmtime has reserved, or had.
struct Mapping {
    start: u64,
    len: u64,
    /// What of it is mapped, though it is not accessible by what Wasmtime has asked for. Zero, unless it is soiled.
    ready: Range<u64>,
    /// There is something in it of who had it before.
    soiled: bool,
    /// What of it is accessible. `None`: it is not in one piece.
    open: Option<Range<u64>>,
}

impl AddressSpace {
    pub(super) const fn new() -> AddressSpace {
        AddressSpace {
            next: MMAP_START,
            free: Vec::new(),
            kept: Vec::new(),
            used: Vec::new(),
            premapped: 0..0,
        }
    }

    pub(super) fn set_premapped(&mut self, range: Range<u64>) {
        self.premapped = range;
    }

    /// Reserves `len` bytes; where they start.
    pub(super) fn reserve(&mut self, len: u64) -> Result<u64, NoMemory> {
        // The lowest first: an instance asks for its memories in the order in which the last one did, and so gets
        // those that have the sizes that it needs. The VMM keeps a frame for each piece of a range that had pages.
        let kept = self.kept.iter().position(|kept| kept.len == len);
        let free = (0..self.free.len())
            .filter(|at| self.free[*at].1 == len)
            .min_by_key(|at| self.free[*at].0);
        let start = match (kept, free) {
            (Some(kept), free) if free.is_none_or(|free| self.kept[kept].start < self.free[free].0) => {
                let mut mapping = self.kept.remove(kept);
                if mapping.soiled {
                    mapping.zero();
                }
                let start = mapping.start;
                self.used.push(mapping);
                return Ok(start);
            }
            (_, Some(free)) => self.free.swap_remove(free).0,
            (_, None) => self.take(len).ok_or(NoMemory)?,
        };
        self.used.push(Mapping {
            start,
            len,
            ready: 0..0,
            soiled: false,
            open: Some(start..start),
        });
        Ok(start)
    }

    /// What was given back and has to be zeroed before it is taken again.
    pub(super) fn soiled(&self) -> impl Iterator<Item = Range<u64>> {
        self.kept
            .iter()
            .filter(|kept| kept.soiled)
            .map(|kept| kept.ready.clone())
    }

    /// All that was given back is zero by now.
    pub(super) fn cleaned(&mut self) {
        for kept in &mut self.kept {
            kept.soiled = false;
        }
    }

    fn take(&mut self, len: u64) -> Option<u64> {
        let start = self.next;
        let end = start
            .checked_add(len)?
            .checked_next_multiple_of(LARGE_PAGE_SIZE)?;
        if end > MMAP_END {
            return None;
        }
        self.next = end;
        Some(start)
    }

    /// Gives a reserved range back.
    pub(super) fn release(&mut self, start: u64, len: u64) -> Result<(), NoMemory> {
        self.premapped = 0..0;
        let at = self
            .used
            .iter()
            .position(|used| (used.start, used.len) == (start, len));
        let mapping = at.map(|at| self.used.swap_remove(at));
        if let Some(mapping) = mapping.and_then(Mapping::left)
            && self.kept.len() < KEPT
        {
            let at = self.kept.partition_point(|kept| kept.start < start);
            self.kept.insert(at, mapping);
            return Ok(());
        }
        unmap(start..start + len)?;
        self.free.push((start, len));
        Ok(())
    }

    /// Makes a range accessible; what of it was not is zero.
    pub(super) fn open(&mut self, range: Range<u64>) -> Result<(), NoMemory> {
        let mapping = self.used.iter_mut().find(|used| used.contains(&range));
        let mut ready = self.premapped.clone();
        if let Some(mapping) = mapping {
            mapping.open = match mapping.open.take() {
                Some(open) if open.is_empty() => Some(range.clone()),
                Some(open) if open.end == range.start => Some(open.start..range.end),
                _ => None,
            };
            if !mapping.ready.is_empty() {
                ready = core::mem::replace(&mut mapping.ready, 0..0);
                // Beyond its end a memory must not be accessible.
                unmap(ready.start..ready.end.min(range.start))?;
                unmap(ready.start.max(range.end)..ready.end)?;
            }
        }
        if ready.start <= range.start && range.start < ready.end {
            map(ready.end.min(range.end)..range.end)
        } else {
            map(range)
        }
    }

    /// Makes a range inaccessible; what is in it is lost.
    pub(super) fn close(&mut self, range: Range<u64>) -> Result<(), NoMemory> {
        self.premapped = 0..0;
        if let Some(mapping) = self.used.iter_mut().find(|used| used.contains(&range)) {
            mapping.open = None;
        }
        unmap(range)
    }
}

impl Mapping {
    fn contains(&self, range: &Range<u64>) -> bool {
        range.start >= self.start && range.end <= self.start + self.len
    }

    /// As it is for its next user, if it is worth to be kept.
    fn left(mut self) -> Option<Mapping> {
        let open = self.open.replace(self.start..self.start)?;
        let len = open.end - open.start;
        if len > KEPT_SIZE {
            return None;
        }
        self.ready = open;
        self.soiled = len > 0;
        if self.soiled && len <= ZEROED_HERE {
            self.zero();
        }
        Some(self)
    }

    fn zero(&mut self) {
        let Range { start, end } = self.ready;
        // SAFETY: this range was opened, so it is mapped for reading and writing; and it was given back, so nobody else
        // refers to it.
        unsafe { ptr::write_bytes(start as *mut u8, 0, size(end - start)) };
        self.soiled = false;
    }
}

fn map(range: Range<u64>) -> Result<(), NoMemory> {
    ask(call::MAP, &range)
}

fn unmap(range: Range<u64>) -> Result<(), NoMemory> {
    ask(call::UNMAP, &range)
}

fn ask(what: u64, range: &Range<u64>) -> Result<(), NoMemory> {
    if range.start < range.end && crate::vm::call(&[what, range.start, range.end - range.start]) < 0 {
        return Err(NoMemory);
    }
    Ok(())
}
