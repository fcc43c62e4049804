//! `mote-vmm`: one process, one VM, one program.
//!
//! Its parent hands it everything as open descriptors (`mote_config::fd`). It is started by `mote` and by the shim,
//! not by people.

mod bare;

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mote_abi::ring::HANDLES_MAX;
use mote_config::{Exit, Reason, Report, Stats, VERSION, VmmConfig, exit, fd};
use mote_vmm::device::clock;
use mote_vmm::device::files::Directory;
use mote_vmm::device::io_thread;
use mote_vmm::device::server::Server;
use mote_vmm::device::shared::{Shared, State};
use mote_vmm::device::sockets::{Grants, Network, Reach};
use mote_vmm::device::stream::Stream;
use mote_vmm::jail::{self, Granted, JailError, Keep};
use mote_vmm::memory::touched::Touched;
use mote_vmm::run::{Times, run};
use mote_vmm::vm::{Prepared, Program, VmError};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

const USAGE: &str =
    "mote-vmm is started by `mote run` and by containerd-shim-mote-v1, which hand it open descriptors.
By hand:
  mote-vmm --probe    print the CPU features that a guest sees, as JSON
  mote-vmm --floor    print the cost of the bare KVM calls of a start, as JSON
  mote-vmm --version";

/// Why the program was not run.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot read the configuration on descriptor {number}: {source}")]
    ReadConfig { number: RawFd, source: io::Error },
    #[error("the configuration is not understood: {0}")]
    ParseConfig(#[source] serde_json::Error),
    #[error(
        "the configuration has version {0}, this mote-vmm speaks {VERSION}; install all of Mote's files together"
    )]
    ConfigVersion(u32),
    #[error("descriptor {0} is not open; mote-vmm is started by `mote` or the shim")]
    Descriptor(RawFd),
    #[error("{0} directories are granted, {HANDLES_MAX} handles are supported")]
    Directories(usize),
    #[error("cannot take over signals or start a thread: {0}")]
    Thread(#[source] io::Error),
    #[error("cannot enter the jail: {0}")]
    Jail(#[from] JailError),
    #[error(transparent)]
    Vm(#[from] VmError),
}

fn main() -> ExitCode {
    let begun = clock::tsc();
    let begun_us = clock::now(libc::CLOCK_MONOTONIC) / 1000;
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--probe") => return bare::probe(),
        Some("--floor") => return bare::floor(),
        Some("--version") => {
            println!("mote-vmm {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    let mut report = inherited(fd::REPORT).map(File::from);
    let exit = match start(begun, begun_us, report.as_mut().ok()) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("mote: {error}");
            let message = Some(error.to_string());
            Exit {
                code: exit::INTERNAL,
                reason: Reason::Internal,
                message,
                stats: Stats::default(),
            }
        }
    };
    let code = exit.code;
    if let Ok(report) = &mut report {
        // A parent that does not listen still gets the exit code.
        let _ = report.write_all(Report::Exited(exit).to_line().as_bytes());
    }
    // Not by return: the I/O thread goes down with the process.
    std::process::exit(i32::from(code))
}

fn start(begun: u64, begun_us: u64, report: Option<&mut File>) -> Result<Exit, StartError> {
    let config = config()?;
    let code = File::from(inherited(fd::CODE)?);
    let kvm = inherited(fd::KVM)?;
    let streams = [inherited(0)?, inherited(1)?, inherited(2)?].map(Stream::new);
    let terminals = streams
        .iter()
        .enumerate()
        .map(|(i, s)| u64::from(s.is_terminal()) << i)
        .sum();

    let mut directories = Vec::new();
    for preopen in &config.preopens {
        directories.push((inherited(preopen.fd)?, preopen.read_only));
    }

    let prepared = Prepared::program(&Program {
        code: &code,
        args: &config.args,
        env: &config.env,
        memory_limit: config.memory_limit,
        preopens: &config.preopens,
        network: &config.network,
        cwd: config.cwd.as_deref(),
        limits: config.limits,
        serve: config.serve,
        log_prefix: config.log_prefix,
        terminals,
    })?;
    let doorbell = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK).map_err(VmError::Event)?;
    let (hardware, space) = prepared.split();
    let mut server = Server::new(streams);
    let network = network(&config)?;
    let granted = Granted {
        sockets: network.broker.is_some(),
        front: network.front.is_some(),
        files: !directories.is_empty(),
    };
    server.grant(Network::new(network));
    if granted.front {
        // A program that serves gives its memory back with each request. Without a page map that takes longer.
        if let Ok(touched) = jail::without_capabilities(Touched::open)? {
            server.know_touched(touched);
        }
    }
    let signals = io_thread::take_signals().map_err(StartError::Thread)?;
    let timeout = config.timeout_ms.map(Duration::from_millis);
    if granted.sockets || granted.front || granted.files {
        allow_descriptors();
    }
    if config.jail {
        jail::drop_privileges(&Keep {
            directories: directories.iter().map(|(fd, ro)| (fd.as_fd(), *ro)).collect(),
            user: config.user.as_ref(),
        })?;
    }
    for (fd, read_only) in directories {
        let preopened = server.preopen(Directory::preopened(fd, read_only));
        preopened.map_err(|_| StartError::Directories(config.preopens.len()))?;
    }
    let shared = Shared::new(State::new(space, server), doorbell).map_err(VmError::Event)?;
    let shared = Arc::new(shared);
    io_thread::start(Arc::clone(&shared), signals, timeout).map_err(StartError::Thread)?;
    if config.jail {
        jail::seal(granted)?;
    }
    if let Some(report) = report {
        let _ = report.write_all(Report::Started.to_line().as_bytes());
    }

    let first_kvm_call = clock::tsc();
    // Never dropped: closing a VM waits for grace periods of the kernel, milliseconds that the end of the process takes
    // after the report is out.
    let mut machine = ManuallyDrop::new(hardware.create(shared.lock().space.memory(), kvm)?);
    let process_us = config.asked_at_us.map_or(0.0, |asked| {
        // Microseconds since boot are far below 2^52.
        #[allow(clippy::cast_precision_loss, reason = "a difference of microseconds")]
        {
            begun_us.saturating_sub(asked) as f64
        }
    });
    let times = Times {
        process_us,
        main: begun,
        first_kvm_call,
    };
    let name = config.args.first().map_or("program", String::as_str);
    Ok(run(&mut machine, &shared, times, name))
}

/// What the program may use of the network.
fn network(config: &VmmConfig) -> Result<Grants, StartError> {
    let network = &config.network;
    let otherwise = if network.name_lookup {
        let servers = mote_resolver::Conf::parse(&network.resolv_conf).servers;
        Reach::Only(
            servers
                .iter()
                .map(|s| (s.ip, mote_resolver::PORT).into())
                .collect(),
        )
    } else {
        Reach::Nothing
    };
    let reach = |granted| {
        if granted {
            Reach::Everything
        } else {
            otherwise.clone()
        }
    };
    Ok(Grants {
        tcp: reach(network.tcp),
        udp: reach(network.udp),
        broker: network.broker_fd.map(inherited).transpose()?,
        front: config.front_fd.map(inherited).transpose()?,
        http: network.http,
        name_lookup: network.name_lookup,
    })
}

/// Raises the number of descriptors that this process may have to what the guest may have handles, as far as it may.
fn allow_descriptors() {
    /// Descriptors that are not the guest's.
    const OWN: libc::rlim_t = 64;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is valid.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return;
    }
    limit.rlim_cur = limit.rlim_cur.max((HANDLES_MAX + OWN).min(limit.rlim_max));
    // SAFETY: the pointer is valid. A refusal leaves fewer descriptors; what is over them is answered with EMFILE.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

fn config() -> Result<VmmConfig, StartError> {
    let mut bytes = Vec::new();
    File::from(inherited(fd::CONFIG)?)
        .read_to_end(&mut bytes)
        .map_err(|source| StartError::ReadConfig {
            number: fd::CONFIG,
            source,
        })?;
    let config = VmmConfig::from_json(&bytes).map_err(StartError::ParseConfig)?;
    if config.version == VERSION {
        Ok(config)
    } else {
        Err(StartError::ConfigVersion(config.version))
    }
}

/// Takes over a descriptor that the parent handed down.
fn inherited(number: RawFd) -> Result<OwnedFd, StartError> {
    // SAFETY: F_GETFD has no argument and changes nothing.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(StartError::Descriptor(number));
    }
    // SAFETY: the descriptor is open, each number is taken over once, and nothing else in this process owns it (the
    // standard library only borrows 0 to 2).
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
