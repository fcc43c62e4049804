//! The executable: takes over what its parent hands it, enters the jail, serves.

use std::{
    fs::File,
    io::Read,
    net::TcpListener,
    os::fd::{FromRawFd, OwnedFd, RawFd},
    process::ExitCode,
};

use mote_config::front::{FrontConfig, fd};
use mote_http::{End, Error, Parent, jail, serve};

/// Most threads that requests are carried by.
const THREADS_MAX: usize = 4;

/// Most bytes of a configuration; root certificates are most of it.
const CONFIG_MAX: u64 = 16 << 20;

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--version" || arg == "-V") {
        println!("mote-http {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(End::Drained) => ExitCode::SUCCESS,
        Ok(End::Cut) => ExitCode::from(mote_config::exit::TERMINATED),
        // Whoever would be told is gone.
        Err(Error::Orphaned) => ExitCode::from(mote_config::exit::INTERNAL),
        Err(e) => {
            eprintln!("mote-http: {e}");
            ExitCode::from(mote_config::exit::INTERNAL)
        }
    }
}

fn run() -> Result<End, Error> {
    let mut config = read_config()?;
    // SAFETY: the parent's contract; nobody else in this process knows of the descriptor.
    let control = unsafe { handed(fd::CONTROL)? };
    let mut listeners = Vec::new();
    for n in 0..config.listeners.min(fd::LISTENERS_MAX) {
        let number = fd::FIRST_LISTENER + RawFd::try_from(n).unwrap_or_default();
        // SAFETY: as above.
        listeners.push(TcpListener::from(unsafe { handed(number)? }));
    }
    fit(&mut config)?;
    // Asked before the jail: the answer takes the cgroup's CPU quota from files into account.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    if config.jail {
        jail::enter(config.outgoing.is_some())?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(THREADS_MAX))
        .enable_all()
        .build()
        .map_err(|source| Error::System {
            what: "starting threads",
            source,
        })?;
    let result = runtime.block_on(serve(Parent {
        config,
        control,
        listeners,
    }));
    // Whatever is still under way has had its time.
    runtime.shutdown_background();
    result
}

fn read_config() -> Result<FrontConfig, Error> {
    // SAFETY: the parent's contract; nobody else in this process knows of the descriptor.
    let file = File::from(unsafe { handed(fd::CONFIG)? });
    let mut json = Vec::new();
    file.take(CONFIG_MAX)
        .read_to_end(&mut json)
        .map_err(|e| Error::Config(e.to_string()))?;
    let config = FrontConfig::from_json(&json).map_err(|e| Error::Config(e.to_string()))?;
    if config.version != mote_config::VERSION {
        return Err(Error::Config(format!(
            "the parent speaks version {}, mote-http {}: install both of one release",
            config.version,
            mote_config::VERSION
        )));
    }
    Ok(config)
}

/// Takes a descriptor over that the parent has placed.
///
/// # Safety
/// Nobody else in this process may own the descriptor.
unsafe fn handed(number: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: takes no pointers.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(Error::Config(format!(
            "descriptor {number} is not open: mote-http is started by `mote serve`"
        )));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes room for the descriptors of so many connections, or takes fewer connections.
fn fit(config: &mut FrontConfig) -> Result<(), Error> {
    // Each VM has a socket, a stream and as many again for requests to the outside; the rest is for the process.
    let others = u64::from(config.vms_max) * 8 + 64;
    let wanted = u64::from(config.connections_max) + others;
    let room = jail::descriptors(wanted)?;
    if room < wanted {
        let fewer = u32::try_from(room.saturating_sub(others))
            .unwrap_or(u32::MAX)
            .max(1);
        eprintln!(
            "mote-http: at most {fewer} connections at once instead of {}: the limit of open files is {room} (ulimit -n)",
            config.connections_max
        );
        config.connections_max = fewer;
    }
    Ok(())
}
