//! The hypervisor behind a small trait: what Mote needs of one, and nothing else.

mod cpu;
mod descriptors;
mod kvm;
mod stats;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use mote_abi::cpu::Features;

pub use cpu::features_of;
pub use descriptors::{DescriptorError, write_system_pages};
pub use kvm::KvmMachine;

/// Why the vCPU stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest rang [`mote_abi::layout::port::CALL`].
    Call,
    /// The guest rang [`mote_abi::layout::port::DOORBELL`], and no eventfd is there to count it.
    Doorbell,
    /// A signal or [`Kicker::kick`] interrupted it.
    Interrupted,
    /// The guest cannot go on; the text says what the hypervisor reports.
    Failed(String),
}

/// Why the hypervisor refused.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("{what}: {source}; run `mote doctor` to see what the host lacks")]
    Kvm {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("KVM takes no more than {0} CPUID entries")]
    Cpuid(usize),
}

/// One VM with one vCPU.
pub trait Machine: Sized {
    /// Makes guest-physical memory `gpa`+`len` known, backed by host memory at `host`.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    ///
    /// # Safety
    /// The host range must stay mapped, and be accessed as volatile memory only, while the machine lives.
    unsafe fn add_memory(&mut self, gpa: u64, host: *mut u8, len: u64) -> Result<(), MachineError>;

    /// Lets the guest's writes to I/O port `port` count up the eventfd without an exit to user space.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    fn add_doorbell(&mut self, port: u8, event: RawFd) -> Result<(), MachineError>;

    /// Creates the vCPU, in ring 3 of long mode, about to execute `rip` with stack `rsp` and one argument.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    fn create_vcpu(&mut self, cpu: Cpu, rip: u64, rsp: u64, argument: u64) -> Result<(), MachineError>;

    /// Runs the vCPU until it stops.
    ///
    /// # Errors
    /// The hypervisor's refusal to run it.
    fn run(&mut self) -> Result<Exit, MachineError>;

    /// A handle by which another thread stops the vCPU.
    fn kicker(&mut self) -> Kicker;

    /// Rate of the TSC in kHz, 0 if the hypervisor does not know it.
    fn tsc_khz(&self) -> u64;

    /// How many instructions the hypervisor emulated for the vCPU so far, if it counts them.
    fn emulated_instructions(&self) -> Option<u64>;
}

/// What CPU the guest is to see.
#[derive(Clone, Copy, Debug)]
pub enum Cpu {
    /// All that the hypervisor can offer: to find out what ring 3 then sees.
    Everything,
    /// Just these features.
    Features(Features),
}

/// Stops a vCPU from another thread.
#[derive(Clone, Debug)]
pub struct Kicker {
    immediate_exit: Arc<AtomicPtr<u8>>,
    process: libc::pid_t,
    thread: libc::pid_t,
}

impl Kicker {
    /// A kicker for the calling thread, whose vCPU looks at `immediate_exit` when it is about to enter the guest.
    /// (KVM API 5, `struct kvm_run`)
    fn new(immediate_exit: *mut u8) -> Kicker {
        // SAFETY: neither call has preconditions.
        let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
        Kicker {
            immediate_exit: Arc::new(AtomicPtr::new(immediate_exit)),
            process,
            thread,
        }
    }

    /// Makes the vCPU stop now, or before it next enters the guest. The vCPU's thread must be alive.
    pub fn kick(&self) {
        let flag = self.immediate_exit.load(Ordering::Acquire);
        if flag.is_null() {
            return;
        }
        // SAFETY: the machine clears the pointer before it unmaps `kvm_run`, and the thread that owns the machine
        // joins no other before that; a byte store is atomic.
        unsafe { flag.write_volatile(1) };
        // SAFETY: plain numbers. The vCPU thread is the process's main thread and lives until the process ends; the
        // handler of the signal does nothing.
        unsafe { libc::syscall(libc::SYS_tgkill, self.process, self.thread, libc::SIGUSR1) };
    }

    fn disarm(&self) {
        self.immediate_exit.store(std::ptr::null_mut(), Ordering::Release);
    }
}
