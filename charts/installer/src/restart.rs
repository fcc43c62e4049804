//! Has containerd read its configuration anew, and waits until it answers.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::command;
use crate::cri;
use crate::distribution::Distribution;
use crate::error::Error;
use crate::host::Host;
use crate::runtime::HANDLER;

/// k3s and its like listen before they are up; a service that dies does so in this time.
const SETTLE: Duration = Duration::from_secs(3);

/// How containerd is restarted.
#[derive(Clone, Debug)]
pub(crate) enum Restart {
    /// Not at all: somebody else does it.
    Never,
    /// The unit of systemd that runs it, or the one of this name.
    Unit(Option<String>),
    /// A command with its arguments.
    Command(Vec<String>),
}

/// A containerd to be restarted.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) distribution: Distribution,
    pub(crate) restart: Restart,
    /// Where it listens; `None` for where the distribution has it.
    pub(crate) socket: Option<PathBuf>,
    /// How long it may take to come back.
    pub(crate) patience: Duration,
    /// Whether its CRI has to list our handler then.
    pub(crate) handler: bool,
}

impl Service {
    /// Restarts it and waits for an answer.
    pub(crate) fn restart(&self, host: &Host) -> Result<(), Error> {
        match &self.restart {
            Restart::Never => return Ok(()),
            Restart::Command(words) => {
                let [program, args @ ..] = words.as_slice() else {
                    return Ok(());
                };
                command::output(command::on(host, Path::new(program)).args(args))?;
            }
            Restart::Unit(name) => {
                self.may_use_systemctl(host)?;
                let unit = match name {
                    Some(name) => name.clone(),
                    None => self.active_unit(host)?,
                };
                command::output(systemctl(host).args(["restart", &unit]))?;
            }
        }
        self.wait(host)
    }

    fn may_use_systemctl(&self, host: &Host) -> Result<(), Error> {
        if host.is_own() || command::is_root_of_init(host) {
            return Ok(());
        }
        Err(Error::Command {
            command: "systemctl restart".into(),
            reason: format!(
                "{} is not the root of process 1 here; a pod needs hostPID and the node's / mounted there, else use \
                 --no-restart or --restart-command",
                host.root().display()
            ),
        })
    }

    fn active_unit(&self, host: &Host) -> Result<String, Error> {
        let units = self.distribution.units();
        for unit in units {
            if command::output(systemctl(host).args(["is-active", "--quiet", unit])).is_ok() {
                return Ok((*unit).to_string());
            }
        }
        Err(Error::Command {
            command: "systemctl restart".into(),
            reason: format!("none of {} is active; --unit names another", units.join(", ")),
        })
    }

    fn wait(&self, host: &Host) -> Result<(), Error> {
        let start = Instant::now();
        let mut since: Option<Instant> = None;
        let mut last;
        loop {
            match self.ask(host) {
                Ok(()) => {
                    last = String::new();
                    if since.get_or_insert_with(Instant::now).elapsed() >= SETTLE {
                        return Ok(());
                    }
                }
                Err(reason) => {
                    last = reason;
                    since = None;
                }
            }
            if start.elapsed() >= self.patience {
                break;
            }
            thread::sleep(Duration::from_millis(250));
        }
        Err(Error::Command {
            command: "containerd".into(),
            reason: format!(
                "{}: {last} after {} s",
                self.socket().display(),
                self.patience.as_secs()
            ),
        })
    }

    fn socket(&self) -> &Path {
        self.socket
            .as_deref()
            .unwrap_or_else(|| self.distribution.socket())
    }

    fn ask(&self, host: &Host) -> Result<(), String> {
        let socket = host.real(self.socket()).map_err(|e| e.to_string())?;
        UnixStream::connect(&socket).map_err(|e| e.to_string())?;
        if !self.handler || cri::knows(&socket, HANDLER)? {
            return Ok(());
        }
        Err(format!(
            "CRI does not list handler {HANDLER}; a file that the configuration imports may replace its section"
        ))
    }
}

fn systemctl(host: &Host) -> std::process::Command {
    command::on(host, Path::new("systemctl"))
}
