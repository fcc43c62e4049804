//! The code that runs in the guest, run in a plain process: the floor for compute.
//!
//! A code file of `mote-compile` is machine code for x86-64 like any other. One function of it, which touches neither
//! memory nor imports, is mapped into this process and called.

use std::arch::naked_asm;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use mote_abi::code::{Header, PAYLOAD_OFFSET};
use object::{Object, ObjectSymbol};

use crate::paths;

/// Rounds of the loop.
pub const ROUNDS: u64 = 1_000_000_000;

/// A loop that cannot be shortened: each round needs the one before. Its function 0 takes the number of rounds.
const LOOP: &str = r#"(module
  (memory (export "memory") 1)
  (func $loop (param $n i64) (result i64) (local $x i64)
    (loop $again
      (local.set $x (i64.xor
        (i64.mul (local.get $x) (i64.const 6364136223846793005))
        (local.get $n)))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br_if $again (i64.ne (local.get $n) (i64.const 0))))
    (local.get $x))
  (func (export "_start")
    (i64.store (i32.const 0) (call $loop (i64.const 1000000000)))))"#;

/// Writes the loop as a Wasm file.
///
/// # Errors
/// If it cannot be written.
pub fn write_loop(to: &Path) -> Result<()> {
    fs::write(to, wat::parse_str(LOOP)?).context("the loop")
}

/// CPU features of a guest here, as `mote-vmm --probe` has them.
///
/// # Errors
/// If the probe does not answer.
pub fn features() -> Result<String> {
    let output = Command::new(paths::bin("mote-vmm"))
        .arg("--probe")
        .stdin(Stdio::null())
        .output()?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("mote-vmm --probe")?;
    Ok(answer["features"].as_str().context("no features")?.to_owned())
}

/// The loop as `mote-compile` makes it for these features, ready to be called.
#[derive(Debug)]
pub struct Native {
    base: *mut libc::c_void,
    len: usize,
    function: usize,
}

impl Native {
    /// Compiles the Wasm file and maps its code.
    ///
    /// # Errors
    /// If it does not compile or is laid out otherwise than the guest expects.
    pub fn compile(wasm: &Path, features: &str) -> Result<Native> {
        let file = wasm.with_extension("mote");
        let status = Command::new(paths::bin("mote-compile"))
            .args(["--features", features])
            .stdin(File::open(wasm)?)
            .stdout(File::create(&file)?)
            .status()?;
        ensure!(status.success(), "mote-compile: {status}");
        let bytes = fs::read(&file)?;
        let header = Header::parse(&bytes, bytes.len() as u64)?;
        let payload = bytes
            .get(usize::try_from(PAYLOAD_OFFSET)?..)
            .context("no payload")?;
        let elf = object::File::parse(payload)?;
        let symbol = elf
            .symbols()
            .find(|s| {
                s.name()
                    .is_ok_and(|name| name.starts_with("wasm[0]::function[0]"))
            })
            .context("no symbol of function 0")?;
        let len = usize::try_from(header.text_len)?;
        let opened = File::open(&file)?;
        // SAFETY: a new private mapping at an address of the kernel's choosing.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE,
                opened.as_raw_fd(),
                libc::off_t::try_from(PAYLOAD_OFFSET + header.text_offset)?,
            )
        };
        ensure!(base != libc::MAP_FAILED, "cannot map the code");
        // Symbols of a relocatable-like image count from the start of their section.
        Ok(Native {
            base,
            len,
            function: base as usize + usize::try_from(symbol.address())?,
        })
    }

    /// Runs the loop; microseconds.
    #[must_use]
    pub fn run(&self) -> f64 {
        // The function may look up its stack limit through its context: every word leads to a page of zeroes.
        let zeroes = [0_u64; 512];
        let context = [zeroes.as_ptr() as u64; 512];
        let before = Instant::now();
        // SAFETY: the function is this project's own loop: it takes its context twice and a number, reads at most
        // the context, and calls nothing.
        std::hint::black_box(unsafe { call(context.as_ptr(), self.function, ROUNDS) });
        before.elapsed().as_secs_f64() * 1e6
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mapping, and nothing runs in it now.
        unsafe { libc::munmap(self.base, self.len) };
    }
}

/// Calls a Wasm function (callee's context, caller's context, argument). Its convention may overwrite every register,
/// so those that belong to the caller are kept here. (Cranelift's `tail` calling convention)
#[unsafe(naked)]
unsafe extern "C" fn call(context: *const u64, function: usize, rounds: u64) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov rax, rsi",
        "mov rsi, rdi",
        "call rax",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}
