//! VMs without a program: the probe of CPU features and the floor of a start.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use mote_abi::PAGE_SIZE;
use mote_abi::boot::mode;
use mote_abi::cpu::Features;
use mote_abi::layout::{CONTROL_PAGE, port};
use mote_abi::ring::ControlPage;
use mote_vmm::device::clock;
use mote_vmm::machine::{Exit, Machine, features_of};
use mote_vmm::vm::{Prepared, Vm, VmError, data_gpa};
use vm_memory::Bytes;

/// Why a bare VM told nothing.
#[derive(Debug, thiserror::Error)]
enum BareError {
    #[error("cannot open /dev/kvm: {0}; run `mote doctor` to see what the host lacks")]
    Kvm(#[source] std::io::Error),
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error("the guest did not reach ring 3: {0:?}")]
    Exit(Exit),
}

/// Prints the CPU features that ring 3 of a VM sees.
pub(crate) fn probe() -> ExitCode {
    match features() {
        Ok(features) => {
            let names: Vec<&str> = features.iter().map(|f| f.name).collect();
            println!(
                "{}",
                serde_json::json!({"features": format!("{:#x}", features.0), "names": names})
            );
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &BareError) -> ExitCode {
    eprintln!("mote-vmm: {error}");
    ExitCode::FAILURE
}

fn features() -> Result<Features, BareError> {
    let mut vm = build(mode::PROBE, None)?;
    to_first_call(&mut vm)?;
    let control = vm.space.memory().slice(data_gpa(CONTROL_PAGE), PAGE_SIZE);
    let word = control
        .ok()
        .and_then(|page| {
            page.read_obj::<u64>(std::mem::offset_of!(ControlPage, probed_features))
                .ok()
        })
        .unwrap_or_default();
    Ok(features_of(word))
}

fn open_kvm() -> Result<OwnedFd, BareError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map(OwnedFd::from)
        .map_err(BareError::Kvm)
}

fn build(mode: u64, features: Option<Features>) -> Result<Vm, BareError> {
    let prepared = Prepared::bare(mode, features)?;
    let (hardware, space) = prepared.split();
    let machine = hardware.create(space.memory(), open_kvm()?)?;
    Ok(Vm { machine, space })
}

fn to_first_call(vm: &mut Vm) -> Result<(), BareError> {
    match vm.machine.run().map_err(VmError::from)? {
        Exit::Call => Ok(()),
        other => Err(BareError::Exit(other)),
    }
}

/// Prints what the bare KVM calls of a start cost in this process: a VM of the same memslot and CPUID, up to the
/// first exit from ring 3. `--floor 0xFEATURES` sets the CPUID.
pub(crate) fn floor() -> ExitCode {
    match measure() {
        Ok(us) => {
            println!("{}", serde_json::json!({"floor_us": us, "port": port::CALL}));
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn measure() -> Result<f64, BareError> {
    let word = std::env::args()
        .nth(2)
        .and_then(|w| u64::from_str_radix(w.trim_start_matches("0x"), 16).ok());
    let prepared = Prepared::bare(mode::FLOOR, Some(features_of(word.unwrap_or_default())))?;
    let kvm = open_kvm()?;
    let (hardware, space) = prepared.split();
    let before = clock::now(libc::CLOCK_MONOTONIC);
    let machine = hardware.create(space.memory(), kvm)?;
    let mut vm = Vm { machine, space };
    to_first_call(&mut vm)?;
    let after = clock::now(libc::CLOCK_MONOTONIC);
    #[allow(clippy::cast_precision_loss, reason = "a difference of nanoseconds")]
    Ok((after - before) as f64 / 1000.0)
}
