//! One process of a container, which is a program in a VM: its main one, or one that exec has added.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use crate::console::Console;
use crate::error::TaskError;
use crate::exit::{Exit, ExitCell};
use crate::grant::Grant;
use crate::state::{Machine, Phase, Target, fatal_code};
use crate::stdio::{self, Names, Stdio};
use crate::vm::{Killer, Node, Program, Vmm};

/// How long the end of a process waits for a client to take what the program wrote to its terminal.
const DRAIN: Duration = Duration::from_secs(2);

/// A process that containerd knows. Until a VMM runs, the shim stands for it, because containerd wants a process id.
pub(crate) struct Process {
    /// The task's id, and the exec's behind a slash.
    pub name: String,
    pub io: Names,
    pub terminal: bool,
    exit: ExitCell,
    /// Calls for one process follow each other; waiting for its end needs no turn.
    inner: Mutex<Inner>,
}

/// What a turn is about.
pub(crate) struct Inner {
    pub machine: Machine,
    /// What a start takes; `None` for a sandbox.
    ready: Option<Ready>,
    killer: Option<Killer>,
    /// See [`Stdio::stdin_keeper`].
    stdin_keeper: Option<File>,
    console: Option<Arc<Console>>,
    /// See [`Stdio::outputs`].
    outputs: Arc<Vec<File>>,
}

/// A compiled program with all that it is granted.
pub(crate) struct Ready {
    pub node: Arc<Node>,
    pub program: Program,
    pub grant: Grant,
    /// The root file system with its volumes.
    pub rootfs: PathBuf,
    /// The cgroups' directories.
    pub cgroups: Vec<PathBuf>,
    pub stdio: Stdio,
}

/// What State answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub phase: Phase,
    pub pid: u32,
    pub exit: Option<Exit>,
}

impl Process {
    /// A created process. `ready` is `None` for a sandbox.
    pub(crate) fn new(name: String, io: Names, terminal: bool, ready: Option<Ready>) -> Arc<Process> {
        let machine = Machine::new(std::process::id());
        Arc::new(Process {
            name,
            io,
            terminal,
            exit: machine.exit().clone(),
            inner: Mutex::new(Inner {
                machine,
                ready,
                killer: None,
                stdin_keeper: None,
                console: None,
                outputs: Arc::default(),
            }),
        })
    }

    /// Where it stands.
    pub(crate) async fn status(&self) -> Status {
        let inner = self.inner.lock().await;
        Status {
            phase: inner.machine.phase(),
            pid: inner.machine.pid(),
            exit: self.exit.get(),
        }
    }

    /// The exit status' cell.
    pub(crate) fn exit(&self) -> &ExitCell {
        &self.exit
    }

    /// Takes the turn.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().await
    }

    /// Starts the program; `None` for a sandbox, for which the shim's own process goes on standing.
    ///
    /// # Errors
    /// [`TaskError::State`] if it was started before, [`TaskError::Vm`] if the VMM cannot be started.
    pub(crate) async fn start(&self, inner: &mut Inner) -> Result<Option<Vmm>, TaskError> {
        inner.machine.may_start()?;
        let Some(ready) = inner.ready.take() else {
            inner.machine.start(std::process::id())?;
            return Ok(None);
        };
        let name = self.name.clone();
        let launched = tokio::task::spawn_blocking(move || {
            let vmm = ready.node.launch(
                &name,
                &ready.program,
                &ready.grant,
                &ready.rootfs,
                &ready.stdio,
                &ready.cgroups,
            );
            let outputs = ready.stdio.outputs().unwrap_or_default();
            // The program's end of a terminal is closed here, so that its last copy goes with the program.
            vmm.map(|vmm| (vmm, ready.stdio.stdin_keeper, ready.stdio.console, outputs))
        });
        let (vmm, stdin_keeper, console, outputs) = launched
            .await
            .map_err(|_| TaskError::Panic(self.name.clone()))??;
        inner.machine.start(vmm.pid())?;
        inner.killer = Some(vmm.killer());
        inner.stdin_keeper = stdin_keeper;
        inner.console = console.map(Console::start);
        inner.outputs = outputs.into();
        Ok(Some(vmm))
    }

    /// Sends a signal. Before the start, and on a sandbox, it has the effect that it would have on a process: the exit
    /// that the caller has to make known.
    ///
    /// # Errors
    /// [`TaskError::State`] after the end.
    pub(crate) fn kill(&self, inner: &Inner, signal: u32) -> Result<Option<Exit>, TaskError> {
        let number = i32::try_from(signal)
            .ok()
            .filter(|n| *n <= 64)
            .ok_or(TaskError::Signal(signal))?;
        let target = inner.machine.signal_target()?;
        if let (Target::Process(pid), Some(killer)) = (target, &inner.killer) {
            return match killer.signal(number) {
                // It ends this moment, and its status is on the way.
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
                Err(source) => Err(TaskError::Kill { signal, pid, source }),
                Ok(()) => Ok(None),
            };
        }
        Ok(fatal_code(signal).map(Exit::now))
    }

    /// Lets the program see the end of its input once the client has closed it too. A terminal's input has no end.
    pub(crate) async fn close_stdin(&self) {
        let mut inner = self.inner.lock().await;
        inner.stdin_keeper = None;
        if let Some(ready) = &mut inner.ready {
            ready.stdio.stdin_keeper = None;
        }
    }

    /// Gives the terminal a new size in characters.
    ///
    /// # Errors
    /// [`TaskError::NoTerminal`], [`TaskError::Stdio`].
    pub(crate) async fn resize(&self, width: u32, height: u32) -> Result<(), TaskError> {
        let inner = self.inner.lock().await;
        let waiting = inner
            .ready
            .as_ref()
            .and_then(|ready| ready.stdio.console.as_ref());
        match (waiting, &inner.console) {
            (Some(console), _) => Ok(console.resize(width, height)?),
            (None, Some(console)) => Ok(console.resize(width, height)?),
            (None, None) if self.terminal => Ok(()),
            (None, None) => Err(TaskError::NoTerminal(self.name.clone())),
        }
    }

    /// Sets the most guest memory in bytes, for the program that runs or will.
    pub(crate) async fn set_memory_limit(&self, bytes: u64) {
        let mut inner = self.inner.lock().await;
        if let Some(ready) = &mut inner.ready {
            ready.grant.memory_limit = bytes;
        }
        if let Some(killer) = &inner.killer
            && let Err(error) = killer.set_memory_limit(bytes)
        {
            // It ends this moment.
            log::debug!("{}: {error}", self.name);
        }
    }

    /// Waits until a client has read what the program has written, at most for a few seconds.
    pub(crate) async fn drained(&self) {
        let (console, outputs) = {
            let inner = self.inner.lock().await;
            (inner.console.clone(), Arc::clone(&inner.outputs))
        };
        if let Some(console) = console {
            console.drained(DRAIN).await;
        }
        for output in outputs.iter() {
            stdio::taken(output).await;
        }
    }
}

impl Inner {
    /// It has ended. Answers whether this was news.
    pub(crate) fn stop(&mut self, exit: Exit) -> bool {
        let first = self.machine.stop(exit);
        if first {
            self.ready = None;
            self.killer = None;
            self.stdin_keeper = None;
            self.console = None;
            self.outputs = Arc::default();
        }
        first
    }

    /// Drops what a start would take.
    pub(crate) fn discard(&mut self) {
        self.ready = None;
    }
}
