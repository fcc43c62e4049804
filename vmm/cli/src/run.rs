//! `mote run`.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, bail};
use mote_abi::code::Kind;
use mote_config::{Reason, VmmConfig};
use mote_launch::{
    Launch, Node, Place, broker,
    outgoing::{self, Requests},
};

use crate::{
    args, compile,
    given::{Given, open_folders},
    options,
    signals::Held,
    stats,
};

/// Runs a program and ends as it does.
pub(crate) fn run(args: &args::Run) -> anyhow::Result<ExitCode> {
    let (path, config) = configure(args)?;
    let folders = open_folders(&args.given)?;
    let node = Node::discover()?;
    let asked = Instant::now();
    let program = compile::program(&node, &path)?;
    if Kind::from_raw(program.header.kind) == Some(Kind::HttpProxy) {
        bail!(
            "{} is a component that serves HTTP: use `mote serve`",
            path.display()
        );
    }
    let lookup_us = asked.elapsed().as_secs_f64() * 1e6;
    let name = config.args.first().cloned().unwrap_or_default();

    let held = Held::new().context("cannot hold signals back")?;
    let config = VmmConfig {
        asked_at_us: monotonic_us(),
        network: program.uses(config.network),
        ..config
    };
    let mut launch = Launch::new(&node, &config, program.code.as_fd(), &name).die_with_parent(true);
    for folder in folders {
        launch = launch.preopen(folder);
    }
    if config.network.needs_broker() {
        launch = launch.broker(broker::start(None).context("cannot start the broker of sockets")?);
    }
    if config.network.http {
        let requests = Requests {
            node: node.clone(),
            name: name.clone(),
            resolv_conf: config.network.resolv_conf.clone(),
            hosts: config.network.hosts.clone(),
            place: Place::default(),
            netns: None,
        };
        let front = outgoing::start(requests, |error| eprintln!("mote: HTTP requests: {error}"));
        launch = launch.front(front.context("cannot watch for HTTP requests")?);
    }
    let vmm = launch.spawn()?;
    held.forward(vmm.killer());
    let (exit, told) = vmm.wait_told()?;

    if !told
        && exit.reason != Reason::Signal
        && let Some(text) = &exit.message
    {
        eprintln!("mote: {text}");
    }
    if args.stats {
        eprintln!("{}", stats::line(&exit, &program, lookup_us));
    }
    Ok(ExitCode::from(exit.code))
}

/// The file, and all that the VM needs to know about the run.
fn configure(args: &args::Run) -> anyhow::Result<(PathBuf, VmmConfig)> {
    let text = |what: &str, value: &std::ffi::OsStr| match value.to_str() {
        Some(text) => Ok(text.to_string()),
        None => bail!("{what} {value:?} is not UTF-8, and WASI's strings are"),
    };
    let [file, rest @ ..] = args.file_and_args.as_slice() else {
        bail!("no file was named")
    };
    let path = PathBuf::from(file);
    let name = match &args.argv0 {
        Some(name) => name.clone(),
        // Only the last part: where the file lies is none of the program's business.
        None => text(
            "the name",
            path.file_name().unwrap_or(Path::new("wasm").as_os_str()),
        )?,
    };
    let mut program_args = vec![name];
    for arg in rest {
        program_args.push(text("the argument", arg)?);
    }
    let given = Given::new(&args.given, args.memory, args.timeout)?;
    let config = VmmConfig {
        version: mote_config::VERSION,
        args: program_args,
        env: given.env,
        memory_limit: given.memory,
        user: given.user,
        preopens: given.preopens,
        cwd: given.cwd,
        network: given.network,
        limits: given.limits,
        front_fd: None,
        serve: false,
        log_prefix: false,
        timeout_ms: given.timeout.map(options::milliseconds),
        asked_at_us: None,
        jail: true,
    };
    Ok((path, config))
}

/// CLOCK_MONOTONIC in microseconds, which `mote-vmm` compares with its own.
fn monotonic_us() -> Option<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: pointer to a local.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) } != 0 {
        return None;
    }
    let seconds = u64::try_from(now.tv_sec).ok()?;
    let nanoseconds = u64::try_from(now.tv_nsec).ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(nanoseconds / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(line: &[&str]) -> anyhow::Result<(PathBuf, VmmConfig)> {
        configure(&args::tests::run(line))
    }

    #[test]
    fn the_programs_view() {
        let (path, config) =
            configured(&["--env", "A=1", "--timeout", "2s", "dir/a.wasm", "x", "--memory"]).unwrap();
        assert_eq!(path, Path::new("dir/a.wasm"));
        assert_eq!(config.args, ["a.wasm", "x", "--memory"]);
        assert_eq!(config.env, [("A".to_string(), "1".to_string())]);
        assert_eq!((config.timeout_ms, config.memory_limit), (Some(2000), 1 << 30));
        assert!(config.jail);
        let (_, config) = configured(&["--argv0", "me", "a.wasm"]).unwrap();
        assert_eq!(config.args, ["me"]);
    }
}
