//! Entropy: a first portion comes with the boot page, more is asked of the VMM.

use mote_abi::boot::BootPage;
use mote_abi::ring::call;

/// Secure random bytes, each handed out once.
pub(crate) struct Entropy {
    boot: &'static BootPage,
    used: usize,
}

impl Entropy {
    pub(crate) fn new(boot: &'static BootPage) -> Entropy {
        Entropy { boot, used: 0 }
    }

    /// Fills `out`.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> wasmtime::Result<()> {
        let first = &self.boot.entropy[self.used..];
        if out.len() <= first.len() {
            out.copy_from_slice(&first[..out.len()]);
            self.used += out.len();
            return Ok(());
        }
        for part in out.chunks_mut(1 << 20) {
            let answer = super::call(&[call::ENTROPY, part.as_mut_ptr() as u64, part.len() as u64]);
            if answer < 0 {
                wasmtime::bail!("the host has no entropy to give (error {})", -answer);
            }
        }
        Ok(())
    }

    /// Eight random bytes as a number.
    pub(crate) fn next_u64(&mut self) -> wasmtime::Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}
