//! The way out of the VM: calls (real exits), rings and the pages that are shared with the VMM.

pub(crate) mod clock;
pub(crate) mod entropy;
mod handles;
pub(crate) mod ring;

use core::arch::asm;
use core::fmt;
use core::ptr;

use mote_abi::layout::{CONTROL_PAGE, port};
use mote_abi::ring::{ControlPage, call};

/// The control page. Every field is read and written through this pointer by volatile accesses, because the VMM
/// changes the page while the guest runs.
pub(crate) const CONTROL: *mut ControlPage = CONTROL_PAGE as *mut ControlPage;

/// Leaves the VM until the VMM has served the call; its answer.
pub(crate) fn call(request: &[u64]) -> i64 {
    // SAFETY: the control page is mapped, and only this vCPU writes `call`; the `out` makes the VMM read it and write
    // `answer` before the next instruction.
    unsafe {
        let words = (&raw mut (*CONTROL).call).cast::<u64>();
        for (i, word) in request.iter().take(8).enumerate() {
            words.add(i).write_volatile(*word);
        }
        asm!("out {port}, al", port = const port::CALL, in("al") 0_u8, options(nostack));
        (&raw const (*CONTROL).answer).read_volatile()
    }
}

/// Rings the doorbell: the VMM's I/O thread looks at the submission ring. No exit to user space.
pub(crate) fn doorbell() {
    // SAFETY: the port is open to ring 3 and the write has no effect on this side.
    unsafe { asm!("out {port}, al", port = const port::DOORBELL, in("al") 0_u8, options(nostack)) };
}

/// Ends the VM. Output that is still in the submission ring goes along.
pub(crate) fn end(code: u64, reason: u64, message: &[u8]) -> ! {
    stamp(mote_abi::ring::phase::EXIT);
    loop {
        call(&[
            call::END,
            code,
            reason,
            message.as_ptr() as u64,
            message.len() as u64,
        ]);
    }
}

/// Records the time of a phase of the start.
pub(crate) fn stamp(phase: usize) {
    // SAFETY: the control page is mapped; only the guest writes the phases, and the index is one of the constants.
    unsafe {
        let phases = (&raw mut (*CONTROL).phases).cast::<u64>();
        phases.add(phase).write_volatile(clock::tsc());
    }
}

/// Tells the VMM what a probe found.
pub(crate) fn report_features(features: mote_abi::cpu::Features) {
    // SAFETY: the control page is mapped and only the guest writes this field.
    unsafe { (&raw mut (*CONTROL).probed_features).write_volatile(features.0) };
}

/// A text of bounded length that needs no heap: for messages about what went wrong.
pub(crate) struct Text {
    bytes: [u8; 1024],
    len: usize,
}

impl Text {
    pub(crate) const fn new() -> Text {
        Text {
            bytes: [0; 1024],
            len: 0,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let part = &s.as_bytes()[..s.len().min(room)];
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        Ok(())
    }
}

/// Reads a word that the VMM may change at any time.
fn load(word: *const u32) -> u32 {
    // SAFETY: callers pass addresses in the shared pages, which are always mapped. Acquire order comes from x86's
    // own memory model together with the compiler fence.
    let value = unsafe { ptr::read_volatile(word) };
    core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
    value
}

/// Publishes a word to the VMM after everything that was written before.
fn store(word: *mut u32, value: u32) {
    core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
    // SAFETY: as for `load`; the word is one that only the guest writes.
    unsafe { ptr::write_volatile(word, value) };
}
