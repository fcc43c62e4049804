//! The compiler's side: which machine the code is for.

use mote_abi::cpu::Features;
use wasmtime::{Config, OptLevel, Result};

/// The version of Wasmtime that this is built with; a test of `mote-compile` compares it with `Cargo.lock`.
pub const WASMTIME: &str = "48.0.8";

/// What the guest runs on: no operating system below it.
const TARGET: &str = "x86_64-unknown-none";

/// The settings of an engine that compiles for guests that have `features`.
///
/// # Errors
/// If Cranelift does not know the target.
pub fn config(features: Features) -> Result<Config> {
    let mut config = crate::config();
    // Naming a target, even the host's own, turns the inference of CPU features off: the features come from the
    // probe VM, not from where the compiler happens to run.
    config.target(TARGET)?;
    optimize(&mut config, features);
    Ok(config)
}

/// Cranelift's settings alone, for a compiler whose target is its own host.
#[allow(unsafe_code, reason = "two settings of Wasmtime that it cannot check itself")]
pub fn optimize(config: &mut Config, features: Features) {
    config.cranelift_opt_level(OptLevel::Speed);
    for feature in features.iter() {
        // SAFETY: the flags make code use instructions that the caller found in a probe VM of this node, and whoever
        // runs the code compares them with the features of its own machine before.
        unsafe { config.cranelift_flag_enable(feature.cranelift) };
    }
    // SAFETY: the check guards against host and code passing floats differently. Neither side passes any: the
    // required features leave no float operation to a library call. (Config::x86_float_abi_ok)
    unsafe { config.x86_float_abi_ok(true) };
}
