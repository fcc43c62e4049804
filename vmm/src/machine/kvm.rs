//! The machine on KVM.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

use kvm_bindings::{
    CpuId, KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS, kvm_ioeventfd, kvm_userspace_memory_region, kvm_xcrs,
};
use kvm_ioctls::{Kvm, SyncReg, VcpuExit, VcpuFd, VmFd};
use mote_abi::cpu::Features;
use mote_abi::layout::port;

use super::cpu::{cpuid_of, registers, special_registers, xcr0_of};
use super::{Cpu, Exit, Kicker, Machine, MachineError};

/// CPUID entries that KVM is asked for at most.
const CPUID_ENTRIES: usize = 256;

/// A KVM VM with one vCPU.
#[derive(Debug)]
pub struct KvmMachine {
    // The order matters: the vCPU is dropped first.
    vcpu: Option<VcpuFd>,
    vm: VmFd,
    kvm: Kvm,
    slots: u32,
    kicker: Option<Kicker>,
}

fn refused(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> MachineError {
    move |e| MachineError::Kvm {
        what,
        source: io::Error::from_raw_os_error(e.errno()),
    }
}

impl KvmMachine {
    /// Creates a VM by the open `/dev/kvm`.
    ///
    /// # Errors
    /// KVM's refusal.
    pub fn new(kvm: OwnedFd) -> Result<KvmMachine, MachineError> {
        // SAFETY: the descriptor is owned, open and given away; that it is KVM's shows at the first ioctl.
        let kvm = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) };
        let vm = kvm.create_vm().map_err(refused("KVM_CREATE_VM"))?;
        Ok(KvmMachine {
            vcpu: None,
            vm,
            kvm,
            slots: 0,
            kicker: None,
        })
    }

    /// CPUID entries for a vCPU that is to see everything: what KVM says it supports. Where KVM cannot intercept CPUID,
    /// ring 3 sees more than that.
    fn everything(&self) -> Result<CpuId, MachineError> {
        self.kvm
            .get_supported_cpuid(CPUID_ENTRIES)
            .map_err(refused("KVM_GET_SUPPORTED_CPUID"))
    }

    fn set_cpu(&self, vcpu: &VcpuFd, cpu: Cpu) -> Result<bool, MachineError> {
        let (cpuid, xcr0) = match cpu {
            Cpu::Everything => (self.everything()?, None),
            Cpu::Features(features) => (cpuid_list(features)?, xcr0_of(features)),
        };
        vcpu.set_cpuid2(&cpuid).map_err(refused("KVM_SET_CPUID2"))?;
        let Some(xcr0) = xcr0 else { return Ok(false) };
        let mut xcrs = kvm_xcrs {
            nr_xcrs: 1,
            ..Default::default()
        };
        xcrs.xcrs[0].value = xcr0;
        vcpu.set_xcrs(&xcrs).map_err(refused("KVM_SET_XCRS"))?;
        Ok(true)
    }
}

fn cpuid_list(features: Features) -> Result<CpuId, MachineError> {
    let entries = cpuid_of(features);
    CpuId::from_entries(&entries).map_err(|_| MachineError::Cpuid(entries.len()))
}

impl Machine for KvmMachine {
    unsafe fn add_memory(&mut self, gpa: u64, host: *mut u8, len: u64) -> Result<(), MachineError> {
        let region = kvm_userspace_memory_region {
            slot: self.slots,
            flags: 0,
            guest_phys_addr: gpa,
            memory_size: len,
            userspace_addr: host as u64,
        };
        // SAFETY: the caller keeps the host range mapped and treats it as volatile memory.
        unsafe { self.vm.set_user_memory_region(region) }.map_err(refused("KVM_SET_USER_MEMORY_REGION"))?;
        self.slots += 1;
        Ok(())
    }

    fn add_doorbell(&mut self, port: u8, event: RawFd) -> Result<(), MachineError> {
        /// KVM_IOEVENTFD_FLAG_PIO (KVM API 4.59)
        const PIO: u32 = 2;
        // A one-byte `out` of any value: without DATAMATCH KVM ignores what is written.
        let request = kvm_ioeventfd {
            addr: u64::from(port),
            len: 1,
            fd: event,
            flags: PIO,
            ..Default::default()
        };
        ioctl(&self.vm, KVM_IOEVENTFD, &raw const request)
            .map(drop)
            .map_err(|source| MachineError::Kvm {
                what: "KVM_IOEVENTFD",
                source,
            })
    }

    fn create_vcpu(&mut self, cpu: Cpu, rip: u64, rsp: u64, argument: u64) -> Result<(), MachineError> {
        let mut vcpu = self.vm.create_vcpu(0).map_err(refused("KVM_CREATE_VCPU"))?;
        let xsave = self.set_cpu(&vcpu, cpu)?;
        // Registers travel in `kvm_run`: two vCPU loads fewer than KVM_SET_SREGS and KVM_SET_REGS. (KVM API 5,
        // KVM_CAP_SYNC_REGS)
        let sync = vcpu.sync_regs_mut();
        sync.regs = registers(rip, rsp, argument);
        sync.sregs = special_registers(xsave);
        vcpu.set_sync_dirty_reg(SyncReg::Register);
        vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
        const { assert!(KVM_SYNC_X86_REGS != 0 && KVM_SYNC_X86_SREGS != 0) };
        self.vcpu = Some(vcpu);
        Ok(())
    }

    fn run(&mut self) -> Result<Exit, MachineError> {
        let Some(vcpu) = &mut self.vcpu else {
            let source = io::Error::from_raw_os_error(libc::ENXIO);
            return Err(MachineError::Kvm {
                what: "KVM_RUN without a vCPU",
                source,
            });
        };
        match vcpu.run() {
            Ok(VcpuExit::IoOut(p, _)) if p == u16::from(port::CALL) => Ok(Exit::Call),
            Ok(VcpuExit::IoOut(p, _)) if p == u16::from(port::DOORBELL) => Ok(Exit::Doorbell),
            Ok(VcpuExit::Intr) => Ok(Exit::Interrupted),
            Ok(other) => {
                let text = format!("{other:?}");
                Ok(Exit::Failed(describe(vcpu, text)))
            }
            Err(e) if e.errno() == libc::EINTR || e.errno() == libc::EAGAIN => {
                vcpu.set_kvm_immediate_exit(0);
                Ok(Exit::Interrupted)
            }
            Err(e) => Err(refused("KVM_RUN")(e)),
        }
    }

    fn kicker(&mut self) -> Kicker {
        let flag = match &mut self.vcpu {
            Some(vcpu) => &raw mut vcpu.get_kvm_run().immediate_exit,
            None => ptr::null_mut(),
        };
        self.kicker.get_or_insert_with(|| Kicker::new(flag)).clone()
    }

    fn tsc_khz(&self) -> u64 {
        self.vcpu
            .as_ref()
            .and_then(|vcpu| vcpu.get_tsc_khz().ok())
            .map_or(0, u64::from)
    }

    fn emulated_instructions(&self) -> Option<u64> {
        super::stats::counter(self.vcpu.as_ref()?.as_raw_fd(), "insn_emulation")
    }
}

/// The exit with where it happened, for the error that ends the VM.
fn describe(vcpu: &VcpuFd, exit: String) -> String {
    match (vcpu.get_regs(), vcpu.get_sregs()) {
        (Ok(regs), Ok(sregs)) => format!(
            "{exit} at rip {:#x}, rsp {:#x}, cs {:#x}, cr2 {:#x}",
            regs.rip, regs.rsp, sregs.cs.selector, sregs.cr2
        ),
        _ => exit,
    }
}

impl Drop for KvmMachine {
    fn drop(&mut self) {
        if let Some(kicker) = &self.kicker {
            kicker.disarm();
        }
    }
}

/// `_IOW(KVMIO, 0x79, struct kvm_ioeventfd)` (KVM API 4.59)
const KVM_IOEVENTFD: u64 = 0x4040_ae79;
const _: () = assert!(size_of::<kvm_ioeventfd>() == 0x40);

fn ioctl<T>(fd: &impl AsRawFd, request: u64, argument: *const T) -> io::Result<i32> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "an ioctl request has 32 bits"
    )]
    let request = request as libc::Ioctl;
    // SAFETY: the request reads one `T`, which the caller's pointer is valid for.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
