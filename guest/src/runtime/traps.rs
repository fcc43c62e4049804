//! Exceptions: from the ring-0 stub to Wasmtime, or to the end of the VM.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mote_abi::layout::TRAP_PAGE;
use mote_abi::trap::{TrapPage, vector};

use super::{Global, size};
use crate::entry::fail;

/// Stack of the handler. Its own, because the faulting code may have run out of stack.
const STACK: usize = 64 << 10;

#[repr(C, align(16))]
struct TrapStack([u8; STACK]);

static TRAP_STACK: Global<TrapStack> = Global::new(TrapStack([0; STACK]));

/// Wasmtime's handler: (ip, fp, has_faulting_addr, faulting_addr). (`wasmtime_trap_handler_t`)
type Handler = extern "C" fn(usize, usize, bool, usize);

static HANDLER: AtomicUsize = AtomicUsize::new(0);
static HANDLING: AtomicBool = AtomicBool::new(false);

/// Names the handler to the ring-0 stubs. Without it any exception would loop for ever.
pub(crate) fn install() {
    let page = TRAP_PAGE as *mut TrapPage;
    let top = TRAP_STACK.get() as u64 + STACK as u64;
    // SAFETY: the trap page is mapped and only the stubs, in an exception, read it.
    unsafe {
        (&raw mut (*page).stack).write_volatile(top);
        (&raw mut (*page).handler).write_volatile(handler_entry as *const () as u64);
    }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_init_traps(handler: Handler) -> i32 {
    HANDLER.store(handler as usize, Ordering::Relaxed);
    0
}

/// Where the stub returns to: the handler's stack, every register but `rsp` as the faulting code had it.
#[unsafe(naked)]
extern "C" fn handler_entry() {
    naked_asm!("cld", "mov rdi, rbp", "call {handle}", "ud2", handle = sym handle)
}

/// The trap has come out of the call into Wasm; the next one may come.
pub(crate) fn handled() {
    HANDLING.store(false, Ordering::Relaxed);
}

extern "C" fn handle(fp: usize) -> ! {
    // SAFETY: the trap page is mapped; the stub wrote it before it returned here.
    let trap = unsafe { (TRAP_PAGE as *const TrapPage).read_volatile() };
    if HANDLING.swap(true, Ordering::Relaxed) {
        fail(format_args!(
            "exception {} at {:#x} while another was handled",
            trap.vector, trap.rip
        ));
    }
    let fault = trap.vector == vector::PAGE_FAULT;
    let handler = HANDLER.load(Ordering::Relaxed);
    if handler != 0 {
        // SAFETY: the only non-zero value stored is a `Handler`.
        let handler: Handler = unsafe { core::mem::transmute(handler) };
        // For a trap of Wasm code this does not return: the call into Wasm does, with the trap.
        handler(size(trap.rip), fp, fault, size(trap.cr2));
    }
    fail(format_args!(
        "exception {} (error {:#x}) in the guest's runtime at {:#x}, stack {:#x}, address {:#x}",
        trap.vector, trap.error, trap.rip, trap.rsp, trap.cr2
    ))
}
