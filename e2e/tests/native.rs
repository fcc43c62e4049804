//! Guest code runs on the processor, not in KVM's emulator.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mote_e2e::cli::Run;
use mote_e2e::{kvm, paths};

/// An emulated loop of this length would take minutes.
const TIMEOUT: [&str; 2] = ["--timeout", "120s"];

#[test]
fn emulated_instructions_do_not_grow_with_work() {
    if !kvm::ready() {
        return;
    }
    for program in ["probe-rust-p1", "probe-rust-p2"] {
        let emulated = |count: &str| {
            let (ran, stats) = Run::measured(&TIMEOUT, paths::program(program))
                .args(["loop", count])
                .stats();
            assert_eq!(ran.code, 0, "{program}: {ran:?}");
            assert!(ran.stdout.contains("result="), "{}", ran.stdout);
            stats.insn_emulation
        };
        let (few, many) = (emulated("100000000"), emulated("1000000000"));
        let (Some(few), Some(many)) = (few, many) else {
            // Kernels before 5.14 do not count, and say so by leaving it out.
            panic!("{program}: this kernel does not count emulated instructions");
        };
        assert!(
            few < 2000 && many < 2000,
            "{program}: {few} and {many} emulated instructions"
        );
        assert!(
            many <= few * 2 + 200,
            "{program}: {few} for 10^8 rounds, {many} for 10^9"
        );
    }
}

#[test]
fn the_phases_of_a_start_add_up() {
    if !kvm::ready() {
        return;
    }
    for program in ["hello-rust-p1", "hello-rust-p2"] {
        let (ran, stats) = Run::measured(&[], paths::program(program)).stats();
        assert_eq!(ran.code, 0, "{program}: {ran:?}");
        let parts = stats.vm_us + stats.entry_us + stats.runtime_us + stats.code_us + stats.instantiate_us;
        let whole = stats.cold_start_us;
        assert!(
            whole > 0.0 && (parts - whole).abs() < whole * 0.2 + 20.0,
            "{program}: {parts} of {whole}: {stats:?}"
        );
        assert!(stats.exits > 0 && stats.memory_peak > 0, "{program}: {stats:?}");
    }
}
