//! What is found out once per boot: the CPU features that a guest sees, and the digest of the compiler.
//!
//! A probe VM takes milliseconds and so does hashing the compiler, so both are kept in a file beside the cache. The
//! file counts only for this boot, this CPU and these executables.

use std::{
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use mote_abi::cpu::Features;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Node,
    child::Command,
    dirs::{lock, open_ours, write_atomically},
    error::{Error, NodeError},
    key::{Sha, from_hex, hex},
    process::Status,
    run::{run, signal_name},
};

/// What the node's CPU and executables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// CPU features that code in a guest may use.
    pub features: Features,
    /// SHA-256 of `mote-compile`.
    pub compiler: [u8; 32],
}

/// The file's content.
#[derive(PartialEq, Serialize, Deserialize)]
struct Memo {
    /// What the rest holds for.
    scope: Scope,
    features: String,
    compiler: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Scope {
    boot_id: String,
    cpu: String,
    abi: u32,
    vmm: Identity,
    compile: Identity,
}

/// A file, as far as one can tell without reading it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> Result<Identity, NodeError> {
        let meta: Metadata = std::fs::metadata(path).map_err(read_error(path))?;
        Ok(Identity {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

fn read_error(path: &Path) -> impl FnOnce(std::io::Error) -> NodeError {
    let path = path.to_path_buf();
    move |cause| NodeError::Read { path, cause }
}

/// What `mote-vmm --probe` prints. Unknown fields are for people.
#[derive(Deserialize)]
struct Probe {
    features: String,
}

/// Longest that a probe may take: it is one empty VM.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// Most bytes of the file; it has a few hundred.
const MOST: u64 = 64 << 10;

/// The facts, from the file or found out now.
pub(crate) fn facts(node: &Node) -> Result<Facts, Error> {
    let scope = scope(node)?;
    let path = node.facts_path();
    if let Some(facts) = read(&path, &scope) {
        return Ok(facts);
    }
    let _lock = lock(&node.lock_path("facts"))?;
    if let Some(facts) = read(&path, &scope) {
        return Ok(facts);
    }
    let facts = Facts {
        features: probe(node)?,
        compiler: digest(&node.compiler()?)?,
    };
    let memo = Memo {
        scope,
        features: format!("{:#x}", facts.features.0),
        compiler: hex(&facts.compiler),
    };
    let json = serde_json::to_vec(&memo).unwrap_or_default();
    write_atomically(node.cache_dir(), &path, &json)?;
    Ok(facts)
}

fn scope(node: &Node) -> Result<Scope, NodeError> {
    let boot_id = Path::new("/proc/sys/kernel/random/boot_id");
    Ok(Scope {
        boot_id: std::fs::read_to_string(boot_id)
            .map_err(read_error(boot_id))?
            .trim()
            .into(),
        cpu: cpu()?,
        abi: mote_abi::VERSION,
        vmm: Identity::of(&node.vmm()?)?,
        compile: Identity::of(&node.compiler()?)?,
    })
}

/// Digest of the first processor's model and flags: a machine may be resumed on another one within a boot.
fn cpu() -> Result<String, NodeError> {
    let path = Path::new("/proc/cpuinfo");
    let mut text = String::new();
    File::open(path)
        .and_then(|f| f.take(16 << 10).read_to_string(&mut text))
        .map_err(read_error(path))?;
    let mut hash = Sha256::new();
    let wanted = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "microcode",
        "flags",
    ];
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if wanted.contains(&line.split(':').next().unwrap_or_default().trim()) {
            hash.update(line);
        }
    }
    Ok(hex(&hash.finalize()))
}

fn read(path: &Path, scope: &Scope) -> Option<Facts> {
    let file = open_ours(path).ok()??.ok()?;
    let mut json = Vec::new();
    file.take(MOST).read_to_end(&mut json).ok()?;
    let memo: Memo = serde_json::from_slice(&json).ok()?;
    if memo.scope != *scope {
        return None;
    }
    Some(Facts {
        features: parse_features(&memo.features)?,
        compiler: from_hex(&memo.compiler)?,
    })
}

fn parse_features(text: &str) -> Option<Features> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16)
        .ok()
        .map(Features)
}

/// Asks a probe VM which features a guest sees.
pub(crate) fn probe(node: &Node) -> Result<Features, NodeError> {
    // Its own message would be about an exit code; this one names the cure.
    drop(node.open_kvm()?);
    let path = node.vmm()?;
    let failed = |e: std::io::Error| NodeError::Probe(format!("{} cannot be started: {e}", path.display()));
    let mut command = Command::new(&path, "mote-vmm: probe").map_err(failed)?;
    command.arg("--probe").map_err(failed)?;
    let ended = run(command, 1, PROBE_LIMIT)
        .map_err(|e| NodeError::Probe(format!("{}: {}: {}", path.display(), e.what, e.cause)))?;
    let said = ended.text.lines().next().unwrap_or_default();
    match ended.status {
        _ if ended.timed_out => {
            return Err(NodeError::Probe(format!(
                "no answer within {} s",
                PROBE_LIMIT.as_secs()
            )));
        }
        Status::Exited(0) | Status::Unknown => {}
        Status::Exited(code) => {
            return Err(NodeError::Probe(format!(
                "mote-vmm --probe exited with {code}: {said}"
            )));
        }
        Status::Killed(signal) => {
            return Err(NodeError::Probe(format!(
                "mote-vmm --probe was killed by signal {signal} ({})",
                signal_name(signal)
            )));
        }
    }
    let features = serde_json::from_str::<Probe>(said)
        .ok()
        .and_then(|p| parse_features(&p.features));
    let Some(features) = features else {
        let said: String = said.chars().take(200).collect();
        return Err(NodeError::Probe(format!(
            "mote-vmm --probe printed no features but {said:?}"
        )));
    };
    match features.missing_required() {
        Some(name) => Err(NodeError::MissingFeature(name)),
        None => Ok(features),
    }
}

fn digest(path: &Path) -> Result<Sha, NodeError> {
    let mut file = File::open(path).map_err(read_error(path))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 128 << 10];
    loop {
        match file.read(&mut chunk).map_err(read_error(path))? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&chunk[..n]),
        }
    }
}
