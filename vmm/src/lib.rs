//! The micro-VM: KVM, memory, rings, devices and the jail around them.
//!
//! [`vm::Vm`] is one VM about to run one program; [`run::run`] runs it to its end. [`memory`] is guest memory,
//! [`machine`] the hypervisor, [`device`] what the guest's requests reach, [`jail`] what the process gives up first.

pub mod device;
pub mod image;
pub mod jail;
pub mod machine;
pub mod memory;
pub mod run;
pub mod vm;
