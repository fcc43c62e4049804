//! The first instruction, and the panic path.

use core::fmt::Write;
use core::panic::PanicInfo;

use mote_abi::boot::{BootPage, mode};
use mote_abi::cpu::Features;
use mote_abi::ring::{end, phase};

use crate::vm::{self, Text};
use crate::{program, runtime};

/// Where the VMM starts the vCPU: ring 3, `rsp` as at a function's entry, the boot page's address in `rdi`.
#[unsafe(no_mangle)]
extern "C" fn mote_guest_entry(boot: *const BootPage) -> ! {
    vm::stamp(phase::ENTRY);
    // SAFETY: the VMM maps the boot page, fills it before the first instruction and never writes it again.
    let boot: &'static BootPage = unsafe { &*boot };
    runtime::traps::install();
    match boot.mode {
        mode::FLOOR => vm::end(0, end::EXITED, &[]),
        mode::PROBE => {
            vm::report_features(runtime::cpu::probe());
            vm::end(0, end::EXITED, &[])
        }
        _ => {}
    }
    if boot.abi_version != mote_abi::VERSION {
        fail(format_args!(
            "the VMM speaks version {}, the guest image {}",
            boot.abi_version,
            mote_abi::VERSION
        ));
    }
    runtime::heap::init(boot.heap_start);
    runtime::mmap::init(boot.premapped, boot.premapped_len);
    runtime::cpu::init(Features(boot.features));
    program::run(boot)
}

/// Ends the VM because the guest's own runtime cannot go on. The text reaches the log.
pub(crate) fn fail(text: core::fmt::Arguments<'_>) -> ! {
    let mut message = Text::new();
    // Text truncates and never fails.
    let _ = message.write_fmt(text);
    vm::end(mote_exit_internal(), end::PANIC, message.bytes())
}

const fn mote_exit_internal() -> u64 {
    // `mote_config::exit::INTERNAL`; that crate needs std.
    125
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail(format_args!("panic in the guest's runtime: {info}"))
}
