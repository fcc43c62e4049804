//! A list of bytes on its way to a component, copied in one piece.
//!
//! Wasmtime stores the elements of a list one by one and leaves it to the optimiser to make a copy of that, which one
//! for size does not: reads from files took three times as long.

use core::mem::MaybeUninit;

use alloc::vec::Vec;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lower};
use wasmtime::{Result, ValRaw};

/// `list<u8>`.
pub(super) struct Bytes(pub(super) Vec<u8>);

// SAFETY: the type check is that of a vector of bytes, and so are the lowered form (a pointer and a length) and its size
// and alignment.
unsafe impl ComponentType for Bytes {
    type Lower = [ValRaw; 2];

    const ABI: CanonicalAbiInfo = <Vec<u8> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <Vec<u8> as ComponentType>::typecheck(ty, types)
    }
}

impl Bytes {
    /// Copies the bytes into memory that the component's `realloc` gives: where they are, and their number.
    fn place<T>(&self, cx: &mut LowerContext<'_, T>) -> Result<(u32, u32)> {
        let at = cx.realloc(0, 0, 1, self.0.len())?;
        // `realloc` has checked the range.
        cx.as_slice_mut()[at..][..self.0.len()].copy_from_slice(&self.0);
        Ok((u32::try_from(at)?, u32::try_from(self.0.len())?))
    }
}

// SAFETY: `dst` is written whole before Ok is returned; the memory at `offset` gets the canonical form of a list, two
// 32-bit integers. (component model, CanonicalABI, "Storing")
unsafe impl Lower for Bytes {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        dst: &mut MaybeUninit<[ValRaw; 2]>,
    ) -> Result<()> {
        let (at, len) = self.place(cx)?;
        // 64 bits wide, whatever the memory's width: all of the value is defined then.
        dst.write([ValRaw::i64(at.into()), ValRaw::i64(len.into())]);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        let (at, len) = self.place(cx)?;
        *cx.get(offset) = at.to_le_bytes();
        *cx.get(offset + 4) = len.to_le_bytes();
        Ok(())
    }
}
