//! `mote-install`: puts Mote on a node, has the node run a program in a micro-VM, tells containerd of it, and takes all
//! of it back to the byte.

mod args;
mod cluster;
mod command;
mod config;
mod cri;
mod daemon;
mod distribution;
mod error;
mod host;
mod install;
mod marks;
mod node;
mod processes;
mod release;
mod restart;
mod runtime;
mod signals;
mod state;
mod status;
mod toml;
mod uninstall;
mod verify;
mod withdraw;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::error::Error;
use crate::host::Host;
use crate::node::Node;

fn main() -> ExitCode {
    let result = match args::Args::parse().command {
        args::Command::Install(args) => install(&args),
        args::Command::Uninstall(args) => uninstall(&args),
        args::Command::Status(args) => status(&args),
        args::Command::Daemon(args) => daemon(&args),
        args::Command::Withdraw(args) => withdraw(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("mote-install: {error}");
        ExitCode::from(error.exit_code())
    })
}

fn install(args: &args::Install) -> Result<ExitCode, Error> {
    let done = job(args)?.run()?;
    for warning in &done.warnings {
        println!("warning: {warning}");
    }
    let release = if done.same_release { "as before" } else { "new" };
    println!(
        "release {} ({release}) in {}",
        done.release,
        args.node.prefix.display()
    );
    for path in &done.changed {
        println!("changed {}", path.display());
    }
    println!("{}", restarted(&done.changed, done.restarted));
    Ok(ExitCode::SUCCESS)
}

fn uninstall(args: &args::Uninstall) -> Result<ExitCode, Error> {
    let job = uninstall::Uninstall {
        node: node(&args.node)?,
        service: args.service.service(),
        force: args.force,
    };
    let done = job.run()?;
    if !done.found {
        println!("Mote is not installed here; nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    for path in &done.changed {
        println!("changed {}", path.display());
    }
    println!("{}", restarted(&done.changed, done.restarted));
    Ok(ExitCode::SUCCESS)
}

fn status(args: &args::Status) -> Result<ExitCode, Error> {
    let status = status::status(&node(&args.node)?, args.from.as_deref())?;
    if args.json {
        println!("{}", serde_json::to_string(&status).unwrap_or_default());
    } else {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
        println!("distribution   {}", or_none(&status.distribution));
        println!("configuration  {}", or_none(&status.configuration));
        println!("release        {}", or_none(&status.release));
        println!("pods           {}", status.pods);
        for problem in &status.problems {
            println!("problem        {problem}");
        }
    }
    Ok(if status.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn daemon(args: &args::Daemon) -> Result<ExitCode, Error> {
    let daemon = daemon::Daemon {
        cluster: cluster::Cluster::of_pod()?,
        node: args.node_name.clone(),
        install: job(&args.install)?,
        interval: Duration::from_secs(args.interval),
    };
    daemon.run();
    Ok(ExitCode::SUCCESS)
}

fn withdraw(args: &args::Withdraw) -> Result<ExitCode, Error> {
    let withdraw = withdraw::Withdraw {
        cluster: cluster::Cluster::of_pod()?,
        daemon_set: args.daemon_set.clone(),
        selector: args.selector.clone(),
        patience: Duration::from_secs(args.timeout),
        interval: Duration::from_secs(2),
    };
    withdraw.run()?;
    Ok(ExitCode::SUCCESS)
}

fn job(args: &args::Install) -> Result<install::Install, Error> {
    Ok(install::Install {
        node: node(&args.node)?,
        from: match &args.from {
            Some(from) => from.clone(),
            None => own_dir()?,
        },
        service: args.service.service(),
        verify: !args.no_verify,
    })
}

fn restarted(changed: &[PathBuf], restarted: bool) -> &'static str {
    if restarted {
        "containerd was restarted and answers"
    } else if changed.is_empty() {
        "containerd's configuration is as it was"
    } else {
        "containerd was not restarted; restart it so that this counts"
    }
}

fn node(args: &args::Node) -> Result<Node, Error> {
    for path in [Some(&args.prefix), Some(&args.cache), args.config.as_ref()]
        .into_iter()
        .flatten()
    {
        if !host::is_plain(path) {
            return Err(Error::Path(path.clone()));
        }
    }
    Ok(Node {
        host: Host::new(&args.root)?,
        prefix: args.prefix.clone(),
        cache: args.cache.clone(),
        distribution: args.distribution,
        config: args.config.clone(),
    })
}

/// The folder of this executable.
fn own_dir() -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(Error::io("find", Path::new("/proc/self/exe")))?;
    Ok(own.parent().map(Path::to_path_buf).unwrap_or_default())
}
