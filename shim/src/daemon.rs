//! The daemon: serves the pod's tasks on the socket that `start` bound, until the last one is gone.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::r#async::Server;

use crate::bootstrap::{self, BootstrapError};
use crate::create::Context;
use crate::events::Publisher;
use crate::flags::Flags;
use crate::pod::Pod;
use crate::start::{SOCKET_FD, VERSION_3};
use crate::{logger, sandbox, service};

/// Why the daemon ended at once.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error("descriptor {SOCKET_FD} is no listening socket; containerd starts this program with `start`")]
    NoSocket,
    #[error("starting the runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("serving: {0}")]
    Serve(#[from] ttrpc::Error),
}

/// Serves until containerd needs the shim no longer.
///
/// # Errors
/// A [`DaemonError`] if it cannot serve.
pub(crate) fn run(flags: &Flags) -> Result<(), DaemonError> {
    bootstrap::check_identity(flags)?;
    if !is_listening(SOCKET_FD) {
        return Err(DaemonError::NoSocket);
    }
    let socket = socket_path(SOCKET_FD);
    logger::init(flags.debug, &flags.namespace, &flags.id);
    protect_from_oom();
    // A pod's calls are few: one thread does them all, and what blocks gets a thread that goes away again.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(1))
        .thread_stack_size(256 << 10)
        .build()
        .map_err(DaemonError::Runtime)?;
    let served = runtime.block_on(serve(flags));
    if let Some(path) = socket {
        let _ = std::fs::remove_file(path);
    }
    // A create that is still compiling must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    served
}

async fn serve(flags: &Flags) -> Result<(), DaemonError> {
    let ttrpc_address = match std::env::var("TTRPC_ADDRESS") {
        Ok(address) if !address.is_empty() => address,
        _ => format!("{}.ttrpc", flags.address),
    };
    let context = Context {
        address: flags.address.clone(),
        namespace: flags.namespace.clone(),
        events: Publisher::start(&ttrpc_address, &flags.namespace),
        network: std::sync::Arc::default(),
    };
    let pod = Pod::new(context);
    if std::env::var_os(VERSION_3).is_some() {
        pod.keep_members();
    }
    // SAFETY: the descriptor is a listening socket, as checked in `run`, and nothing else here uses it.
    let server = unsafe { Server::new().add_unix_listener(SOCKET_FD) }?;
    let mut server = server
        .register_service(service::services(&pod))
        .register_service(sandbox::service(&pod));
    server.start().await?;
    log::info!("serving, version {}", env!("CARGO_PKG_VERSION"));
    pod.wait_done().await;
    // The answer to the call that ends the daemon is still to be written.
    tokio::time::sleep(Duration::from_millis(10)).await;
    log::debug!("leaving");
    Ok(())
}

/// The socket's own name. The bundle's `address` file is of no use at the end: the bundle is gone by then.
fn socket_path(fd: i32) -> Option<PathBuf> {
    // SAFETY: the descriptor is open, as checked before, and stays so: the wrapper is never dropped.
    let listener = unsafe { ManuallyDrop::new(UnixListener::from_raw_fd(fd)) };
    listener.local_addr().ok()?.as_pathname().map(PathBuf::from)
}

fn is_listening(fd: i32) -> bool {
    let mut listening: libc::c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: both pointers are to locals of the sizes that are given; any descriptor number is allowed.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            std::ptr::from_mut(&mut listening).cast(),
            &raw mut len,
        )
    };
    result == 0 && listening == 1
}

/// The shim shall be about the last to go when memory is short: with it goes the pod. Lowering the score needs
/// CAP_SYS_RESOURCE, which root inside some containers lacks.
fn protect_from_oom() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-999") {
        log::debug!("/proc/self/oom_score_adj: {error}");
    }
}
