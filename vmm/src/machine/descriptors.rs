//! Descriptor tables, TSS and exception stubs: all that ring 0 consists of.

use std::arch::global_asm;

use mote_abi::PAGE_SIZE;
use mote_abi::layout::{GDT, IDT, KERNEL_STACK_TOP, STUBS, TRAP_PAGE, TSS, port, selector};
use mote_abi::trap::TrapPage;
use vm_memory::{Bytes, VolatileSlice};

/// A table did not fit its page; a mistake in this file.
#[derive(Debug, thiserror::Error)]
#[error("the system pages do not fit their layout")]
pub struct DescriptorError;

/// Exceptions that have a stub. (SDM Vol. 3A table 7-1; 9, 15 and 20 on are not raised here)
const VECTORS: usize = 20;
/// Bytes from one stub to the next.
const STUB_STRIDE: u64 = 16;

// Each stub pushes an error code where the CPU pushes none, then its vector. The common part stores what the CPU
// pushed and returns to the handler in ring 3. Plain integer instructions only: where KVM emulates ring 0 its
// emulator knows little more. The absolute addresses are those of the trap page, below 2 GiB, so that a 32-bit
// displacement reaches it. (SDM Vol. 3A 7.12, 7.14)
global_asm!(
    ".pushsection .rodata.mote_stubs, \"a\"",
    ".balign 16",
    ".globl mote_stubs_start",
    ".globl mote_stubs_end",
    "mote_stubs_start:",
    ".set vector, 0",
    ".rept {vectors}",
    ".balign {stride}",
    // 8, 10 to 14 and 17 push an error code.
    ".if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17)",
    ".else",
    "push 0",
    ".endif",
    "push vector",
    "jmp 2f",
    ".set vector, vector + 1",
    ".endr",
    ".balign {stride}",
    "2:",
    "mov [{page} + {rax}], rax",
    "pop rax",
    "mov [{page} + {vector}], rax",
    "pop rax",
    "mov [{page} + {error}], rax",
    "mov rax, [rsp]",
    "mov [{page} + {rip}], rax",
    "mov rax, [rsp + 16]",
    "mov [{page} + {rflags}], rax",
    "mov rax, [rsp + 24]",
    "mov [{page} + {sp}], rax",
    "mov rax, cr2",
    "mov [{page} + {cr2}], rax",
    "mov rax, [{page} + {stack}]",
    "mov [rsp + 24], rax",
    "mov rax, [{page} + {handler}]",
    "mov [rsp], rax",
    "mov rax, [{page} + {rax}]",
    "iretq",
    "mote_stubs_end:",
    ".popsection",
    vectors = const VECTORS,
    stride = const STUB_STRIDE,
    page = const TRAP_PAGE,
    handler = const std::mem::offset_of!(TrapPage, handler),
    stack = const std::mem::offset_of!(TrapPage, stack),
    vector = const std::mem::offset_of!(TrapPage, vector),
    error = const std::mem::offset_of!(TrapPage, error),
    cr2 = const std::mem::offset_of!(TrapPage, cr2),
    rip = const std::mem::offset_of!(TrapPage, rip),
    sp = const std::mem::offset_of!(TrapPage, rsp),
    rflags = const std::mem::offset_of!(TrapPage, rflags),
    rax = const std::mem::offset_of!(TrapPage, rax),
);

unsafe extern "C" {
    static mote_stubs_start: u8;
    static mote_stubs_end: u8;
}

fn stubs() -> &'static [u8] {
    let start = &raw const mote_stubs_start;
    let end = &raw const mote_stubs_end;
    // SAFETY: both symbols delimit one run of constant bytes in this executable.
    unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
}

/// A code segment of long mode: present, type execute/read/accessed. (SDM Vol. 3A 3.4.5, 5.2.1)
const fn code_segment(dpl: u64) -> u64 {
    (1 << 53) | (1 << 47) | (dpl << 45) | (1 << 44) | (0xb << 40)
}

/// A data segment: present, type read/write/accessed, 4 GiB.
const fn data_segment(dpl: u64) -> u64 {
    (0xf << 48) | (1 << 55) | (1 << 54) | (1 << 47) | (dpl << 45) | (1 << 44) | (0x3 << 40) | 0xffff
}

/// Offset of the I/O permission bitmap in the TSS, behind its 104 fixed bytes. (SDM Vol. 3A figure 9-11)
const IO_MAP: u64 = 104;
/// Bytes of bitmap: ports up to the calls' and one byte of ones at the end, as the architecture wants.
/// (SDM Vol. 1 20.5.2)
const IO_MAP_LEN: usize = port::CALL as usize / 8 + 2;
/// Limit of the TSS segment.
pub(super) const TSS_LIMIT: u64 = IO_MAP + IO_MAP_LEN as u64 - 1;
/// Limit of the GDT: nine entries, the TSS taking two.
pub(super) const GDT_LIMIT: u16 = 9 * 8 - 1;
/// Limit of the IDT.
#[allow(clippy::cast_possible_truncation, reason = "20 gates of 16 bytes")]
pub(super) const IDT_LIMIT: u16 = (VECTORS * 16) as u16 - 1;

/// Writes GDT, TSS, IDT and stubs into `system`, the guest-physical memory from address 0 on.
///
/// # Errors
/// [`DescriptorError`] if the layout is wrong.
pub fn write_system_pages(system: &VolatileSlice<'_>) -> Result<(), DescriptorError> {
    let put = |at: u64, bytes: &[u8]| {
        let at = usize::try_from(at).map_err(|_| DescriptorError)?;
        system.write_slice(bytes, at).map_err(|_| DescriptorError)
    };
    let put_words = |at: u64, words: &[u64]| {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        put(at, &bytes)
    };

    // A busy 64-bit TSS of DPL 0. (SDM Vol. 3A figure 9-4)
    let tss_low = (TSS_LIMIT & 0xffff)
        | ((TSS & 0xff_ffff) << 16)
        | (0xb << 40)
        | (1 << 47)
        | ((TSS_LIMIT >> 16) << 48)
        | ((TSS >> 24 & 0xff) << 56);
    let mut gdt = [0u64; 9];
    for (sel, descriptor) in [
        (selector::KERNEL_CODE, code_segment(0)),
        (selector::USER_DATA, data_segment(3)),
        (selector::USER_CODE, code_segment(3)),
        (selector::TSS, tss_low),
        (selector::TSS + 8, TSS >> 32),
    ] {
        gdt[usize::from(sel >> 3)] = descriptor;
    }
    put_words(GDT, &gdt)?;

    put(TSS + 4, &KERNEL_STACK_TOP.to_le_bytes())?;
    put(TSS + 102, &IO_MAP.to_le_bytes()[..2])?;
    let mut bitmap = [0xff_u8; IO_MAP_LEN];
    for open in [port::DOORBELL, port::CALL] {
        bitmap[usize::from(open / 8)] &= !(1 << (open % 8));
    }
    put(TSS + IO_MAP, &bitmap)?;

    // Interrupt gates to the stubs; ring 3 may not raise them by INT (DPL 0). (SDM Vol. 3A 7.14.1)
    let mut idt = Vec::with_capacity(2 * VECTORS);
    for vector in 0..VECTORS as u64 {
        let stub = STUBS + vector * STUB_STRIDE;
        let code = u64::from(selector::KERNEL_CODE);
        idt.push((stub & 0xffff) | (code << 16) | (0x8e << 40) | ((stub >> 16 & 0xffff) << 48));
        idt.push(stub >> 32);
    }
    put_words(IDT, &idt)?;
    put(STUBS, stubs())
}

const _: () = assert!(TSS + TSS_LIMIT < GDT + PAGE_SIZE);
const _: () = assert!(TSS >= GDT + 9 * 8);
const _: () = assert!(KERNEL_STACK_TOP <= TRAP_PAGE && TRAP_PAGE < 1 << 31);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_fit_their_page_and_stride() {
        assert!(stubs().len() as u64 <= PAGE_SIZE);
        assert!(stubs().len() as u64 > VECTORS as u64 * STUB_STRIDE);
        // push imm8 0; push imm8 0; jmp: the stub of #DE, which has no error code.
        assert_eq!(stubs()[..4], [0x6a, 0, 0x6a, 0]);
        // #PF pushes its own error code.
        assert_eq!(stubs()[14 * 16..14 * 16 + 2], [0x6a, 14]);
    }

    #[test]
    fn only_the_two_ports_are_open() {
        let mem = crate::memory::Reservation::new(1 << 21).unwrap();
        let system = mem.slice(0, 0x6000).unwrap();
        write_system_pages(&system).unwrap();
        let at = usize::try_from(TSS + IO_MAP).unwrap();
        let mut bitmap = [0; IO_MAP_LEN];
        system.read_slice(&mut bitmap, at).unwrap();
        let open: Vec<usize> = (0..bitmap.len() * 8)
            .filter(|p| bitmap[p / 8] & (1 << (p % 8)) == 0)
            .collect();
        assert_eq!(open, [usize::from(port::DOORBELL), usize::from(port::CALL)]);
        assert_eq!(bitmap.last(), Some(&0xff));
    }
}
