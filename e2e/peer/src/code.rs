//! The code that `mote-compile` made, loaded into a process of Linux.

use std::fs;

use mote_abi::code::{Header, Kind, PAYLOAD_OFFSET};
use wasmtime::component::Component;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Module, Result, bail, ensure, format_err};

/// The target that the code says it is for, as Wasmtime's metadata spell it, and one of the same length that is
/// Linux. Wasmtime compares architecture and operating system; between these two targets its code does not differ:
/// calls follow the System V ABI on both.
const FOR_GUEST: &[u8] = b"x86_64-unknown-none";
const FOR_LINUX: &[u8] = b"x86_64-pc-linux-gnu";
const _: () = assert!(FOR_GUEST.len() == FOR_LINUX.len());

/// A loaded program.
pub(crate) enum Program {
    Module(Module),
    /// A command or an HTTP server.
    Component(Component),
}

/// An engine with the settings of Mote's guest.
pub(crate) fn engine() -> Result<Engine> {
    Engine::new(&mote_engine::config())
}

/// The program in a code file.
pub(crate) fn load(engine: &Engine, path: &str) -> Result<Program> {
    let mut file = fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let header = Header::parse(&file, file.len() as u64).with_context(|| path.to_string())?;
    let payload = &mut file[PAYLOAD_OFFSET as usize..];
    name_linux(payload)?;
    // SAFETY: the payload is what this project's compiler wrote, for the features of a guest on this machine, which
    // are no more than the machine's own.
    unsafe {
        match Kind::from_raw(header.kind) {
            Some(Kind::Module) => Module::deserialize(engine, payload).map(Program::Module),
            Some(Kind::Component | Kind::HttpProxy | Kind::CommandAndProxy) => {
                Component::deserialize(engine, payload).map(Program::Component)
            }
            Some(Kind::Script) | None => bail!("{path} is of kind {}", header.kind),
        }
    }
}

/// Puts Linux into the one place that names the target.
fn name_linux(payload: &mut [u8]) -> Result<()> {
    let places: Vec<usize> = payload
        .windows(FOR_GUEST.len())
        .enumerate()
        .filter(|(_, window)| *window == FOR_GUEST)
        .map(|(at, _)| at)
        .collect();
    // A program may have the same words among its own data: the metadata's stand behind their length, and behind
    // them comes the list of settings.
    let mut metadata = places.iter().filter(|at| {
        at.checked_sub(1)
            .is_some_and(|before| usize::from(payload[before]) == FOR_GUEST.len())
    });
    let at = *metadata
        .next()
        .ok_or_else(|| format_err!("the code does not say what it is for"))?;
    ensure!(
        metadata.next().is_none(),
        "the code says more than once what it is for"
    );
    payload[at..at + FOR_LINUX.len()].copy_from_slice(FOR_LINUX);
    Ok(())
}
