//! What KVM can do here.

use std::io;

use kvm_ioctls::{Cap, Kvm};

use super::Check;

const DEVICE: &str = "/dev/kvm";

/// The only version of the API that was ever stable. (Documentation/virt/kvm/api.rst, KVM_GET_API_VERSION)
const API_VERSION: i32 = 12;

/// Capabilities that the VMM builds on.
const NEEDED: &[(Cap, &str)] = &[
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::SyncRegs, "KVM_CAP_SYNC_REGS"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::Xcrs, "KVM_CAP_XCRS"),
    (Cap::Xsave, "KVM_CAP_XSAVE"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
];

pub(crate) fn checks() -> Vec<Check> {
    let kvm = match open() {
        Ok(kvm) => kvm,
        Err(check) => return vec![check],
    };
    let mut checks = vec![Check::ok(DEVICE, "can be opened")];
    let version = kvm.get_api_version();
    checks.push(if version == API_VERSION {
        Check::ok("KVM API", version.to_string())
    } else {
        Check::fail(
            "KVM API",
            version.to_string(),
            format!("a kernel with version {API_VERSION} is needed"),
        )
    });
    let lacking: Vec<&str> = NEEDED
        .iter()
        .filter(|(cap, _)| !kvm.check_extension(*cap))
        .map(|(_, name)| *name)
        .collect();
    checks.push(if lacking.is_empty() {
        Check::ok(
            "KVM capabilities",
            format!("all {} that Mote needs", NEEDED.len()),
        )
    } else {
        Check::fail(
            "KVM capabilities",
            format!("lacks {}", lacking.join(", ")),
            "a newer kernel is needed (5.10 or later)",
        )
    });
    checks.push(machine(&kvm));
    checks
}

fn open() -> Result<Kvm, Check> {
    Kvm::new().map_err(|e| match io::Error::from(e).kind() {
        io::ErrorKind::NotFound => Check::fail(
            DEVICE,
            "does not exist",
            "load the module (modprobe kvm_intel or kvm_amd); switch virtualisation on in the firmware or, in a virtual machine, nested virtualisation on its host",
        ),
        io::ErrorKind::PermissionDenied => Check::fail(
            DEVICE,
            "may not be opened by this user",
            "add the user to the group that owns it (usermod -aG kvm USER) and log in again",
        ),
        _ => Check::fail(DEVICE, format!("cannot be opened: {e}"), "look into the kernel's log (dmesg)"),
    })
}

fn machine(kvm: &Kvm) -> Check {
    const NAME: &str = "virtual machine";
    let made = kvm
        .create_vm()
        .and_then(|vm| vm.create_vcpu(0).map(|vcpu| (vm, vcpu)));
    match made {
        Ok(_) => Check::ok(NAME, "a machine with a processor can be made"),
        Err(e) => Check::fail(
            NAME,
            format!("cannot be made: {e}"),
            "look into the kernel's log (dmesg); another hypervisor may hold the processor's extensions",
        ),
    }
}
