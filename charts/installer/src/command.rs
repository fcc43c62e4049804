//! Running programs of the node: with its root, and in its namespaces where they are not this process's own.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::host::Host;
use crate::signals;

/// The order matters: behind the mount namespace, /proc is another one.
const NAMESPACES: [&str; 4] = ["uts", "ipc", "net", "mnt"];

/// A command on the node. What it prints is for us to read.
pub(crate) fn on(host: &Host, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    let place = Place::of(host);
    let prepare = move || {
        signals::release_in_child();
        place.enter()
    };
    // SAFETY: between fork and exec there are system calls only, on what was made ready before.
    unsafe { command.pre_exec(prepare) };
    command
}

/// Where the node's programs run, seen from here.
enum Place {
    Here,
    /// In the namespaces of process 1.
    Namespaces(Vec<OwnedFd>),
    Root(CString),
}

impl Place {
    fn of(host: &Host) -> Place {
        if host.is_own() {
            return Place::Here;
        }
        if is_root_of_init(host)
            && let Some(namespaces) = namespaces()
        {
            return Place::Namespaces(namespaces);
        }
        Place::Root(CString::new(host.root().as_os_str().as_bytes()).unwrap_or_default())
    }

    /// Goes there; system calls only.
    fn enter(&self) -> io::Result<()> {
        match self {
            Place::Here => Ok(()),
            Place::Namespaces(namespaces) => namespaces.iter().try_for_each(|namespace| {
                // SAFETY: setns takes a descriptor, which is open, and a type; 0 allows any.
                check(unsafe { libc::setns(namespace.as_raw_fd(), 0) })
            }),
            Place::Root(root) => {
                // SAFETY: chroot reads a string that ends in zero and outlives the call.
                check(unsafe { libc::chroot(root.as_ptr()) })?;
                // SAFETY: as above.
                check(unsafe { libc::chdir(c"/".as_ptr()) })
            }
        }
    }
}

/// Runs a command to its end; what it printed on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let name = words(command);
    let output = command.output().map_err(|e| Error::Command {
        command: name.clone(),
        reason: e.to_string(),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Command {
        command: name,
        reason: format!("{} {}", output.status, said.trim()),
    })
}

fn words(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for word in command.get_args() {
        text.push(' ');
        text.push_str(&word.to_string_lossy());
    }
    text
}

/// Whether the tree is what process 1 has as its root; then its namespaces are the node's. Needs the pid namespace of
/// the node (`hostPID`).
pub(crate) fn is_root_of_init(host: &Host) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    match (id(Path::new("/proc/1/root/")), id(host.root())) {
        (Ok(init), Ok(ours)) => init == ours,
        _ => false,
    }
}

fn namespaces() -> Option<Vec<OwnedFd>> {
    NAMESPACES
        .iter()
        .map(|name| File::open(Path::new("/proc/1/ns").join(name)).map(OwnedFd::from))
        .collect::<io::Result<_>>()
        .ok()
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
