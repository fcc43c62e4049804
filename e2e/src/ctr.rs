//! `ctr run`, the plainest way to a task.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cli::Ran;
use crate::containerd::{Containerd, RUNTIME};

/// A `ctr run --rm` in the making.
#[derive(Debug)]
pub struct CtrRun<'a> {
    daemon: &'a Containerd,
    pub id: String,
    image: String,
    options: Vec<String>,
    args: Vec<String>,
}

impl<'a> CtrRun<'a> {
    #[must_use]
    pub fn new(daemon: &'a Containerd, image: &str) -> CtrRun<'a> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        CtrRun {
            daemon,
            id: format!(
                "mote-ctr-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            ),
            image: image.into(),
            options: Vec::new(),
            args: Vec::new(),
        }
    }

    /// An option before the image.
    #[must_use]
    pub fn option(mut self, words: &[&str]) -> CtrRun<'a> {
        self.options.extend(words.iter().map(ToString::to_string));
        self
    }

    /// The whole command line of the container, the program's path first.
    #[must_use]
    pub fn args(mut self, words: &[&str]) -> CtrRun<'a> {
        self.args = words.iter().map(ToString::to_string).collect();
        self
    }

    /// The command, with pipes for its output.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = self.daemon.ctr();
        command
            .args(["run", "--rm", "--runtime", RUNTIME])
            .args(["--cgroup", &format!("{}/{}", self.daemon.cgroup, self.id)])
            .args(&self.options)
            .args([&self.image, &self.id])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If `ctr` cannot be started.
    #[must_use]
    pub fn run(&self) -> Ran {
        match self.command().output() {
            Ok(output) => Ran::from(output),
            Err(error) => panic!("ctr: {error}"),
        }
    }
}

/// `ctr task kill`.
///
/// # Panics
/// If `ctr` cannot be started.
pub fn kill(daemon: &Containerd, id: &str, signal: &str) -> Ran {
    match daemon
        .ctr()
        .args(["task", "kill", "--signal", signal, id])
        .output()
    {
        Ok(output) => Ran::from(output),
        Err(error) => panic!("ctr: {error}"),
    }
}

/// `ctr task VERB` in a namespace.
///
/// # Panics
/// If `ctr` cannot be started.
pub fn task(daemon: &Containerd, namespace: &str, verb: &str, id: &str) -> Ran {
    match daemon.ctr().args(["-n", namespace, "task", verb, id]).output() {
        Ok(output) => Ran::from(output),
        Err(error) => panic!("ctr: {error}"),
    }
}
