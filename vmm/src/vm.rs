//! Builds a VM: lays out memory, then makes the hypervisor's calls.
//!
//! All that needs no hypervisor comes first, so that the calls follow each other without a gap.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use mote_abi::boot::{BootPage, grant};
use mote_abi::code::{Header, HeaderError, Kind, PAYLOAD_OFFSET};
use mote_abi::cpu::Features;
use mote_abi::layout::{
    ARGS, ARGS_MAX, BOOT_PAGE, CODE, CODE_GPA, CODE_MAX, DATA_END, DATA_GPA, DATA_GVA, DATA_SEGMENT, GDT,
    IDT, KERNEL_STACK_TOP, MMAP_START, RODATA, STACK_TOP, STUBS, SYSTEM_END, TEXT, TRAP_PAGE,
};
use mote_abi::{LARGE_PAGE_SIZE, PAGE_SIZE, boot};
use mote_config::{Limits, Network, Preopen};
use vm_memory::{Bytes, VolatileSlice};

use crate::image::IMAGE;
use crate::machine::{Cpu, DescriptorError, KvmMachine, Machine, MachineError, write_system_pages};
use crate::memory::{Access, MemoryError, Reservation, Space, SpaceError};

/// Memory that the hypervisor is told of at first, beyond what is laid out at start; more follows when it is needed.
/// A memslot's size costs time and kernel memory even if nothing in it is touched.
const FIRST_FRAMES: u64 = 32 << 20;
/// Where a program's first linear memory will be: `wasmtime_mmap_new` gives out address space from the start, and
/// Wasmtime puts a guard before the memory. The guest checks, so a wrong guess costs an exit and nothing else.
const FIRST_MEMORY: u64 = MMAP_START + mote_abi::GUARD_SIZE;
/// Largest first linear memory that is mapped ahead.
const PREMAP_MAX: u64 = 64 << 20;
/// What of stack and heap is touched in any run, filled ahead: page faults by the guest cost more. In bytes.
const STACK_FILL: u64 = 16 << 10;
const HEAP_FILL: u64 = 64 << 10;

/// Why a VM could not be built.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    #[error("the code file is refused: {0}; remove it from the cache and it is compiled again")]
    Code(#[from] HeaderError),
    #[error("cannot read the code file: {0}")]
    CodeFile(#[source] io::Error),
    #[error("the code file holds {0} bytes of code, {CODE_MAX} are supported")]
    CodeSize(u64),
    #[error("arguments and environment take {0} bytes, {ARGS_MAX} are supported; pass less")]
    Args(u64),
    #[error(
        "the memory limit of {limit} bytes is less than the {need} bytes that a program starts with; raise it"
    )]
    Limit { limit: u64, need: u64 },
    #[error("cannot create an event descriptor: {0}")]
    Event(#[source] io::Error),
    #[error("the host has no entropy: {0}")]
    Entropy(#[source] io::Error),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Space(#[from] SpaceError),
    #[error(transparent)]
    Descriptors(#[from] DescriptorError),
    #[error("the layout of guest memory is wrong at {0:#x}")]
    Layout(u64),
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// What a VM is to run.
#[derive(Debug)]
pub struct Program<'a> {
    pub code: &'a File,
    pub args: &'a [String],
    pub env: &'a [(String, String)],
    pub memory_limit: u64,
    /// Guest paths of the preopened directories.
    pub preopens: &'a [Preopen],
    pub network: &'a Network,
    /// The working directory that the program is told of.
    pub cwd: Option<&'a str>,
    pub limits: Limits,
    /// A component that is a command as well is to serve.
    pub serve: bool,
    pub log_prefix: bool,
    /// Bits 0 to 2: whether the program's descriptor is a terminal.
    pub terminals: u64,
}

/// Guest memory laid out, before any call to the hypervisor.
#[derive(Debug)]
pub struct Prepared {
    pub space: Space,
    /// Guest-physical memory that the hypervisor is to know at start.
    first_slot: u64,
    cpu: Cpu,
}

/// A VM that is ready to run. The machine goes first when it is dropped.
#[derive(Debug)]
pub struct Vm {
    pub machine: KvmMachine,
    pub space: Space,
}

impl Prepared {
    /// Lays out memory for a program.
    ///
    /// # Errors
    /// [`VmError`] for a code file that is refused, arguments that are too long, or a limit that is too small.
    pub fn program(program: &Program<'_>) -> Result<Prepared, VmError> {
        let header = read_header(program.code)?;
        let code_len = header.payload_len.next_multiple_of(PAGE_SIZE);
        let args = args_block(program)?;
        let args_len = (args.len() as u64).next_multiple_of(PAGE_SIZE);
        let args_gpa = (CODE_GPA + code_len).next_multiple_of(LARGE_PAGE_SIZE);
        let first_frame = (args_gpa + args_len).next_multiple_of(LARGE_PAGE_SIZE);

        let mut prepared = Prepared::base(
            first_frame,
            program.memory_limit,
            Cpu::Features(Features(header.features)),
        )?;
        let space = &mut prepared.space;
        map_code(space, program.code, &header)?;
        if args_len > 0 {
            space
                .memory()
                .slice(args_gpa, args_len)?
                .write_slice(&args, 0)
                .map_err(|_| VmError::Layout(args_gpa))?;
            space.map_fixed(ARGS, args_gpa, args_len, Access::Read)?;
        }
        let premap = premap(space, &header, program.memory_limit)?;
        let mut boot = boot_page(boot::mode::RUN);
        boot.kind = match Kind::from_raw(header.kind) {
            Some(Kind::CommandAndProxy) if program.serve => Kind::HttpProxy.to_raw(),
            Some(Kind::CommandAndProxy) => Kind::Component.to_raw(),
            _ => header.kind,
        };
        boot.code_len = header.payload_len;
        boot.features = header.features;
        (boot.premapped, boot.premapped_len) = premap;
        (boot.argc, boot.envc) = (count(program.args.len()), count(program.env.len()));
        boot.preopenc = count(program.preopens.len());
        boot.grants = grants(program);
        boot.args_len = args.len() as u64;
        boot.terminals = program.terminals;
        boot.limits = limits(program.limits);
        fill_entropy(&mut boot.entropy)?;
        prepared.write_boot(&boot)?;
        Ok(prepared)
    }

    /// Lays out memory for a run of the guest image without a program: [`boot::mode`].
    ///
    /// # Errors
    /// [`VmError`] if memory cannot be had.
    pub fn bare(mode: u64, features: Option<Features>) -> Result<Prepared, VmError> {
        let cpu = features.map_or(Cpu::Everything, Cpu::Features);
        let mut prepared = Prepared::base(CODE_GPA, FIRST_FRAMES, cpu)?;
        prepared.write_boot(&boot_page(mode))?;
        Ok(prepared)
    }

    /// System pages and the guest image.
    fn base(first_frame: u64, limit: u64, cpu: Cpu) -> Result<Prepared, VmError> {
        let mem = reserve(first_frame, limit)?;
        let first_slot = (first_frame + FIRST_FRAMES).min(mem.len());
        write_system_pages(&mem.slice(0, SYSTEM_END)?)?;
        // One huge page of the host under the one large page of the guest: most of a start's page faults are text.
        mem.advise(TEXT, LARGE_PAGE_SIZE, libc::MADV_HUGEPAGE);
        for (gpa, bytes) in [
            (TEXT, IMAGE.text),
            (RODATA, IMAGE.rodata),
            (data_gpa(DATA_SEGMENT), IMAGE.data),
        ] {
            copy(&mem.slice(gpa, bytes.len() as u64)?, bytes, gpa)?;
        }
        for (gpa, len) in [
            (KERNEL_STACK_TOP - PAGE_SIZE, 2 * PAGE_SIZE),
            (
                data_gpa(STACK_TOP - STACK_FILL),
                STACK_FILL + (IMAGE.end - STACK_TOP) + HEAP_FILL,
            ),
        ] {
            mem.advise(gpa, len, libc::MADV_POPULATE_WRITE);
        }

        if limit < LARGE_PAGE_SIZE {
            return Err(VmError::Limit {
                limit,
                need: LARGE_PAGE_SIZE,
            });
        }
        let mut space = Space::new(mem, first_frame, first_slot, limit);
        for (gva, gpa, len, access) in [
            (GDT, GDT, PAGE_SIZE, Access::SystemRead),
            (IDT, IDT, PAGE_SIZE, Access::SystemRead),
            (STUBS, STUBS, PAGE_SIZE, Access::SystemExecute),
            (
                KERNEL_STACK_TOP - PAGE_SIZE,
                KERNEL_STACK_TOP - PAGE_SIZE,
                PAGE_SIZE,
                Access::SystemWrite,
            ),
            (TRAP_PAGE, TRAP_PAGE, PAGE_SIZE, Access::Write),
            (TEXT, TEXT, LARGE_PAGE_SIZE, Access::Execute),
            (RODATA, RODATA, LARGE_PAGE_SIZE, Access::Read),
            (DATA_GVA, DATA_GPA, DATA_END - DATA_GVA, Access::Write),
        ] {
            space.map_fixed(gva, gpa, len, access)?;
        }
        Ok(Prepared {
            space,
            first_slot,
            cpu,
        })
    }

    fn write_boot(&mut self, boot: &BootPage) -> Result<(), VmError> {
        let page = self.space.memory().slice(data_gpa(BOOT_PAGE), PAGE_SIZE)?;
        write_value(&page, boot).ok_or(VmError::Layout(BOOT_PAGE))
    }

    /// What the hypervisor needs to know, apart from the memory.
    #[must_use]
    pub fn split(self) -> (Hardware, Space) {
        (
            Hardware {
                first_slot: self.first_slot,
                cpu: self.cpu,
            },
            self.space,
        )
    }
}

/// The machine that goes with a laid-out memory.
#[derive(Debug)]
pub struct Hardware {
    /// Guest-physical memory that the hypervisor is to know at start.
    first_slot: u64,
    cpu: Cpu,
}

impl Hardware {
    /// Makes the hypervisor's calls, up to the first KVM_RUN. `memory` must outlive the machine.
    ///
    /// # Errors
    /// [`VmError::Machine`] if the hypervisor refuses.
    pub fn create(self, memory: &Reservation, kvm: OwnedFd) -> Result<KvmMachine, VmError> {
        let mut machine = KvmMachine::new(kvm)?;
        let host = memory.host(0, self.first_slot)?;
        // SAFETY: the callers drop the machine before the memory, or end the process; guest memory is only accessed
        // through volatile slices.
        unsafe { machine.add_memory(0, host, self.first_slot)? };
        // As a call would leave it: the return address's place below an aligned stack. (System V ABI 3.2.2)
        machine.create_vcpu(self.cpu, IMAGE.entry, STACK_TOP - 8, BOOT_PAGE)?;
        Ok(machine)
    }
}

/// Guest-physical address of something in the data region.
#[must_use]
pub fn data_gpa(gva: u64) -> u64 {
    gva - DATA_GVA + DATA_GPA
}

fn read_header(code: &File) -> Result<Header, VmError> {
    use std::os::unix::fs::FileExt;
    let mut page = [0; mote_abi::code::HEADER_LEN];
    code.read_exact_at(&mut page, 0).map_err(VmError::CodeFile)?;
    let len = code.metadata().map_err(VmError::CodeFile)?.len();
    let header = Header::parse(&page, len)?;
    if header.payload_len > CODE_MAX {
        return Err(VmError::CodeSize(header.payload_len));
    }
    Ok(header)
}

/// Maps the payload: executable where its text is, readable elsewhere, writable nowhere.
fn map_code(space: &mut Space, code: &File, header: &Header) -> Result<(), VmError> {
    let len = header.payload_len.next_multiple_of(PAGE_SIZE);
    space.memory().map_file(CODE_GPA, len, code, PAYLOAD_OFFSET)?;
    let text_end = header.text_offset + header.text_len;
    for (from, to, access) in [
        (0, header.text_offset, Access::Read),
        (header.text_offset, text_end, Access::Execute),
        (text_end, len, Access::Read),
    ] {
        if from < to {
            space.map_fixed(CODE + from, CODE_GPA + from, to - from, access)?;
        }
    }
    Ok(())
}

/// Maps the program's first linear memory ahead, if its size is known.
fn premap(space: &mut Space, header: &Header, limit: u64) -> Result<(u64, u64), VmError> {
    let len = header.memory_min.next_multiple_of(PAGE_SIZE);
    if len == 0 || len > PREMAP_MAX || len > limit / 2 {
        return Ok((0, 0));
    }
    space.map(FIRST_MEMORY, len)?;
    Ok((FIRST_MEMORY, len))
}

/// Address space for any limit that the host could serve, as the limit may be raised while the program runs. It costs
/// nothing until it is used, but for a host that counts it (`vm.overcommit_memory` 2): there, what this limit takes.
fn reserve(first_frame: u64, limit: u64) -> Result<Reservation, MemoryError> {
    let len = |limit| first_frame.saturating_add(Space::frames(limit));
    let most = len(limit.max(host_memory()));
    Reservation::new(most).or_else(|_| Reservation::new(len(limit)))
}

/// Bytes of memory that the host has; 0 if it does not say.
fn host_memory() -> u64 {
    // SAFETY: takes no pointers.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    u64::try_from(pages).unwrap_or(0).saturating_mul(PAGE_SIZE)
}

fn boot_page(mode: u64) -> BootPage {
    BootPage {
        abi_version: mote_abi::VERSION,
        kind: 0,
        code_len: 0,
        features: 0,
        heap_start: IMAGE.end,
        premapped: 0,
        premapped_len: 0,
        argc: 0,
        envc: 0,
        args_len: 0,
        preopenc: 0,
        grants: 0,
        terminals: 0,
        mode,
        limits: boot::Limits::DEFAULT,
        entropy: [0; 256],
    }
}

fn limits(given: Limits) -> boot::Limits {
    let usual = boot::Limits::DEFAULT;
    boot::Limits {
        resources: given.resources.unwrap_or(usual.resources),
        random_bytes: given.random_bytes.unwrap_or(usual.random_bytes),
        http_fields: given.http_fields.unwrap_or(usual.http_fields),
    }
}

/// The boot page's word of what else was granted.
fn grants(program: &Program<'_>) -> u32 {
    let network = program.network;
    let bits = [
        (network.tcp, grant::TCP),
        (network.udp, grant::UDP),
        (network.name_lookup, grant::NAME_LOOKUP),
        (network.http, grant::HTTP),
        (program.log_prefix, grant::LOG_PREFIX),
    ];
    let marked = program.preopens.iter().take(16);
    let read_only = marked.enumerate().filter(|(_, p)| p.read_only);
    let word = read_only.fold(0, |word, (i, _)| {
        word | 1 << (grant::READ_ONLY_SHIFT as usize + i)
    });
    bits.iter()
        .filter(|(on, _)| *on)
        .fold(word, |word, (_, bit)| word | bit)
}

/// The texts of [`BootPage::argc`] and the counts behind it: each a length and its bytes.
fn args_block(program: &Program<'_>) -> Result<Vec<u8>, VmError> {
    let mut block = Vec::new();
    let mut put = |parts: &[&str]| {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        block.extend_from_slice(&count(len).to_le_bytes());
        parts.iter().for_each(|p| block.extend_from_slice(p.as_bytes()));
    };
    program.args.iter().for_each(|arg| put(&[arg]));
    program
        .env
        .iter()
        .for_each(|(name, value)| put(&[name, "=", value]));
    program.preopens.iter().for_each(|p| put(&[&p.guest]));
    put(&[&program.network.resolv_conf]);
    put(&[&program.network.hosts]);
    put(&[program.cwd.unwrap_or_default()]);
    let len = block.len() as u64;
    if len > ARGS_MAX {
        Err(VmError::Args(len))
    } else {
        Ok(block)
    }
}

/// A count or length as the ABI has it. What is too large for it is far beyond `ARGS_MAX` and refused there.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn fill_entropy(out: &mut [u8]) -> Result<(), VmError> {
    // SAFETY: the buffer is valid for its length.
    let got = unsafe { libc::getrandom(out.as_mut_ptr().cast(), out.len(), 0) };
    if usize::try_from(got) == Ok(out.len()) {
        Ok(())
    } else {
        Err(VmError::Entropy(io::Error::last_os_error()))
    }
}

fn copy(to: &VolatileSlice<'_>, bytes: &[u8], gpa: u64) -> Result<(), VmError> {
    to.write_slice(bytes, 0).map_err(|_| VmError::Layout(gpa))
}

/// Writes an ABI structure as the bytes that it is.
fn write_value(to: &VolatileSlice<'_>, value: &BootPage) -> Option<()> {
    // SAFETY: a boot page is integers without padding between them (`mote_abi::boot` asserts its offsets), so all of
    // its bytes are initialised.
    let bytes =
        unsafe { std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<BootPage>()) };
    to.write_slice(bytes, 0).ok()
}
