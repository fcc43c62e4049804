//! Runs `bin/mote` as a user does.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use mote_config::Stats;

use crate::paths;

/// What a program left behind.
#[derive(Debug)]
pub struct Ran {
    /// As a shell shows it: 128 + N for signal N.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// `mote run`, to be completed and started.
#[derive(Debug)]
pub struct Run {
    command: Command,
    stdin: Option<Vec<u8>>,
    stats: bool,
}

impl Run {
    /// `mote run` of a file.
    #[must_use]
    pub fn file(path: impl AsRef<Path>) -> Run {
        Run::with_options::<[&str; 0], _>([], path)
    }

    /// `mote run` of a guest that the build scripts made.
    #[must_use]
    pub fn program(name: &str) -> Run {
        Run::file(paths::program(name))
    }

    /// `mote run` with options before the file.
    pub fn with_options<I, S>(options: I, path: impl AsRef<Path>) -> Run
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(paths::bin("mote"));
        command
            .arg("run")
            .args(options)
            .arg(path.as_ref())
            .env("MOTE_CACHE_DIR", paths::cache());
        Run {
            command,
            stdin: None,
            stats: false,
        }
    }

    /// Any command that runs a program.
    #[must_use]
    pub fn command(command: Command) -> Run {
        Run {
            command,
            stdin: None,
            stats: false,
        }
    }

    /// `mote run --stats` with options, for [`Run::stats`].
    #[must_use]
    pub fn measured(options: &[&str], path: impl AsRef<Path>) -> Run {
        let options = options.iter().copied().chain(["--stats"]);
        Run {
            stats: true,
            ..Run::with_options(options, path)
        }
    }

    /// The program's arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Run
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    /// A variable of `mote`'s own environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// What comes through the standard input, instead of nothing.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.stdin = Some(bytes.into());
        self
    }

    /// The command itself, to start it in another way.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(mut self) -> Ran {
        let stdin = self.stdin.take();
        self.command.stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{:?}: {error}", self.command),
        };
        let writer = child.stdin.take().map(|mut pipe| {
            // A program may end without reading all of it.
            thread::spawn(move || drop(pipe.write_all(&stdin.unwrap_or_default())))
        });
        let output = match child.wait_with_output() {
            Ok(output) => output,
            Err(error) => panic!("{:?}: {error}", self.command),
        };
        if let Some(writer) = writer {
            let _ = writer.join();
        }
        Ran::from(output)
    }

    /// Runs it and gives its figures along.
    ///
    /// # Panics
    /// If it was not made by [`Run::measured`], or printed no figures.
    pub fn stats(self) -> (Ran, Stats) {
        assert!(self.stats, "--stats was not asked for");
        let ran = self.run();
        match ran
            .stderr
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok())
        {
            Some(stats) => (ran, stats),
            None => panic!("no line of stats in {ran:?}"),
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let status = output.status;
        Ran {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
