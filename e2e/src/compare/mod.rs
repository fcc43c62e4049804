//! The same file under Mote and under wasmtime: what it prints, what it ends with, what files it leaves.
//!
//! Wasmtime is `e2e/peer`, made of wasmtime's own crates and run on the very code that Mote runs. Where there is a
//! wasmtime executable, named by `WASMTIME` or on `PATH`, the same is done with that too.

mod http;
mod text;
mod tree;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use mote_launch::{Limits, Node, Source};

use crate::cli::{Ran, Run};
use crate::paths;

pub use http::{Response, Server};
pub use text::{difference, essence};
pub use tree::Tree;

/// Who runs a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    Mote,
    Peer,
    /// The wasmtime command.
    Wasmtime(PathBuf),
}

impl Side {
    /// All that Mote is compared with here.
    ///
    /// # Panics
    /// If the peer is not built.
    #[must_use]
    pub fn others() -> Vec<Side> {
        let peer = paths::peer();
        assert!(
            peer.exists(),
            "{} is missing; `make peer` builds it",
            peer.display()
        );
        let mut sides = vec![Side::Peer];
        sides.extend(wasmtime().map(Side::Wasmtime));
        sides
    }

    /// The command that runs or serves a program, without options or the program itself.
    ///
    /// # Panics
    /// If the peer is to run what does not compile.
    #[must_use]
    pub fn command(&self, subcommand: &str, program: &str) -> Command {
        let executable = match self {
            Side::Mote => paths::bin("mote"),
            Side::Peer => paths::peer(),
            Side::Wasmtime(path) => path.clone(),
        };
        let mut command = Command::new(executable);
        command.arg(subcommand).env("MOTE_CACHE_DIR", paths::cache());
        // Or wasmtime shows its own stack beside the program's.
        for variable in [
            "RUST_BACKTRACE",
            "RUST_LIB_BACKTRACE",
            "WASMTIME_BACKTRACE_DETAILS",
        ] {
            command.env_remove(variable);
        }
        if *self == Side::Peer {
            match code(program) {
                Ok(path) => command.arg("--code").arg(path),
                Err(error) => panic!("{program}: {error:#}"),
            };
        }
        command
    }
}

/// The code file that Mote runs for a program, in its cache.
fn code(program: &str) -> anyhow::Result<PathBuf> {
    let node = Node::new(paths::root().join("bin"), paths::cache(), Limits::default())?;
    let path = paths::program(program);
    let mut wasm = fs::File::open(&path)?;
    let key = node.program(&mut Source::new(&mut wasm, program))?.key;
    Ok(paths::cache().join("code").join(format!("{key}.mote")))
}

fn wasmtime() -> Option<PathBuf> {
    if let Some(named) = env::var_os("WASMTIME") {
        return Some(named.into());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join("wasmtime"))
        .find(|file| file.is_file())
}

/// A run of one program.
#[derive(Clone, Debug)]
pub struct Case {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    folder: bool,
    names: bool,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    pub ran: Ran,
    pub tree: Tree,
}

impl Case {
    /// A program that the build scripts made, with arguments.
    #[must_use]
    pub fn new(program: &str, args: &[&str]) -> Case {
        Case {
            program: program.into(),
            args: args.iter().map(ToString::to_string).collect(),
            env: Vec::new(),
            stdin: Vec::new(),
            folder: false,
            names: false,
        }
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Case {
        self.env.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Case {
        self.stdin = bytes.into();
        self
    }

    /// Grants a folder as `/data`. It has a file in it and lies in a folder with another file, which is out of reach.
    #[must_use]
    pub fn folder(mut self) -> Case {
        self.folder = true;
        self
    }

    /// Grants that names are looked up.
    #[must_use]
    pub fn names(mut self) -> Case {
        self.names = true;
        self
    }

    /// Runs it on one side.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run(&self, side: &Side) -> Outcome {
        let outer = self.folder.then(scratch_folder);
        let mut command = side.command("run", &self.program);
        // The wasmtime command links wasi:http only if it is asked to, and refuses to with modules.
        if matches!(side, Side::Wasmtime(_)) && !self.program.ends_with("-p1") {
            command.args(["-S", "http"]);
        }
        if self.names {
            command.args(["-S", "allow-ip-name-lookup"]);
        }
        if let Some(outer) = &outer {
            command.args(["--dir", &format!("{}::/data", outer.join("data").display())]);
        }
        for (name, value) in &self.env {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.arg(paths::program(&self.program)).args(&self.args);
        let ran = Run::command(command).stdin(self.stdin.clone()).run();
        let tree = outer.as_deref().map(Tree::read).unwrap_or_default();
        if let Some(outer) = outer {
            let _ = fs::remove_dir_all(outer);
        }
        Outcome { ran, tree }
    }

    /// Runs it on every side and gives Mote's outcome.
    ///
    /// # Panics
    /// With the differences, if there are any.
    pub fn compare(&self) -> Outcome {
        let mote = self.run(&Side::Mote);
        for side in Side::others() {
            let other = self.run(&side);
            let (our_errors, their_errors) = match side {
                Side::Wasmtime(_) => (essence(&mote.ran.stderr), essence(&other.ran.stderr)),
                _ => (mote.ran.stderr.clone(), other.ran.stderr.clone()),
            };
            let differences: Vec<String> = [
                (mote.ran.code != other.ran.code)
                    .then(|| format!("exit code: Mote {}, {side:?} {}", mote.ran.code, other.ran.code)),
                difference("stdout", &mote.ran.stdout, &other.ran.stdout),
                difference("stderr", &our_errors, &their_errors),
                difference("files", &mote.tree.to_string(), &other.tree.to_string()),
            ]
            .into_iter()
            .flatten()
            .collect();
            assert!(
                differences.is_empty(),
                "{} {:?}: Mote (-) and {side:?} (+) differ\n{}",
                self.program,
                self.args,
                differences.join("\n")
            );
        }
        mote
    }
}

/// A new folder `data` with a file, beside a file that is not granted.
fn scratch_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let outer = paths::work()
        .join("scratch")
        .join(format!("tree-{}-{number}", std::process::id()));
    let make = |outer: &Path| -> std::io::Result<()> {
        fs::create_dir_all(outer.join("data"))?;
        fs::create_dir(outer.join("etc"))?;
        fs::write(outer.join("data/given.txt"), "was here before\n")?;
        fs::write(outer.join("etc/passwd"), "out of reach\n")
    };
    if let Err(error) = make(&outer) {
        panic!("{}: {error}", outer.display());
    }
    outer
}
