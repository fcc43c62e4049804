//! One program: how it is started, what it leaves behind, and what it should.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mote_e2e::paths;
use nix::pty::openpty;

/// How long a program may run.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program and how it is started.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) wasm: PathBuf,
    /// Options of `run`.
    pub(crate) options: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// The runtime's own environment, beside what it has anyway.
    pub(crate) inherited: BTreeMap<String, String>,
    pub(crate) stdin: String,
    pub(crate) streams: Streams,
    pub(crate) folders: Vec<Folder>,
    pub(crate) expected: Expected,
}

/// A folder that is copied for each run.
pub(crate) struct Folder {
    pub(crate) from: PathBuf,
    /// The path that the program knows the copy by.
    pub(crate) guest: &'static str,
    pub(crate) grant: Grant,
}

/// What standard input, output and error are.
#[derive(Clone, Copy)]
pub(crate) enum Streams {
    Files,
    /// Standard input is a folder.
    FolderAsInput,
    /// Standard output is a pipe whose reader goes away when it has read something.
    ReaderLeaves,
    /// All of them are a terminal, and nothing of it is kept.
    Terminal,
}

#[derive(Clone, Copy)]
pub(crate) enum Grant {
    Read,
    Write,
}

/// What a run has to leave behind; what is `None` is not looked at.
pub(crate) struct Expected {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Option<String>,
    pub(crate) stderr: Option<String>,
}

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Case {
    /// Runs it with `runtime run` in a folder of its own.
    pub(crate) fn execute(&self, runtime: &Path) -> Result<Ran> {
        let scratch = tempdir("run")?;
        let mut command = Command::new(runtime);
        command.arg("run").env("MOTE_CACHE_DIR", paths::cache());
        command.envs(&self.inherited);
        command.args(&self.options);
        for (name, value) in &self.env {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        for (number, folder) in self.folders.iter().enumerate() {
            let root = scratch.join(format!("root{number}"));
            fs::create_dir(&root)?;
            copy(&folder.from, &root)?;
            let option = match folder.grant {
                Grant::Read => "--dir-ro",
                Grant::Write => "--dir",
            };
            command
                .arg(option)
                .arg(format!("{}::{}", root.display(), folder.guest));
        }
        let file = |name: &str| scratch.join(name);
        fs::write(file("stdin"), &self.stdin)?;
        command
            .arg(&self.wasm)
            .args(&self.args)
            .stdin(File::open(file("stdin"))?)
            .stdout(File::create(file("stdout"))?)
            .stderr(File::create(file("stderr"))?);
        let _master = match self.streams {
            Streams::Files => None,
            Streams::FolderAsInput => {
                command.stdin(File::open(&scratch)?);
                None
            }
            Streams::ReaderLeaves => {
                command.stdout(Stdio::piped());
                None
            }
            Streams::Terminal => {
                let terminal = openpty(None, None)?;
                let slave = || terminal.slave.try_clone();
                command.stdin(slave()?).stdout(slave()?).stderr(slave()?);
                Some(terminal.master)
            }
        };
        let mut child = command.spawn().with_context(|| runtime.display().to_string())?;
        if let Some(mut reader) = child.stdout.take() {
            let _ = reader.read(&mut [0; 64])?;
        }
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if started.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let read =
            |path: &Path| -> Result<String> { Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()) };
        let ran = Ran {
            status,
            stdout: read(&file("stdout"))?,
            stderr: read(&file("stderr"))?,
        };
        fs::remove_dir_all(&scratch)?;
        Ok(ran)
    }

    /// Why a run fails, if it does.
    pub(crate) fn judge(&self, ran: &Ran) -> Option<String> {
        let Some(status) = ran.status else {
            return Some(format!("still runs after {} seconds", PATIENCE.as_secs()));
        };
        if self.expected.code.is_some() && status.code() != self.expected.code {
            let last = ran.stderr.lines().find(|line| !line.trim().is_empty());
            return Some(format!(
                "{status}, not exit code {}: {}",
                self.expected.code.unwrap_or_default(),
                last.unwrap_or("nothing on stderr")
            ));
        }
        let differs =
            |wanted: &Option<String>, found: &str| wanted.as_ref().is_some_and(|wanted| wanted != found);
        if differs(&self.expected.stdout, &ran.stdout) {
            return Some(format!("standard output is {:?}", ran.stdout));
        }
        if differs(&self.expected.stderr, &ran.stderr) {
            return Some(format!("standard error is {:?}", ran.stderr));
        }
        None
    }
}

/// The programs of a folder, by name.
pub(crate) fn programs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut list = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            list.push(path);
        }
    }
    list.sort();
    Ok(list)
}

/// Name of a program.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Where this process has its folders.
pub(crate) fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("mote-wasi-{}", std::process::id()))
}

/// A new folder of this process.
pub(crate) fn tempdir(name: &str) -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let path = scratch().join(format!("{}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
