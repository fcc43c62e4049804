//! `mote serve`.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail};
use mote_abi::code::Kind;
use mote_config::{
    Network, Reason, VmmConfig,
    front::{FrontConfig, Outgoing},
};
use mote_launch::{
    Node, Place,
    serve::{Event, Serve, default_vms},
};

use crate::{
    args, compile,
    given::{Given, open_folders},
    options,
    signals::Held,
};

/// Serves until it is told to end.
pub(crate) fn serve(args: &args::Serve) -> anyhow::Result<ExitCode> {
    let (vm, front) = configure(args)?;
    let preopens = open_folders(&args.given)?.into_iter().map(Into::into).collect();
    let node = Node::discover()?;
    let program = compile::program(&node, &args.file)?;
    let kind = Kind::from_raw(program.header.kind);
    if !matches!(kind, Some(Kind::HttpProxy | Kind::CommandAndProxy)) {
        bail!(
            "{} does not serve HTTP: it does not export {}; `mote run` runs commands",
            args.file.display(),
            mote_abi::wasi::INCOMING_HANDLER
        );
    }
    let vm = VmmConfig {
        network: program.uses(vm.network),
        ..vm
    };
    let listener =
        TcpListener::bind(args.addr).with_context(|| format!("--addr {}: cannot listen there", args.addr))?;
    let address = listener
        .local_addr()
        .with_context(|| format!("--addr {}", args.addr))?;

    let held = Held::new().context("cannot hold signals back")?;
    let serving = Serve {
        node: &node,
        front,
        name: vm.args.first().cloned().unwrap_or_default(),
        vm,
        code: program.code.as_fd(),
        listeners: vec![listener],
        preopens,
        stdout: None,
        stderr: None,
        place: Place::default(),
        netns: None,
    }
    .start()?;
    let handle = serving.handle();
    held.each(move |_| handle.stop());
    let code = serving.run(|event| tell(&event, address))?;
    Ok(ExitCode::from(code))
}

fn tell(event: &Event<'_>, address: SocketAddr) {
    match event {
        // The wasmtime command's own words, which scripts wait for.
        Event::Ready => eprintln!("Serving HTTP on http://{address}/"),
        Event::Ended { exit, told: false } if exit.reason != Reason::Signal => {
            if let Some(text) = &exit.message {
                eprintln!("mote: {text}");
            }
        }
        Event::Ended { .. } => {}
        Event::Failed(e) => eprintln!("mote: {e}"),
        Event::FrontFailed(why) => eprintln!("mote: {why}; it is started anew"),
    }
}

/// All that the VMs and the front need to know.
fn configure(args: &args::Serve) -> anyhow::Result<(VmmConfig, FrontConfig)> {
    let name = args.file.file_name().unwrap_or(Path::new("wasm").as_os_str());
    let Some(name) = name.to_str() else {
        bail!("the name {name:?} is not UTF-8, and WASI's strings are")
    };
    let given = Given::new(&args.given, args.memory, args.timeout)?;
    let front = FrontConfig {
        request_ms: given.timeout.map_or(0, options::milliseconds),
        drain_ms: options::milliseconds(args.drain),
        outgoing: if given.network.http {
            Some(outgoing(&given.network)?)
        } else {
            None
        },
        ..FrontConfig::new(1, args.max_vms.unwrap_or_else(default_vms))
    };
    let vm = VmmConfig {
        version: mote_config::VERSION,
        args: vec![name.into()],
        env: given.env,
        memory_limit: given.memory,
        user: given.user,
        preopens: given.preopens,
        cwd: given.cwd,
        network: given.network,
        limits: given.limits,
        front_fd: None,
        serve: true,
        log_prefix: !args.no_logging_prefix,
        // The front keeps the time of each request.
        timeout_ms: None,
        asked_at_us: None,
        jail: true,
    };
    Ok((vm, front))
}

/// Requests wait for more than processors: other servers, files, clients.
fn outgoing(network: &Network) -> anyhow::Result<Outgoing> {
    Ok(Outgoing {
        resolv_conf: network.resolv_conf.clone(),
        hosts: network.hosts.clone(),
        roots: mote_launch::roots()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn configured(line: &[&str]) -> anyhow::Result<(VmmConfig, FrontConfig)> {
        let args = args::Args::parse_from(["mote", "serve"].iter().chain(line).chain(&["dir/a.wasm"]));
        let args::Command::Serve(serve) = args.command else {
            panic!("not serve")
        };
        configure(&serve)
    }

    #[test]
    fn nothing_is_granted_unless_it_is_asked_for() {
        let (vm, front) = configured(&[]).unwrap();
        assert_eq!(vm.args, ["a.wasm"]);
        assert_eq!((vm.network, front.outgoing), (Network::default(), None));
        assert!(vm.log_prefix && vm.timeout_ms.is_none() && front.vms_max >= 8);
        assert_eq!(front.request_ms, 0);
        let (vm, front) = configured(&["--net"]).unwrap();
        assert!(vm.network.http && front.outgoing.is_some());
    }

    #[test]
    fn the_time_is_that_of_each_request() {
        let (vm, front) = configured(&["-W", "timeout=2s", "--max-vms", "3", "--no-logging-prefix"]).unwrap();
        assert_eq!((vm.timeout_ms, front.request_ms, front.vms_max), (None, 2000, 3));
        assert!(!vm.log_prefix);
    }
}
