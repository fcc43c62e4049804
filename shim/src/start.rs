//! The `start` action: finds the pod's daemon or starts one, and tells containerd its address.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::bootstrap::{self, Answer, BootstrapError, Request};
use crate::flags::Flags;
use crate::spec::{self, SpecError};

/// Descriptor of the listening socket in the daemon, as in containerd's own shims (`pkg/shim/shim.go`, `serve`).
pub(crate) const SOCKET_FD: i32 = 3;

/// Set in the daemon's environment if the answer to containerd was version 3.
pub(crate) const VERSION_3: &str = "MOTE_SHIM_VERSION_3";

/// Directory of shim sockets unless containerd names one. It is short because a socket's path is limited to 107
/// bytes and the name is 64 long.
const SOCKET_DIR: &str = "/run/containerd/s";

/// File in the bundle in which containerd up to 1.7 looks for the address after its own restart
/// (`runtime/v2/shim.go`, `loadShim`).
pub(crate) const ADDRESS_FILE: &str = "address";

/// Why no daemon could be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

fn io_error(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StartError {
    let path = path.into();
    move |source| StartError::Io { action, path, source }
}

/// Runs the action in the bundle directory, which is the working directory.
///
/// # Errors
/// A [`StartError`]; nothing is left running then.
pub(crate) fn run(flags: &Flags) -> Result<(), StartError> {
    let mut stdin = Vec::new();
    // A terminal or a closed stdin must not hold up or fail the start: what is there is optional.
    if !io::IsTerminal::is_terminal(&io::stdin()) {
        let _ = io::stdin()
            .lock()
            .take(bootstrap::MAX_INPUT)
            .read_to_end(&mut stdin);
    }
    let request = bootstrap::request(flags, &stdin, |name| std::env::var(name).ok())?;
    let group = group(Path::new("."), &request)?;
    let path = socket_path(&request, &group);
    let address = format!("unix://{}", path.display());
    if let Some(listener) = listen(&path)? {
        let spawned = spawn_daemon(&request, listener.into());
        if spawned.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        spawned?;
    }
    std::fs::write(ADDRESS_FILE, &address).map_err(io_error("writing", ADDRESS_FILE))?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&bootstrap::answer(request.answer, &address))
        .and_then(|()| stdout.flush())
        .map_err(io_error("writing the address to", "stdout"))
}

/// What shares a daemon: the pod, by its sandbox's id. The bundle of a sandbox has no spec where containerd speaks the
/// sandbox API, and the id is the sandbox's then.
fn group(bundle: &Path, request: &Request) -> Result<String, SpecError> {
    let own = || request.id.clone();
    match spec::read(bundle) {
        Ok(spec) => Ok(spec.sandbox_id().map_or_else(own, str::to_owned)),
        Err(SpecError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(own()),
        Err(error) => Err(error),
    }
}

/// Path of the socket for a pod or a lone container. The name is a hash over containerd's address, namespace and
/// group, so that it is found again (containerd `pkg/shim/util_unix.go`, `SocketAddress`).
#[must_use]
pub(crate) fn socket_path(request: &Request, group: &str) -> PathBuf {
    let subject = Path::new(&request.address).join(&request.namespace).join(group);
    let mut name = String::with_capacity(64);
    for byte in Sha256::digest(subject.as_os_str().as_encoded_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Path::new(request.socket_dir.as_deref().unwrap_or(SOCKET_DIR)).join(name)
}

/// Binds the socket. `None` means that a daemon serves it already; the socket of a dead one is replaced.
fn listen(path: &Path) -> Result<Option<UnixListener>, StartError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(io_error("creating", dir))?;
    }
    for _ in 0..2 {
        match UnixListener::bind(path) {
            Ok(listener) => {
                restrict(path)?;
                return Ok(Some(listener));
            }
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                if UnixStream::connect(path).is_ok() {
                    return Ok(None);
                }
                std::fs::remove_file(path).map_err(io_error("removing the socket of a dead shim", path))?;
            }
            Err(e) => return Err(io_error("binding", path)(e)),
        }
    }
    Err(io_error("binding", path)(io::ErrorKind::AddrInUse.into()))
}

/// Only root may talk to the shim: whoever can is able to start containers.
fn restrict(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(io_error("restricting", path))
}

fn spawn_daemon(request: &Request, socket: OwnedFd) -> Result<(), StartError> {
    let exe = std::env::current_exe().map_err(io_error("finding", "/proc/self/exe"))?;
    let mut command = Command::new(&exe);
    command
        .args([
            "-namespace",
            &request.namespace,
            "-id",
            &request.id,
            "-address",
            &request.address,
        ])
        .env("TTRPC_ADDRESS", &request.ttrpc_address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    if request.debug {
        command.arg("-debug");
    }
    if request.answer != Answer::Plain {
        command.env(VERSION_3, "1");
    }
    let fd = socket.as_raw_fd();
    // SAFETY: between fork and exec only dup2 and fcntl are called, which are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if fd == SOCKET_FD {
                // dup2 onto itself would leave close-on-exec set.
                if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
            } else if libc::dup2(fd, SOCKET_FD) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    // The child is not waited for: it outlives this process, and init reaps it.
    command.spawn().map_err(io_error("starting", &exe))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(socket_dir: Option<String>) -> Request {
        Request {
            id: "123".into(),
            namespace: "default".into(),
            address: "/run/containerd/containerd.sock".into(),
            ttrpc_address: String::new(),
            debug: false,
            socket_dir,
            answer: Answer::Plain,
        }
    }

    #[test]
    fn socket_is_named_as_containerd_does() {
        // sha256("/run/containerd/containerd.sock/default/123")
        let name = "0ddfbd72d02b3551e75f3a0ed90b9965b533401be618f43a568bc522764e0ad0";
        assert_eq!(
            socket_path(&request(None), "123"),
            Path::new(SOCKET_DIR).join(name)
        );
        assert_eq!(
            socket_path(&request(Some("/x".into())), "123"),
            Path::new("/x").join(name)
        );
    }

    #[test]
    fn containers_and_both_kinds_of_sandbox_are_one_group() {
        let dir = tempfile::tempdir().unwrap();
        let request = request(None);
        assert_eq!(group(dir.path(), &request).unwrap(), "123");
        let spec = |text: &str| std::fs::write(dir.path().join("config.json"), text).unwrap();
        spec(r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "s1"}}"#);
        assert_eq!(group(dir.path(), &request).unwrap(), "s1");
        spec("{}");
        assert_eq!(group(dir.path(), &request).unwrap(), "123");
        spec("{");
        assert!(group(dir.path(), &request).is_err());
    }

    #[test]
    fn a_live_socket_is_shared_and_a_dead_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s/sock");
        let first = listen(&path).unwrap();
        assert!(first.is_some());
        assert!(
            listen(&path).unwrap().is_none(),
            "a second start of the pod finds the first"
        );
        drop(first);
        assert!(
            listen(&path).unwrap().is_some(),
            "a dead shim's socket is replaced"
        );
    }
}
