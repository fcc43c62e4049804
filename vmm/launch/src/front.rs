//! The front's process and the socket to it.

use std::{
    io::{self, IoSlice},
    net::TcpListener,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Instant,
};

use mote_config::front::{FrontConfig, Message, fd};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair},
};

use crate::{
    Killer, Node,
    child::{Command, Place},
    error::{Error, LaunchError},
    process::{Child, Status},
    run::signal_name,
    vmm::sealed_memfd,
};

/// What a front's process is started with.
#[derive(Debug)]
pub(crate) struct Process<'a> {
    pub(crate) node: &'a Node,
    /// Its number of listeners is filled in.
    pub(crate) config: &'a FrontConfig,
    /// What the process is called in `ps`.
    pub(crate) name: &'a str,
    pub(crate) listeners: &'a [TcpListener],
    pub(crate) place: &'a Place,
}

/// A running `mote-http`.
#[derive(Debug)]
pub(crate) struct Front {
    killer: Killer,
    control: OwnedFd,
}

/// What the front has sent.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    Nonsense,
}

/// Both ends of a seqpacket socket.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    );
    Ok(pair?)
}

/// Waits until one of `fds` is readable or has ended, or until `due`; which are.
pub(crate) fn wait(fds: &[BorrowedFd<'_>], due: Option<Instant>) -> io::Result<Vec<bool>> {
    let mut entries: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = match due {
        // Rounded up, so that the time is over when poll returns.
        Some(due) => {
            let left = due.saturating_duration_since(Instant::now()).as_millis() + 1;
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
        None => PollTimeout::NONE,
    };
    match poll(&mut entries, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(e) => return Err(e.into()),
    }
    let ready = |entry: &PollFd<'_>| entry.revents().is_some_and(|flags| !flags.is_empty());
    Ok(entries.iter().map(ready).collect())
}

impl Front {
    /// Starts the process.
    pub(crate) fn start(process: &Process<'_>) -> Result<Front, Error> {
        let path = process.node.front()?;
        let prepare = |what| move |cause| LaunchError::Prepare { what, cause };
        let listeners = u32::try_from(process.listeners.len()).unwrap_or(u32::MAX);
        if listeners > fd::LISTENERS_MAX {
            let text = format!(
                "{listeners} listening sockets, where {} are the most",
                fd::LISTENERS_MAX
            );
            return Err(prepare("the front")(io::Error::new(io::ErrorKind::InvalidInput, text)).into());
        }
        let config = FrontConfig {
            listeners,
            ..process.config.clone()
        };
        let config = sealed_memfd(&config.to_json()).map_err(prepare("the front's configuration"))?;
        let (control, theirs) = socket_pair().map_err(prepare("a socket"))?;
        let start = |what| {
            let path = path.clone();
            move |cause| LaunchError::Start { path, what, cause }
        };
        let mut command =
            Command::new(&path, &format!("mote-http: {}", process.name)).map_err(start("its name"))?;
        command
            .fd(config.as_fd(), fd::CONFIG)
            .new_session(true)
            .die_with_parent(true);
        for (number, listener) in (fd::FIRST_LISTENER..).zip(process.listeners) {
            command.fd(listener.as_fd(), number);
        }
        command.place(process.place)?;
        if let Some(level) = std::env::var_os("RUST_BACKTRACE") {
            command
                .env("RUST_BACKTRACE", &level)
                .map_err(start("its environment"))?;
        }
        let child: Child = command
            .with_fd(theirs.as_fd(), fd::CONTROL)
            .spawn()
            .map_err(|e| start(e.what)(e.cause))?;
        Ok(Front {
            killer: Killer::new(child),
            control,
        })
    }

    pub(crate) fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Readable when the process has ended.
    pub(crate) fn process(&self) -> BorrowedFd<'_> {
        self.killer.as_fd()
    }

    /// Readable when it has said something.
    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        let _ = self.killer.kill(libc::SIGKILL);
    }

    /// The next thing that it has said, if there is one.
    pub(crate) fn hear(&self) -> Option<Heard> {
        let mut bytes = [0; Message::LEN + 1];
        match recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            // The end of the process tells more than the end of its socket.
            Ok(0) | Err(_) => None,
            Ok(len) => Some(Message::from_bytes(&bytes[..len]).map_or(Heard::Nonsense, Heard::Message)),
        }
    }

    /// Says something. If the front does not listen, it has ended or is about to.
    pub(crate) fn say(&self, message: Message, fd: Option<BorrowedFd<'_>>) {
        let fds: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let control: Vec<_> = if fds.is_empty() {
            Vec::new()
        } else {
            vec![ControlMessage::ScmRights(&fds)]
        };
        let _ = sendmsg::<()>(
            self.control.as_raw_fd(),
            &[IoSlice::new(&message.to_bytes())],
            &control,
            MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            None,
        );
    }

    /// How the process, which has ended, did so: its exit code, or why there is none.
    pub(crate) fn status(&self) -> Result<u8, String> {
        match self.killer.child().wait() {
            Ok(Status::Exited(code)) => Ok(u8::try_from(code).unwrap_or(mote_config::exit::INTERNAL)),
            Ok(Status::Killed(signal)) => Err(format!(
                "mote-http was killed by signal {signal} ({})",
                signal_name(signal)
            )),
            Ok(Status::Unknown) => Err("another part of this process took mote-http's exit status".into()),
            Err(e) => Err(format!("mote-http cannot be waited for: {e}")),
        }
    }
}
