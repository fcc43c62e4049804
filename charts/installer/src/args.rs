//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand};

use crate::distribution::Distribution;
use crate::restart::{Restart, Service};

const HELP: &str = "\
Exit codes:
  0  done; or, for status, the node is complete
  1  it failed, and the node is as it was; or, for status, the node is not complete
  2  the command line is wrong
  3  the node cannot run Mote: what lacks is named, and nothing was changed
  4  pods of handler mote still run
  5  containerd did not work with the new configuration, and has the old one again";

/// Installs Mote on a node, verifies it, registers it with containerd, and undoes all of it.
#[derive(Debug, Parser)]
#[command(name = "mote-install", version, about, max_term_width = 100, after_help = HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Installs or upgrades; does nothing that is done already.
    Install(Install),
    /// Takes back all that install did, and nothing else.
    Uninstall(Uninstall),
    /// Says what is installed, and what is missing.
    Status(Status),
    /// Installs, labels the node and looks after both until SIGTERM: what the DaemonSet runs.
    Daemon(Daemon),
    /// Has the installers take Mote off all nodes, then deletes their DaemonSet: what runs before the chart is deleted.
    Withdraw(Withdraw),
}

const INSTALL_HELP: &str = "\
Examples:
  mote-install install
  mote-install install --from bin --distribution k3s
  mote-install install --from bin --config /etc/containerd/config.toml --prefix /usr/local/mote --no-restart

Executables go to PREFIX/releases/DIGEST, and PREFIX/bin is a link to the release in use: pods that
run keep theirs. The node must run a program in a micro-VM before containerd is told of Mote.
containerd is restarted only if its configuration changed; pods go on meanwhile.";

#[derive(Debug, Group)]
#[command(after_help = INSTALL_HELP)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) service: Containerd,
    /// The folder with the executables: containerd-shim-mote-v1, mote, mote-compile, mote-http, mote-install and
    /// mote-vmm; by default the one of this program.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Does without the checks of the node and the program that it has to run.
    #[arg(long)]
    pub(crate) no_verify: bool,
}

const UNINSTALL_HELP: &str = "\
Examples:
  mote-install uninstall
  mote-install uninstall --root /host --no-restart

Lines of containerd's configuration that others wrote stay as they are, to the byte.";

#[derive(Debug, Group)]
#[command(after_help = UNINSTALL_HELP)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) service: Containerd,
    /// Also while pods of handler mote run; they cannot be deleted afterwards.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) node: Node,
    /// Also whether the executables are those of this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const DAEMON_HELP: &str = "\
Example, in a pod with hostPID and the node's / at /host:
  mote-install daemon --root /host --from /opt/mote/bin

The label mote.dev/ready=true is on the node while a program has run there and containerd knows Mote;
the annotation mote.dev/message says why it is not. The annotation mote.dev/uninstall=requested has
the node cleaned; it becomes \"done\", or says what is in the way.";

#[derive(Debug, Group)]
#[command(after_help = DAEMON_HELP)]
pub(crate) struct Daemon {
    #[command(flatten)]
    pub(crate) install: Install,
    /// This node's name.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub(crate) node_name: String,
    /// Seconds between two looks at the node.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) interval: u64,
}

#[derive(Debug, Group)]
pub(crate) struct Withdraw {
    /// The installers' DaemonSet, in this pod's namespace.
    #[arg(long, value_name = "NAME")]
    pub(crate) daemon_set: String,
    /// Selects the pods of the DaemonSet.
    #[arg(long, value_name = "LABELS")]
    pub(crate) selector: String,
    /// Seconds that it may take.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
}

/// Which node, and where things are on it.
#[derive(Debug, Group)]
pub(crate) struct Node {
    /// The node's root folder, as seen from here.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// The folder on the node that gets the executables.
    #[arg(long, value_name = "DIR", default_value = "/opt/mote")]
    pub(crate) prefix: PathBuf,
    /// The folder on the node that gets compiled code.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/mote",
        env = "MOTE_CACHE_DIR"
    )]
    pub(crate) cache: PathBuf,
    /// Who runs containerd; found out by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) distribution: Option<Distribution>,
    /// containerd's main configuration file on the node, if it is not where the distribution has it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// How containerd gets to know.
#[derive(Debug, Group)]
pub(crate) struct Containerd {
    /// Does not restart containerd; it reads its configuration when somebody does.
    #[arg(long, conflicts_with_all = ["restart_command", "unit"])]
    pub(crate) no_restart: bool,
    /// Restarts it by this command of the node, words separated by spaces, and not by systemctl.
    #[arg(long, value_name = "COMMAND", conflicts_with = "unit")]
    pub(crate) restart_command: Option<String>,
    /// The unit of systemd that runs it, if it is not called as usual.
    #[arg(long, value_name = "NAME")]
    pub(crate) unit: Option<String>,
    /// containerd's socket on the node, if it is not where the distribution has it.
    #[arg(long, value_name = "FILE")]
    pub(crate) socket: Option<PathBuf>,
    /// Seconds that it has to come back.
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) wait: u64,
}

impl Containerd {
    pub(crate) fn service(&self) -> Service {
        let words = |command: &String| command.split_whitespace().map(str::to_string).collect();
        Service {
            distribution: Distribution::Containerd,
            restart: match &self.restart_command {
                _ if self.no_restart => Restart::Never,
                Some(command) => Restart::Command(words(command)),
                None => Restart::Unit(self.unit.clone()),
            },
            socket: self.socket.clone(),
            patience: Duration::from_secs(self.wait),
            handler: true,
        }
    }
}
