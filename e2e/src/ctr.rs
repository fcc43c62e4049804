//! `ctr run`, the plainest way to a task.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

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

/// What `ctr task ls` says of a task: `RUNNING`, `STOPPED`; `None` if there is none.
///
/// # Errors
/// If containerd does not answer.
pub fn task_status(daemon: &Containerd, namespace: &str, id: &str) -> Result<Option<String>> {
    let output = daemon.ctr().args(["-n", namespace, "task", "ls"]).output()?;
    ensure!(output.status.success(), "ctr task ls: {output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with(id));
    Ok(line.and_then(|line| Some(line.split_whitespace().nth(2)?.to_owned())))
}

/// `ctr events`: what containerd tells whoever asks, in one namespace.
#[derive(Debug)]
pub struct Events {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Events {
    /// Listens from now on.
    ///
    /// # Errors
    /// If containerd does not answer.
    pub fn of(daemon: &Containerd, namespace: &str) -> Result<Events> {
        let mut child = daemon
            .ctr()
            .args(["-n", namespace, "events"])
            .stdout(Stdio::piped())
            .spawn()
            .context("ctr events")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&lines);
        // It ends with the process.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                read.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let events = Events { child, lines };
        // Nothing says that it listens but an event that it hears.
        let give_up = Instant::now() + Duration::from_secs(10);
        while events.lines().is_empty() {
            ensure!(Instant::now() < give_up, "ctr events hears nothing");
            let mark = format!("mote-test={}", events.child.id());
            daemon
                .ctr()
                .args(["namespaces", "label", namespace, &mark])
                .output()?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(events)
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Topics of the events that name this id, in their order, once the given one is among them.
    ///
    /// # Errors
    /// If it does not come within ten seconds; with all that came.
    pub fn until(&self, id: &str, topic: &str) -> Result<Vec<String>> {
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            let lines = self.lines();
            let named = lines.iter().filter(|line| line.contains(id));
            // After the time, whose form differs, and the namespace.
            let topics = named.filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
            let topics: Vec<String> = topics.map(str::to_owned).collect();
            if topics.iter().any(|seen| seen == topic) {
                return Ok(topics);
            }
            ensure!(
                Instant::now() < give_up,
                "no {topic} of {id} in:\n{}",
                lines.join("\n")
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
