//! What Wasmtime itself does with the same steps, outside of any VM: found out in this process, or read from the
//! record of an earlier run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use mote_abi::cpu::Features;

use super::File;
use super::parse::Steps;

/// The record: `suite/file:line`, a tab, and what failed; for each directive that fails natively.
type Record = BTreeMap<String, String>;

pub(super) enum Reference {
    #[cfg(feature = "native")]
    Native(wasmtime::Engine),
    #[cfg_attr(
        feature = "native",
        allow(dead_code, reason = "nothing is read that is found out")
    )]
    Recorded(Record),
}

impl Reference {
    /// The reference for code that may use `features`. Without a record, nothing fails natively.
    ///
    /// # Errors
    /// If Wasmtime refuses the settings, or the record cannot be read.
    pub(super) fn new(features: Features, record: Option<&Path>) -> Result<Reference> {
        #[cfg(feature = "native")]
        {
            let _ = record;
            let mut config = mote_engine::config();
            mote_engine::compiler::optimize(&mut config, features);
            let engine = wasmtime::Engine::new(&config).map_err(|e| anyhow::anyhow!("{e:#}"))?;
            Ok(Reference::Native(engine))
        }
        #[cfg(not(feature = "native"))]
        {
            let _ = features;
            let record = record.map(read).transpose()?;
            Ok(Reference::Recorded(record.unwrap_or_default()))
        }
    }

    /// How each directive ends natively.
    ///
    /// # Errors
    /// If there is no interpreter at all.
    pub(super) fn run(&self, file: &File, steps: &Steps) -> Result<Vec<Result<(), String>>> {
        match self {
            #[cfg(feature = "native")]
            Reference::Native(engine) => {
                let _ = file;
                native(engine, steps)
            }
            Reference::Recorded(record) => Ok(steps
                .directives()
                .map(|d| match record.get(&super::at(file.suite, &file.name, d.line)) {
                    Some(text) => Err(text.clone()),
                    None => Ok(()),
                })
                .collect()),
        }
    }
}

#[cfg_attr(feature = "native", allow(dead_code, reason = "written, not read"))]
fn read(path: &Path) -> Result<Record> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(at, why)| (at.to_string(), why.to_string()))
        .collect())
}

/// Writes the record.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(path: &Path, failures: impl Iterator<Item = (String, String)>) -> Result<()> {
    let text: String = failures.map(|(at, why)| format!("{at}\t{why}\n")).collect();
    fs::write(path, text).with_context(|| path.display().to_string())
}

#[cfg(feature = "native")]
fn native(engine: &wasmtime::Engine, steps: &Steps) -> Result<Vec<Result<(), String>>> {
    use mote_script::{Interpreter, Modules};
    use wasmtime::component::Component;
    use wasmtime::{Engine, Error, Module};

    struct Compile<'a>(&'a Engine, &'a [Result<Vec<u8>, String>]);

    impl Compile<'_> {
        fn binary(&self, number: u32) -> wasmtime::Result<&[u8]> {
            match usize::try_from(number).ok().and_then(|n| self.1.get(n)) {
                Some(Ok(wasm)) => Ok(wasm),
                Some(Err(text)) => Err(Error::msg(text.clone())),
                None => Err(Error::msg("no such module")),
            }
        }
    }

    impl Modules for Compile<'_> {
        fn load(&mut self, number: u32) -> wasmtime::Result<Module> {
            Module::from_binary(self.0, self.binary(number)?)
        }

        fn load_component(&mut self, number: u32) -> wasmtime::Result<Component> {
            Component::from_binary(self.0, self.binary(number)?)
        }
    }

    let modules = Compile(engine, &steps.modules);
    let mut interpreter =
        Interpreter::new(engine, modules, steps.host).map_err(|e| anyhow::anyhow!("{e:#}"))?;
    Ok(steps.directives().map(|d| interpreter.run(&d.command)).collect())
}
