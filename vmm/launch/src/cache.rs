//! Compiled programs on disk.
//!
//! A code file is machine code that will run, inside the VM but run all the same: it is used only if nobody but the
//! owner of the cache can have written it, and if it is whole. Anything else under its name is removed and made anew.

use std::{
    fs::{File, FileTimes},
    io::{self, Read, Seek, SeekFrom},
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use mote_abi::{
    code::{HEADER_LEN, Header, PAYLOAD_OFFSET, import},
    cpu::Features,
};
use mote_config::Network;
use sha2::{Digest, Sha256};

use crate::{
    Node,
    child::Command,
    dirs::{failed, finish, lock, open_ours, unfinished},
    error::{CacheError, CompileError, Error},
    facts::Facts,
    key::{Key, Sha},
    process::Status,
    prune::remove,
    run::run,
};

/// A Wasm file to be compiled.
#[derive(Debug)]
pub struct Source<'a> {
    file: &'a mut File,
    name: String,
    digest: Option<Sha>,
}

impl<'a> Source<'a> {
    /// The Wasm in `file`, from its start; `name` stands for it in messages.
    pub fn new(file: &'a mut File, name: impl Into<String>) -> Source<'a> {
        Source {
            file,
            name: name.into(),
            digest: None,
        }
    }

    /// The file's SHA-256, if somebody who is trusted has it already (containerd's content store names its files by
    /// it). Saves reading the file on a hit.
    #[must_use]
    pub fn with_digest(mut self, digest: [u8; 32]) -> Source<'a> {
        self.digest = Some(digest);
        self
    }

    fn error(&self) -> impl FnOnce(io::Error) -> CompileError + use<> {
        let name = self.name.clone();
        move |cause| CompileError::Source { name, cause }
    }

    fn digest(&mut self) -> Result<Sha, CompileError> {
        if let Some(digest) = self.digest {
            return Ok(digest);
        }
        let error = self.error();
        let digest = self
            .file
            .rewind()
            .and_then(|()| sha256(self.file))
            .map_err(error)?;
        self.digest = Some(digest);
        Ok(digest)
    }
}

/// Where a compiled program came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was in the cache.
    Hit,
    /// It was not there and has been compiled; other askers may have waited for it.
    Compiled {
        /// Time that the compiler took.
        took: Duration,
    },
    /// What was in the cache could not be trusted; it has been removed and the program compiled anew.
    Rebuilt {
        /// What was wrong.
        why: String,
        /// Time that the compiler took.
        took: Duration,
    },
}

/// A compiled program, open and verified.
#[derive(Debug)]
pub struct Program {
    /// The code file, for `mote-vmm`.
    pub code: File,
    /// Its header.
    pub header: Header,
    /// Its name in the cache.
    pub key: Key,
    /// Where it came from.
    pub outcome: Outcome,
}

impl Program {
    /// So much of a grant as the program can ask for, which decides what has to be started beside it.
    #[must_use]
    pub fn uses(&self, granted: Network) -> Network {
        let imports = |bit| self.header.imports & bit != 0;
        Network {
            tcp: granted.tcp && imports(import::SOCKETS),
            udp: granted.udp && imports(import::SOCKETS),
            name_lookup: granted.name_lookup && imports(import::NAME_LOOKUP),
            http: granted.http && imports(import::HTTP),
            ..granted
        }
    }
}

/// Finds or makes the compiled form of `source`.
pub(crate) fn program(node: &Node, facts: &Facts, source: &mut Source<'_>) -> Result<Program, Error> {
    let digest = source.digest()?;
    let key = Key::new(&digest, facts.features, &facts.compiler);
    let path = node.code_dir().join(key.file_name());
    if let Found::Good(code, header) = find(&path, facts.features, &digest)? {
        return Ok(Program {
            code,
            header,
            key,
            outcome: Outcome::Hit,
        });
    }
    // A few hundred locks for all programs, so that none need ever be removed; two programs that share one wait for
    // each other at worst.
    let _lock = lock(&node.lock_path(&format!("{:02x}", key.stripe())))?;
    let why = match find(&path, facts.features, &digest)? {
        Found::Good(code, header) => {
            return Ok(Program {
                code,
                header,
                key,
                outcome: Outcome::Hit,
            });
        }
        Found::Nothing => None,
        Found::Bad(why) => {
            discard(&path)?;
            Some(why)
        }
    };
    let start = Instant::now();
    compile(node, facts, source, &path)?;
    let took = start.elapsed();
    let outcome = match why {
        Some(why) => Outcome::Rebuilt { why, took },
        None => Outcome::Compiled { took },
    };
    // Read back by the same rules: what cannot be verified now could not be verified later.
    let (code, header) = match find(&path, facts.features, &digest)? {
        Found::Good(code, header) => (code, header),
        Found::Nothing => return Err(bad_output("it is gone".into())),
        Found::Bad(why) => {
            discard(&path)?;
            return Err(bad_output(why));
        }
    };
    // The program has what it needs: a cache that is too large is no reason to fail.
    let _ = node.prune(node.limits().cache_size);
    Ok(Program {
        code,
        header,
        key,
        outcome,
    })
}

fn bad_output(why: String) -> Error {
    CompileError::BadOutput { why }.into()
}

/// Removes whatever has the name of a code file.
fn discard(path: &Path) -> Result<(), CacheError> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path).map_err(failed("remove", path)),
        _ => remove(path),
    }
}

enum Found {
    Good(File, Header),
    Bad(String),
    Nothing,
}

/// Opens and verifies the code file at `path`.
fn find(path: &Path, features: Features, source: &Sha) -> Result<Found, CacheError> {
    let mut file = match open_ours(path).map_err(failed("open", path))? {
        None => return Ok(Found::Nothing),
        Some(Err(why)) => return Ok(Found::Bad(why)),
        Some(Ok(file)) => file,
    };
    match verify(&mut file, features, source).map_err(failed("read", path))? {
        Ok(header) => {
            touch(&file);
            Ok(Found::Good(file, header))
        }
        Err(why) => Ok(Found::Bad(why)),
    }
}

/// Checks header and digests; the outer error is the disk's.
fn verify(file: &mut File, features: Features, source: &Sha) -> io::Result<Result<Header, String>> {
    let mut bytes = [0; HEADER_LEN];
    let len = file.metadata()?.len();
    if let Err(e) = file.read_exact(&mut bytes) {
        let short = e.kind() == io::ErrorKind::UnexpectedEof;
        return if short {
            Ok(Err("it is shorter than a header".into()))
        } else {
            Err(e)
        };
    }
    let header = match Header::parse(&bytes, len) {
        Ok(header) => header,
        Err(e) => return Ok(Err(e.to_string())),
    };
    if header.features & !features.0 != 0 {
        return Ok(Err("it uses CPU features that this node lacks".into()));
    }
    if header.source_sha256 != *source {
        return Ok(Err("it was compiled from another program".into()));
    }
    file.seek(SeekFrom::Start(PAYLOAD_OFFSET))?;
    if sha256(file)? != header.payload_sha256 {
        return Ok(Err("its digest is not the one in its header".into()));
    }
    Ok(Ok(header))
}

/// Remembers that the file is in use: with `relatime` the kernel notes only one use a day, with `noatime` none.
fn touch(file: &File) {
    const OFTEN_ENOUGH: Duration = Duration::from_secs(3600);
    let fresh = file
        .metadata()
        .and_then(|m| m.accessed())
        .is_ok_and(|t| t.elapsed().is_ok_and(|age| age < OFTEN_ENOUGH));
    if !fresh {
        // On a read-only file system the order of use is lost, nothing else.
        let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
    }
}

fn sha256(file: &mut File) -> io::Result<Sha> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 128 << 10];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(n) => hash.update(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Runs `mote-compile` and gives what it wrote the name `path`.
fn compile(node: &Node, facts: &Facts, source: &mut Source<'_>, path: &Path) -> Result<(), Error> {
    let compiler = node.compiler()?;
    let limits = node.limits();
    let code = unfinished(&node.code_dir())?;
    let error = source.error();
    source.file.rewind().map_err(error)?;
    let ended = {
        let start = |cause| CompileError::Start {
            path: compiler.clone(),
            cause,
        };
        let mut command =
            Command::new(&compiler, &format!("mote-compile: {}", source.name)).map_err(start)?;
        let arguments = [
            format!("--features={:#x}", facts.features.0),
            format!("--name={}", source.name),
            format!("--memory-limit={}", limits.compile_memory),
            // Threads add up: the wall clock is the limit that the caller sees, this one outlives a lost parent.
            format!(
                "--cpu-limit={}",
                limits.compile_time.as_secs().max(1).saturating_mul(4)
            ),
        ];
        for argument in &arguments {
            command.arg(argument).map_err(start)?;
        }
        command.fd(source.file.as_fd(), 0).fd(code.as_file().as_fd(), 1);
        run(command, 2, limits.compile_time).map_err(|e| {
            let cause = io::Error::new(e.cause.kind(), format!("{}: {}", e.what, e.cause));
            CompileError::Start {
                path: compiler.clone(),
                cause,
            }
        })?
    };
    let name = source.name.clone();
    let said = ended.text.trim();
    let message = if said.is_empty() {
        "it did not say why".to_string()
    } else {
        said.replace('\n', "; ")
    };
    match ended.status {
        _ if ended.timed_out => Err(CompileError::TimedOut {
            name,
            limit: limits.compile_time,
        }
        .into()),
        Status::Exited(0) | Status::Unknown => Ok(finish(code, path)?),
        Status::Exited(2) => Err(CompileError::Refused { message }.into()),
        Status::Exited(_) => Err(CompileError::Failed { name, message }.into()),
        Status::Killed(signal) => Err(CompileError::Killed { name, signal }.into()),
    }
}

#[cfg(test)]
mod tests;
