//! The same steps in a micro-VM: one for each file.

use std::fs::{self, File as Opened};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use mote_abi::PAGE_SIZE;
use mote_abi::code::{Header, Kind, MAGIC, PAYLOAD_OFFSET};
use mote_abi::cpu::Features;
use mote_config::{Exit, VmmConfig};
use mote_engine::compiler::WASMTIME;
use mote_launch::{Launch, Limits, Node};
use mote_script::{Compiled, LENGTH_BYTES, Script};
use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::File;
use super::engines::compile;
use super::parse::Steps;

/// Guest memory that a file may map: address space, of which little is touched.
const MEMORY: u64 = 32 << 30;
/// Wall-clock time for one file.
const TIMEOUT_MS: u64 = 120_000;

/// What starts VMs.
pub(super) struct Vms {
    node: Node,
    work: PathBuf,
    features: Features,
}

impl Vms {
    /// VMs of the `mote-vmm` in `bin`, with their files in `work`.
    ///
    /// # Errors
    /// If the VMM is missing or its probe does not answer.
    pub(super) fn new(bin: &Path, work: &Path) -> Result<Vms> {
        fs::create_dir_all(work).with_context(|| work.display().to_string())?;
        let node = Node::new(bin, work.join("node"), Limits::default())?;
        let output = Command::new(node.vmm()?)
            .arg("--probe")
            .stdin(Stdio::null())
            .output()?;
        let answer: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("the answer of mote-vmm --probe")?;
        let word = answer["features"]
            .as_str()
            .context("mote-vmm --probe names no features")?;
        let digits = word.strip_prefix("0x").context("features are not hexadecimal")?;
        Ok(Vms {
            node,
            work: work.to_path_buf(),
            features: Features(u64::from_str_radix(digits, 16)?),
        })
    }

    /// What guests here can do.
    pub(super) fn features(&self) -> Features {
        self.features
    }

    /// How each directive ends in a VM.
    ///
    /// # Errors
    /// If the VM cannot be started.
    pub(super) fn run(&self, file: &File, engine: &Engine, steps: &Steps) -> Result<Vec<Result<(), String>>> {
        let stem = format!("{}-{}", file.suite, file.name).replace(['/', ' '], "-");
        let path = |end: &str| self.work.join(format!("{stem}.{end}"));
        fs::write(path("mote"), self.code_file(engine, steps)?)?;
        let code = Opened::open(path("mote"))?;
        let config = VmmConfig::from_json(&serde_json::to_vec(&serde_json::json!({
            "version": mote_config::VERSION,
            "args": [file.name],
            "env": [],
            "memory_limit": MEMORY,
            "timeout_ms": TIMEOUT_MS,
        }))?)?;
        let exit = Launch::new(&self.node, &config, code.as_fd(), &file.name)
            .stdin(Opened::open("/dev/null")?)
            .stdout(Opened::create(path("out"))?)
            .stderr(Opened::create(path("err"))?)
            .die_with_parent(true)
            .spawn()?
            .wait()?;
        let said = fs::read_to_string(path("out"))?;
        let outcomes = outcomes(&said, steps.directives().count(), &exit);
        if outcomes.iter().all(Result::is_ok) {
            for end in ["mote", "out", "err"] {
                fs::remove_file(path(end))?;
            }
        }
        Ok(outcomes)
    }

    fn code_file(&self, engine: &Engine, steps: &Steps) -> Result<Vec<u8>> {
        let (payload, text_offset) = payload(engine, steps)?;
        let mut wasmtime = [0; 16];
        let version = WASMTIME.as_bytes();
        ensure!(version.len() <= wasmtime.len(), "Wasmtime's version is too long");
        wasmtime[..version.len()].copy_from_slice(version);
        let header = Header {
            magic: MAGIC,
            abi_version: mote_abi::VERSION,
            kind: Kind::Script.to_raw(),
            features: self.features.0,
            payload_len: payload.len() as u64,
            text_offset,
            text_len: payload.len() as u64 - text_offset,
            memory_min: 0,
            imports: 0,
            source_sha256: [0; 32],
            payload_sha256: Sha256::digest(&payload).into(),
            wasmtime,
        };
        let mut file = header.to_bytes().to_vec();
        file.resize(usize::try_from(PAYLOAD_OFFSET)?, 0);
        file.extend(payload);
        Ok(file)
    }
}

/// The payload, of whole pages, and where its first module is. From there on all of it may be executed: a header has
/// one range only.
fn payload(engine: &Engine, steps: &Steps) -> Result<(Vec<u8>, u64)> {
    let page = usize::try_from(PAGE_SIZE)?;
    let mut modules = Vec::new();
    let mut code = Vec::new();
    for module in &steps.modules {
        let compiled = match module {
            Ok(wasm) => compile(engine, wasm),
            Err(text) => Err(text.clone()),
        };
        modules.push(match compiled {
            Ok(bytes) => {
                let offset = code.len();
                code.extend(&bytes);
                code.resize(code.len().next_multiple_of(page), 0);
                Compiled::Code {
                    offset: offset as u64,
                    len: bytes.len() as u64,
                }
            }
            Err(text) => Compiled::Refused(text),
        });
    }
    let mut script = Script {
        modules,
        host: steps.host,
        directives: steps.directives().cloned().collect(),
    };
    // Offsets count from the start of the payload, and how long the script gets depends on them: room for it is what
    // it takes with the largest offsets.
    let shift = |script: &mut Script, by: u64| {
        for module in &mut script.modules {
            if let Compiled::Code { offset, .. } = module {
                *offset += by;
            }
        }
    };
    let most = 1 << 40;
    shift(&mut script, most);
    let room = (LENGTH_BYTES + script.encode()?.len()).next_multiple_of(page);
    shift(&mut script, (room as u64).wrapping_sub(most));
    let encoded = script.encode()?;
    let mut payload = (encoded.len() as u64).to_le_bytes().to_vec();
    payload.extend(encoded);
    ensure!(payload.len() <= room, "the script is longer than its room");
    payload.resize(room, 0);
    payload.extend(code);
    Ok((payload, room as u64))
}

/// Reads what the guest said: `failed NUMBER TEXT`, and `done COUNT` at the end.
fn outcomes(said: &str, count: usize, exit: &Exit) -> Vec<Result<(), String>> {
    let mut outcomes = vec![Ok(()); count];
    let mut done = false;
    for line in said.lines() {
        let mut words = line.splitn(3, ' ');
        let (word, number, text) = (words.next(), words.next(), words.next());
        let number = number.and_then(|n| n.parse::<usize>().ok());
        match (word, number) {
            (Some("failed"), Some(number)) => {
                if let Some(outcome) = outcomes.get_mut(number) {
                    *outcome = Err(text.unwrap_or_default().to_string());
                }
            }
            (Some("done"), Some(number)) => done = number == count,
            _ => {}
        }
    }
    if !done || exit.code != 0 {
        let why = exit.message.as_deref().unwrap_or("no message");
        let text = format!("the VM ended early with {} ({:?}): {why}", exit.code, exit.reason);
        outcomes.fill(Err(text));
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: u8) -> Exit {
        Exit {
            code,
            reason: mote_config::Reason::Exited,
            message: None,
            stats: mote_config::Stats::default(),
        }
    }

    #[test]
    fn a_vm_that_does_not_say_done_has_failed_everything() {
        let said = "failed 1 expected x\ndone 3\n";
        let outcome = outcomes(said, 3, &ended(0));
        assert_eq!(outcome, [Ok(()), Err("expected x".to_string()), Ok(())]);
        assert!(outcomes("failed 1 x\n", 3, &ended(0)).iter().all(Result::is_err));
        assert!(outcomes(said, 3, &ended(125)).iter().all(Result::is_err));
        assert!(outcomes("done 2\n", 3, &ended(0)).iter().all(Result::is_err));
    }
}
