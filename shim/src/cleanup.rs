//! The `delete` action: containerd calls it after the connection to a shim has closed, be it that the task was deleted
//! in order or that the shim died. In the second case all that the task left is removed here.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::{Message, MessageField};

use crate::bootstrap::{self, BootstrapError};
use crate::cgroup::{self, CgroupError};
use crate::exit::Exit;
use crate::flags::Flags;
use crate::record::{Process, Record};
use crate::start::ADDRESS_FILE;
use crate::task::release;
use crate::time::timestamp;

/// Longest wait for a killed VMM; containerd allows five seconds for the whole call.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// Why the action failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanupError {
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error("reading the task's state in {bundle}: {source}")]
    Record { bundle: PathBuf, source: io::Error },
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("task {id}: process {pid} does not end after SIGKILL")]
    Stuck { id: String, pid: u32 },
    #[error("writing the answer: {0}")]
    Answer(#[source] io::Error),
}

/// Runs the action and writes a `DeleteResponse` to stdout.
///
/// # Errors
/// A [`CleanupError`]; containerd tries again when it starts anew.
pub(crate) fn run(flags: &Flags) -> Result<(), CleanupError> {
    bootstrap::check_identity(flags)?;
    let (pid, exit) = clean(&bundle(flags))?;
    let response = DeleteResponse {
        pid,
        exit_status: exit.code,
        exited_at: MessageField::some(timestamp(exit.at)),
        ..Default::default()
    };
    let bytes = response.write_to_bytes().unwrap_or_default();
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&bytes)
        .and_then(|()| stdout.flush())
        .map_err(CleanupError::Answer)
}

/// The bundle is named by a flag, or it is the working directory; containerd's older versions say neither for a
/// bundle that a restart found, and then it lies beside the working directory.
fn bundle(flags: &Flags) -> PathBuf {
    if !flags.bundle.is_empty() {
        return PathBuf::from(&flags.bundle);
    }
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    match here.file_name() {
        Some(name) if name != flags.id.as_str() => here.with_file_name(&flags.id),
        _ => here,
    }
}

/// Removes what the task left. The answer has its process id and exit status: the real one if the shim lived to
/// record it, else that of a killed process.
fn clean(bundle: &Path) -> Result<(u32, Exit), CleanupError> {
    let mut answer = (0, Exit::now(128 + 9));
    if let Some(record) = load(bundle)? {
        if let Some(process) = &record.process {
            answer.0 = process.pid;
        }
        end(&record)?;
        for member in &record.members {
            clean_member(member)?;
        }
        if let Some(exit) = record.exit {
            answer.1 = exit;
        }
        if release(&record) {
            Record::remove(bundle);
        }
    }
    remove_dead_socket(bundle);
    Ok(answer)
}

/// Ends what a container of a dead sandbox has on the host. Its record stays, with its exit status, until containerd removes
/// the bundle.
fn clean_member(bundle: &Path) -> Result<(), CleanupError> {
    if let Some(record) = load(bundle)? {
        end(&record)?;
        release(&record);
    }
    Ok(())
}

fn load(bundle: &Path) -> Result<Option<Record>, CleanupError> {
    Record::load(bundle).map_err(|source| CleanupError::Record {
        bundle: bundle.to_owned(),
        source,
    })
}

/// Ends the processes of a task.
fn end(record: &Record) -> Result<(), CleanupError> {
    // The cgroups tell of a process that the daemon had started but not noted yet, and of helpers of the VMM.
    cgroup::kill_all(&record.cgroups, KILL_WAIT)?;
    let main = record.process.iter().filter(|_| record.exit.is_none());
    for process in main.chain(&record.execs) {
        kill(&record.id, process)?;
    }
    Ok(())
}

fn kill(id: &str, process: &Process) -> Result<(), CleanupError> {
    let started = Instant::now();
    while process.exists() {
        let Ok(pid) = i32::try_from(process.pid) else {
            return Ok(());
        };
        // SAFETY: takes no pointers. `exists` has just compared the start time, so the number is the VMM's.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        if started.elapsed() > KILL_WAIT {
            return Err(CleanupError::Stuck {
                id: id.to_owned(),
                pid: process.pid,
            });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The socket of a daemon that serves other containers of the pod stays.
fn remove_dead_socket(bundle: &Path) {
    let Ok(address) = std::fs::read_to_string(bundle.join(ADDRESS_FILE)) else {
        return;
    };
    let path = address.trim().strip_prefix("unix://").unwrap_or(&address);
    let dead = UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    if dead {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Phase;

    fn record(process: Option<Process>, exit: Option<Exit>) -> Record {
        Record {
            phase: Phase::Running,
            process,
            exit,
            ..Record::new("a", false, None)
        }
    }

    #[test]
    fn a_stray_process_is_killed() {
        let bundle = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        record(Some(process), None).save(bundle.path()).unwrap();
        // Reaped beside the call, as init does it for a shim's orphans.
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        let (pid, exit) = clean(bundle.path()).unwrap();
        assert_eq!((pid, exit.code), (process.pid, 137));
        assert!(!reaper.join().unwrap().success());
        assert_eq!(std::fs::read_dir(bundle.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_recorded_status_is_not_lost() {
        let bundle = tempfile::tempdir().unwrap();
        // A process that is not ours any more must not be touched: this one is the test itself.
        let me = Process::of(std::process::id()).unwrap();
        record(Some(me), Some(Exit::now(42))).save(bundle.path()).unwrap();
        assert_eq!(clean(bundle.path()).unwrap().1.code, 42);
    }

    #[test]
    fn a_dead_sandbox_takes_its_containers_along() {
        let (sandbox, container) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        record(Some(process), None).save(container.path()).unwrap();
        let mut of_sandbox = record(None, None);
        of_sandbox.members = vec![container.path().into(), "/nonexistent/gone".into()];
        of_sandbox.save(sandbox.path()).unwrap();
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        clean(sandbox.path()).unwrap();
        assert!(!reaper.join().unwrap().success());
        assert!(Record::load(container.path()).unwrap().is_some());
    }

    #[test]
    fn an_empty_bundle_is_fine() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(clean(bundle.path()).unwrap().1.code, 137);
        let gone = bundle.path().join("gone");
        assert_eq!(clean(&gone).unwrap().1.code, 137);
    }
}
