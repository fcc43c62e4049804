//! Starts `mote-vmm` and waits for its end.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::Arc,
};

use mote_config::{Exit, Reason, Report, Stats, VmmConfig, exit, fd};

use crate::{
    Node,
    child::{Command, Place},
    error::{Error, LaunchError},
    process::{Child, Status, poll_readable, queue_signal, send_signal},
    report::Reports,
    run::signal_name,
};

/// One start of `mote-vmm`.
#[derive(Debug)]
pub struct Launch<'a> {
    node: &'a Node,
    config: &'a VmmConfig,
    code: BorrowedFd<'a>,
    name: String,
    stdio: [Option<OwnedFd>; 3],
    broker: Option<OwnedFd>,
    front: Option<OwnedFd>,
    preopens: Vec<OwnedFd>,
    place: Place,
    new_session: bool,
    die_with_parent: bool,
    controlling_terminal: bool,
}

impl<'a> Launch<'a> {
    /// Runs the program in `code` as `config` says; `name` is what the process is called in `ps`.
    ///
    /// Without more, the program has this process's standard input, output and error.
    #[must_use]
    pub fn new(node: &'a Node, config: &'a VmmConfig, code: BorrowedFd<'a>, name: &str) -> Launch<'a> {
        let name = name
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(200)
            .collect();
        Launch {
            node,
            config,
            code,
            name,
            stdio: [None, None, None],
            broker: None,
            front: None,
            preopens: Vec::new(),
            place: Place::default(),
            new_session: false,
            die_with_parent: false,
            controlling_terminal: false,
        }
    }

    /// The program's standard input.
    #[must_use]
    pub fn stdin(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdio[0] = Some(fd.into());
        self
    }

    /// The program's standard output.
    #[must_use]
    pub fn stdout(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdio[1] = Some(fd.into());
        self
    }

    /// The program's standard error.
    #[must_use]
    pub fn stderr(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdio[2] = Some(fd.into());
        self
    }

    /// The VMM's end of the broker's socket: what [`crate::broker::start`] gave.
    #[must_use]
    pub fn broker(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.broker = Some(fd.into());
        self
    }

    /// The VMM's end of the HTTP front's socket.
    #[must_use]
    pub fn front(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.front = Some(fd.into());
        self
    }

    /// The open directory (O_PATH is enough) of the next of the configuration's preopens: once for each, in order.
    #[must_use]
    pub fn preopen(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.preopens.push(fd.into());
        self
    }

    /// Where the kernel counts the process.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Starts a session of its own, away from the caller's terminal.
    #[must_use]
    pub fn new_session(mut self, yes: bool) -> Self {
        self.new_session = yes;
        self
    }

    /// Makes standard input, which is a terminal of nobody's, that of the new session: SIGINT can be typed there.
    #[must_use]
    pub fn controlling_terminal(mut self, yes: bool) -> Self {
        self.controlling_terminal = yes;
        self
    }

    /// Kills the VMM when the *thread* that spawns it ends (PR_SET_PDEATHSIG). A change of user clears this: a VMM
    /// that gives up root has to ask for it again.
    #[must_use]
    pub fn die_with_parent(mut self, yes: bool) -> Self {
        self.die_with_parent = yes;
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    /// If KVM or `mote-vmm` is missing, or if a step of the start fails; nothing is left behind then.
    pub fn spawn(self) -> Result<Vmm, Error> {
        let path = self.node.vmm()?;
        let kvm = self.node.open_kvm()?;
        let (config, grants) = self.grants().map_err(|cause| LaunchError::Prepare {
            what: "the granted directories",
            cause,
        })?;
        let config = sealed_memfd(&config.to_json()).map_err(|cause| LaunchError::Prepare {
            what: "the configuration",
            cause,
        })?;
        let (read, write) = io::pipe().map_err(|cause| LaunchError::Prepare {
            what: "the pipe for reports",
            cause,
        })?;
        let start = |what| {
            let path = path.clone();
            move |cause| LaunchError::Start { path, what, cause }
        };
        let mut command =
            Command::new(&path, &format!("mote-vmm: {}", self.name)).map_err(start("its name"))?;
        for (number, fd) in (0..).zip(&self.stdio) {
            if let Some(fd) = fd {
                command.fd(fd.as_fd(), number);
            }
        }
        command
            .fd(config.as_fd(), fd::CONFIG)
            .fd(self.code, fd::CODE)
            .fd(kvm.as_fd(), fd::KVM)
            .new_session(self.new_session)
            .die_with_parent(self.die_with_parent)
            .controlling_terminal(self.controlling_terminal);
        for (number, fd) in grants {
            command.fd(fd, number);
        }
        command.place(&self.place)?;
        if let Some(level) = std::env::var_os("RUST_BACKTRACE") {
            command
                .env("RUST_BACKTRACE", &level)
                .map_err(start("its environment"))?;
        }
        let child = command
            .with_fd(write.as_fd(), fd::REPORT)
            .spawn()
            .map_err(|e| LaunchError::Start {
                path: path.clone(),
                what: e.what,
                cause: e.cause,
            })?;
        let reports = Reports::new(read.into());
        Ok(Vmm {
            child: Arc::new(child),
            reports,
        })
    }
}

impl Launch<'_> {
    /// The configuration with the numbers of the granted descriptors, and these.
    fn grants(&self) -> io::Result<(VmmConfig, Vec<(RawFd, BorrowedFd<'_>)>)> {
        let mut config = self.config.clone();
        let mut grants = Vec::new();
        let mut next = fd::FIRST_GRANT..;
        for (number, fd) in [
            (&mut config.network.broker_fd, &self.broker),
            (&mut config.front_fd, &self.front),
        ] {
            *number = fd.as_ref().and_then(|fd| {
                let number = next.next()?;
                grants.push((number, fd.as_fd()));
                Some(number)
            });
        }
        let (named, open) = (config.preopens.len(), self.preopens.len());
        if named != open {
            let text = format!("the configuration names {named}, {open} are open");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        for (preopen, (number, fd)) in config.preopens.iter_mut().zip(next.zip(&self.preopens)) {
            preopen.fd = number;
            grants.push((number, fd.as_fd()));
        }
        Ok((config, grants))
    }
}

/// A running `mote-vmm`.
#[derive(Debug)]
pub struct Vmm {
    child: Arc<Child>,
    reports: Reports,
}

/// Sends signals to a [`Vmm`], from any thread and at any time: never to another process that got its number.
#[derive(Clone, Debug)]
pub struct Killer(Arc<Child>);

impl Killer {
    pub(crate) fn new(child: Child) -> Killer {
        Killer(Arc::new(child))
    }

    pub(crate) fn child(&self) -> &Child {
        &self.0
    }

    /// Sends `signal`.
    ///
    /// # Errors
    /// ESRCH if the process has ended and has been waited for.
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        send_signal(self.0.pidfd.as_fd(), signal)
    }

    /// Sets the most guest memory in bytes. What is mapped already stays; a program that asks for more than the limit is
    /// out of memory then.
    ///
    /// # Errors
    /// ESRCH as for [`Killer::kill`].
    pub fn set_memory_limit(&self, bytes: u64) -> io::Result<()> {
        queue_signal(self.0.pidfd.as_fd(), mote_config::signal::MEMORY_LIMIT, bytes)
    }

    /// Waits until the process has ended, without reaping it; false if `timeout_ms` passed first (-1: for ever).
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait_ended(&self, timeout_ms: i32) -> io::Result<bool> {
        poll_readable(self.0.pidfd.as_fd(), timeout_ms)
    }
}

impl AsFd for Killer {
    /// The pidfd: readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

impl Vmm {
    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// A handle to send signals by, which outlives `self`.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer(Arc::clone(&self.child))
    }

    /// Waits until the machine is built ([`Report::Started`]). False if the process ended before, or said something
    /// else first: [`Vmm::wait`] tells why.
    pub fn started(&mut self) -> bool {
        matches!(self.reports.next(), Some(Report::Started))
    }

    /// Waits for the end and merges what the process reported with how it ended. The process's own status counts
    /// for the code, the report for the reason.
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub fn wait(self) -> Result<Exit, Error> {
        self.wait_told().map(|(exit, _)| exit)
    }

    /// As [`Vmm::wait`], and whether the VMM itself told how it ended. If so it has also told the program's standard
    /// error whatever there is to say; if not, the message has been told to nobody yet.
    ///
    /// # Errors
    /// As [`Vmm::wait`].
    pub fn wait_told(self) -> Result<(Exit, bool), Error> {
        let report = self.reports.exit();
        let status = self.child.wait().map_err(|cause| LaunchError::Wait {
            pid: self.child.pid,
            cause,
        })?;
        let told = report.is_some() && !matches!(status, Status::Killed(_));
        Ok((merge(status, report), told))
    }
}

fn merge(status: Status, report: Option<Exit>) -> Exit {
    let made_up = |code: u8, reason, message: String| Exit {
        code,
        reason,
        message: Some(message),
        stats: report.as_ref().map(|r| r.stats.clone()).unwrap_or_default(),
    };
    match status {
        Status::Killed(signal) => {
            let code = u8::try_from(128 + signal).unwrap_or(exit::INTERNAL);
            let reason = match signal {
                libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT => Reason::Signal,
                _ => Reason::Internal,
            };
            made_up(
                code,
                reason,
                format!("mote-vmm was killed by signal {signal} ({})", signal_name(signal)),
            )
        }
        Status::Unknown => report.unwrap_or_else(|| Exit {
            code: exit::INTERNAL,
            reason: Reason::Internal,
            message: Some("mote-vmm ended, but another part of this process took its exit status".into()),
            stats: Stats::default(),
        }),
        Status::Exited(code) => {
            let code = u8::try_from(code).unwrap_or(exit::INTERNAL);
            match report {
                Some(report) => Exit { code, ..report },
                None => made_up(
                    code,
                    Reason::Internal,
                    format!("mote-vmm exited with {code} without a report; its standard error may say more"),
                ),
            }
        }
    }
}

/// A file in memory that nobody can change any more, at its start.
pub(crate) fn sealed_memfd(bytes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string; the flags are those of memfd_create(2).
    let fd = unsafe {
        libc::memfd_create(
            c"mote-config".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(bytes)?;
    file.rewind()?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: takes no pointers.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests;
