//! Runs a conformance script instead of a program and tells how each directive ended.
//!
//! Standard output gets a line `failed NUMBER TEXT` for each directive that failed, then `done COUNT`. A VM that ends
//! without the last line died on the way.

use alloc::format;
use alloc::string::String;
use core::ptr::NonNull;

use mote_abi::boot::BootPage;
use mote_abi::ring::end;
use mote_script::{Compiled, Interpreter, LENGTH_BYTES, Modules, Script};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::entry::fail;
use crate::program::payload;
use crate::runtime::{size, traps};
use crate::vm;
use crate::vm::ring::Ring;
use crate::wasi::Stdio;

/// Runs the script and ends the VM.
pub(crate) fn run(engine: &Engine, boot: &'static BootPage) -> ! {
    // SAFETY: the payload stays mapped, read-only, for as long as the VM lives.
    let payload: &'static [u8] = unsafe { payload(boot).as_ref() };
    let Some(script) = script(payload) else {
        fail(format_args!("the payload is no script"));
    };
    let loader = Loader {
        engine,
        payload,
        modules: &script.modules,
    };
    let (mut ring, mut out) = (Ring::new(), Stdio::new(boot.terminals));
    let mut say = |line: String| {
        if let Err(errno) = out.write(&mut ring, 1, line.as_bytes()) {
            fail(format_args!("standard output: error {errno:?}"));
        }
    };
    let mut interpreter = match Interpreter::new(engine, loader, script.host) {
        Ok(interpreter) => interpreter,
        Err(error) => fail(format_args!("cannot define what scripts import: {error:?}")),
    };
    for (number, directive) in script.directives.iter().enumerate() {
        let outcome = interpreter.run(&directive.command);
        // A trap may have come through the handler.
        traps::handled();
        if let Err(text) = outcome {
            say(format!("failed {number} {}\n", text.replace('\n', " ")));
        }
    }
    say(format!("done {}\n", script.directives.len()));
    out.flush(&mut ring);
    vm::end(0, end::EXITED, &[])
}

fn script(payload: &[u8]) -> Option<Script> {
    let (length, rest) = payload.split_first_chunk::<LENGTH_BYTES>()?;
    let script = rest.get(..size(u64::from_le_bytes(*length)))?;
    Script::decode(script).ok()
}

struct Loader<'a> {
    engine: &'a Engine,
    payload: &'static [u8],
    modules: &'a [Compiled],
}

impl Loader<'_> {
    /// The code with this number. It is immutable and outlives what is made of it.
    fn code(&self, number: u32) -> wasmtime::Result<NonNull<[u8]>> {
        let (offset, len) = match self.modules.get(size(u64::from(number))) {
            Some(Compiled::Code { offset, len }) => (size(*offset), size(*len)),
            Some(Compiled::Refused(text)) => wasmtime::bail!("{text}"),
            None => wasmtime::bail!("the script has no module {number}"),
        };
        let code = offset
            .checked_add(len)
            .and_then(|end| self.payload.get(offset..end));
        match code {
            Some(code) => Ok(NonNull::from(code)),
            None => wasmtime::bail!("module {number} is not inside the payload"),
        }
    }
}

impl Modules for Loader<'_> {
    fn load(&mut self, number: u32) -> wasmtime::Result<Module> {
        let code = self.code(number)?;
        // SAFETY: the host program wrote there what its compiler made, with this project's settings. It is immutable
        // and outlives the module.
        unsafe { Module::deserialize_raw(self.engine, code) }
    }

    fn load_component(&mut self, number: u32) -> wasmtime::Result<Component> {
        let code = self.code(number)?;
        // SAFETY: as for a module.
        unsafe { Component::deserialize_raw(self.engine, code) }
    }
}
