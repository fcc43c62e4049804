//! The way to `mote-launch`: compiles a program and runs it in a `mote-vmm` process, in the terms of this crate.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mote_abi::code::Kind;
use mote_config::{Limits, Preopen, VERSION, VmmConfig};
use mote_launch::{Launch, NodeError, Place, Source};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::grant::Grant;
use crate::image::Wasm;
use crate::network::NetworkError;
use crate::serve::{self, Plan, Server};
use crate::stdio::Stdio;
use crate::volumes::{self, VolumeError};

/// How a VMM ended, as it told itself.
pub(crate) use mote_config::Exit;

/// A program that cannot be compiled or run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VmError {
    #[error("{0}. `mote doctor` says what else the node lacks")]
    Node(#[source] NodeError),
    #[error(transparent)]
    Launch(#[from] mote_launch::Error),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("starting the thread of a server: {0}")]
    Thread(#[source] io::Error),
    #[error(
        "listening at port {port} of the pod: {source}; annotation mote/port or the container's first port names another"
    )]
    Listen { port: u16, source: io::Error },
    #[error("duplicating a stdio descriptor: {0}")]
    Stdio(#[source] io::Error),
    #[error("waiting for mote-vmm (process {pid}): {source}")]
    Wait { pid: u32, source: io::Error },
}

impl VmError {
    /// Whether the Wasm file is at fault, not the node.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, VmError::Launch(error) if error.is_refusal())
    }
}

/// What this node has for running programs, checked.
pub(crate) struct Node(mote_launch::Node);

/// A compiled program.
pub(crate) struct Program(mote_launch::Program);

impl Program {
    /// Whether it serves HTTP requests and does nothing else.
    pub(crate) fn serves(&self) -> bool {
        Kind::from_raw(self.0.header.kind) == Some(Kind::HttpProxy)
    }
}

impl Node {
    /// Finds the executables and the cache, and makes sure that there is KVM.
    ///
    /// # Errors
    /// A [`VmError`] that names what is missing.
    pub(crate) fn open() -> Result<Node, VmError> {
        let node = mote_launch::Node::discover()?;
        node.vmm().map_err(VmError::Node)?;
        node.open_kvm().map_err(VmError::Node)?;
        Ok(Node(node))
    }

    /// Compiles a program, or finds it in the node's cache. May take as long as a compilation does.
    ///
    /// # Errors
    /// A [`VmError`] with the compiler's words.
    pub(crate) fn compile(&self, wasm: Wasm) -> Result<Program, VmError> {
        let Wasm {
            mut file,
            name,
            digest,
        } = wasm;
        let mut source = Source::new(&mut file, name);
        if let Some(digest) = digest {
            source = source.with_digest(digest);
        }
        Ok(Program(self.0.program(&mut source)?))
    }

    /// What `mote-launch` calls a node.
    pub(crate) fn inner(&self) -> &mote_launch::Node {
        &self.0
    }

    /// Starts a program, or a server. `id` is what the processes are called, `cgroups` the directories that they join.
    ///
    /// # Errors
    /// A [`VmError`]; no process is left then.
    pub(crate) fn launch(
        self: Arc<Node>,
        id: &str,
        program: &Program,
        grant: &Grant,
        rootfs: &Path,
        stdio: &Stdio,
        cgroups: &[PathBuf],
    ) -> Result<Vmm, VmError> {
        let (directories, cwd) = directories(rootfs, &grant.cwd)?;
        let config = VmmConfig {
            version: VERSION,
            args: grant.args.clone(),
            env: grant.env.clone(),
            memory_limit: grant.memory_limit,
            preopens: directories.iter().map(|(guest, _)| preopen(guest)).collect(),
            cwd: cwd.to_str().map(str::to_owned),
            user: Some(grant.user.clone()),
            network: program.0.uses(grant.network.config()),
            limits: Limits::default(),
            front_fd: None,
            serve: false,
            log_prefix: false,
            timeout_ms: None,
            asked_at_us: monotonic_us(),
            jail: true,
        };
        let place = Place {
            cgroup_procs: cgroups.iter().map(|dir| dir.join("cgroup.procs")).collect(),
            oom_score_adj: Some(grant.oom_score_adj),
        };
        let directories = directories.into_iter().map(|(_, directory)| directory);
        let copy = |file: &std::fs::File| file.try_clone().map_err(VmError::Stdio);
        let vmm = if program.serves() {
            Vmm::Server(Server::start(Plan {
                service: grant.service,
                config,
                code: copy(&program.0.code)?.into(),
                name: id.to_owned(),
                preopens: directories.collect(),
                stdout: copy(&stdio.stdout)?.into(),
                stderr: copy(&stdio.stderr)?.into(),
                place,
                netns: grant.network.namespace()?,
                node: self,
            })?)
        } else {
            let mut launch = Launch::new(&self.0, &config, program.0.code.as_fd(), id)
                .stdin(copy(&stdio.stdin)?)
                .stdout(copy(&stdio.stdout)?)
                .stderr(copy(&stdio.stderr)?)
                .new_session(true)
                .controlling_terminal(stdio.console.is_some())
                .place(place.clone());
            if config.network.needs_broker() {
                launch = launch.broker(grant.network.broker()?);
            }
            if config.network.http {
                launch = launch.front(grant.network.requests(&self.0, id, &config.network, &place)?);
            }
            for directory in directories {
                launch = launch.preopen(directory);
            }
            Vmm::Program(launch.spawn()?)
        };
        Ok(vmm)
    }
}

/// What the program sees of files: the root file system, and its working directory for relative paths, which WASI
/// resolves against the directory named `.`. The working directory comes along.
fn directories<'a>(rootfs: &Path, cwd: &'a Path) -> Result<(Directories, &'a Path), VolumeError> {
    let slash = Path::new("/");
    let mut directories = vec![("/", volumes::open_root(rootfs)?)];
    if cwd == slash || cwd == Path::new("") {
        return Ok((directories, slash));
    }
    match volumes::open_directory(directories[0].1.as_fd(), cwd) {
        Ok(directory) => {
            directories.push((".", directory));
            Ok((directories, cwd))
        }
        Err(error) => {
            log::warn!("working directory {}: {error}; it is / instead", cwd.display());
            Ok((directories, slash))
        }
    }
}

/// Directories by the names that the program knows them by.
type Directories = Vec<(&'static str, OwnedFd)>;

fn preopen(guest: &str) -> Preopen {
    Preopen {
        guest: guest.to_owned(),
        // The mounts themselves say what may not be changed.
        read_only: false,
        fd: 0,
    }
}

/// What runs in a container.
pub(crate) enum Vmm {
    /// One `mote-vmm`.
    Program(mote_launch::Vmm),
    /// A front and its VMs.
    Server(Server),
}

/// Sends signals to a [`Vmm`] for as long as it exists.
pub(crate) enum Killer {
    Program(mote_launch::Killer),
    Server(serve::Killer),
}

impl Killer {
    /// Sends a signal.
    ///
    /// # Errors
    /// ESRCH after the end.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        match self {
            Killer::Program(killer) => killer.kill(signal),
            Killer::Server(killer) => {
                killer.signal(signal);
                Ok(())
            }
        }
    }

    /// Sets the most guest memory of each VM in bytes.
    ///
    /// # Errors
    /// ESRCH after the end.
    pub(crate) fn set_memory_limit(&self, bytes: u64) -> io::Result<()> {
        match self {
            Killer::Program(killer) => killer.set_memory_limit(bytes),
            Killer::Server(killer) => {
                killer.set_memory_limit(bytes);
                Ok(())
            }
        }
    }
}

/// The pidfd, for the event loop.
struct Ended(mote_launch::Killer);

impl AsRawFd for Ended {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Vmm {
    /// The process id; that of the front for a server.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Vmm::Program(vmm) => vmm.pid().unsigned_abs(),
            Vmm::Server(server) => server.pid,
        }
    }

    /// A handle to send signals by.
    pub(crate) fn killer(&self) -> Killer {
        match self {
            Vmm::Program(vmm) => Killer::Program(vmm.killer()),
            Vmm::Server(server) => Killer::Server(server.killer()),
        }
    }

    /// Waits for the end without a thread.
    ///
    /// # Errors
    /// [`VmError::Wait`], [`VmError::Launch`].
    pub(crate) async fn wait(self) -> Result<Exit, VmError> {
        let pid = self.pid();
        let wait = |source| VmError::Wait { pid, source };
        let vmm = match self {
            Vmm::Program(vmm) => vmm,
            Vmm::Server(server) => {
                let lost = || wait(io::Error::other("its thread was lost"));
                return server.wait().await.ok_or_else(lost);
            }
        };
        // SAFETY: `Ended` shares the ownership of the pidfd and always answers the same one.
        let ended = unsafe { AsyncFd::register_with_interest(Ended(vmm.killer()), Interest::READABLE) }
            .map_err(|e| wait(e.into()))?;
        // A pidfd is readable once the process has ended (pidfd_open(2)).
        ended.readable().await.map_err(wait)?.retain_ready();
        drop(ended);
        // All of the process' descriptors are closed by now, so neither the reports nor the status need waiting for.
        Ok(vmm.wait()?)
    }
}

/// CLOCK_MONOTONIC, from which `mote-vmm` counts the phases of the start.
fn monotonic_us() -> Option<u64> {
    // SAFETY: a plain structure of integers, for which zero is a value.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) } != 0 {
        return None;
    }
    Some(u64::try_from(now.tv_sec).ok()? * 1_000_000 + u64::try_from(now.tv_nsec).ok()? / 1000)
}
