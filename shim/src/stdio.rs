//! Standard input, output and error: the FIFOs or files that the create request names, opened for the VMM, which
//! reads and writes them itself. No copy loop runs in the shim.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::console::Console;

/// A stream that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StdioError {
    #[error("opening {stream} {path}: {source}")]
    Open {
        stream: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("making a terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error(
        "{stream} {uri:?}: the scheme {scheme:?} is not supported; a FIFO's path, fifo:// and file:// are (ctr's \
         --log-uri binary:// is not)"
    )]
    Scheme {
        stream: &'static str,
        uri: String,
        scheme: String,
    },
}

/// The names of the three streams; an empty one is `/dev/null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
}

/// The three streams, open.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub stdin: File,
    pub stdout: File,
    pub stderr: File,
    /// A writing end of the stdin FIFO if no client had opened it. It is held until CloseIO, so that the program
    /// waits for input instead of seeing its end.
    pub stdin_keeper: Option<File>,
    /// The host's end, if the three streams are a terminal.
    pub console: Option<Console>,
}

impl Stdio {
    /// FIFOs that the program writes. A terminal's is its console's.
    pub(crate) fn outputs(&self) -> io::Result<Vec<File>> {
        let streams = [&self.stdout, &self.stderr];
        let fifos = streams.into_iter().filter(|stream| is_fifo(stream));
        fifos.map(File::try_clone).collect()
    }
}

/// Opens the streams, or makes a terminal of all three.
///
/// # Errors
/// A [`StdioError`] that names the stream and the path.
pub(crate) fn open(names: &Names, terminal: bool) -> Result<Stdio, StdioError> {
    if terminal {
        let (console, end) = Console::open(names)?;
        let copy = || end.try_clone().map_err(StdioError::Terminal);
        return Ok(Stdio {
            stdin: copy()?,
            stdout: copy()?,
            stderr: end,
            stdin_keeper: None,
            console: Some(console),
        });
    }
    let (stdin, stdin_keeper) = open_input(&names.stdin)?;
    let stdout = open_output("stdout", &names.stdout)?;
    // One target for both streams is opened once, so that their lines do not overwrite each other.
    let stderr = if names.stderr == names.stdout {
        stdout
            .try_clone()
            .map_err(failed("stderr", Path::new(&names.stderr)))?
    } else {
        open_output("stderr", &names.stderr)?
    };
    Ok(Stdio {
        stdin,
        stdout,
        stderr,
        stdin_keeper,
        console: None,
    })
}

fn failed(stream: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StdioError {
    let path = path.to_owned();
    move |source| StdioError::Open { stream, path, source }
}

/// What a stream's name means.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Null,
    /// An existing FIFO or file.
    Path(PathBuf),
    /// A log file, created if need be.
    Log(PathBuf),
}

fn target(stream: &'static str, name: &str) -> Result<Target, StdioError> {
    if name.is_empty() {
        return Ok(Target::Null);
    }
    match name.split_once("://") {
        None => Ok(Target::Path(name.into())),
        Some(("fifo", path)) => Ok(Target::Path(path.into())),
        // What follows a '?' are options for other schemes' loggers.
        Some(("file", path)) => Ok(Target::Log(path.split('?').next().unwrap_or(path).into())),
        Some((scheme, _)) => Err(StdioError::Scheme {
            stream,
            uri: name.to_owned(),
            scheme: scheme.to_owned(),
        }),
    }
}

/// Longest wait for the client's end of the stdin FIFO. containerd's client library has its open under way before it
/// asks for the task, so this passes only where nobody is attached.
const CLIENT_WAIT: Duration = Duration::from_millis(500);

fn open_input(name: &str) -> Result<(File, Option<File>), StdioError> {
    let path = match target("stdin", name)? {
        Target::Null => PathBuf::from("/dev/null"),
        Target::Path(path) | Target::Log(path) => path,
    };
    let kind = std::fs::metadata(&path)
        .map_err(failed("stdin", &path))?
        .file_type();
    if !kind.is_fifo() {
        return Ok((File::open(&path).map_err(failed("stdin", &path))?, None));
    }
    // A read from a FIFO that no writer has opened yet is an end of file, which the program must not see. This open
    // returns once there is a writer (fifo(7)).
    let (sender, opened) = std::sync::mpsc::channel();
    let reader = path.clone();
    std::thread::spawn(move || sender.send(File::open(reader)));
    let gone = || io::Error::other("the opening thread ended");
    match opened.recv_timeout(CLIENT_WAIT) {
        Ok(file) => Ok((file.map_err(failed("stdin", &path))?, None)),
        Err(_) => {
            // The waiting open counts as a reader, so this does not block, and it lets the other one return.
            let keeper = OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path);
            let keeper = keeper.map_err(failed("stdin", &path))?;
            let file = opened.recv().map_err(|_| gone()).and_then(|file| file);
            Ok((file.map_err(failed("stdin", &path))?, Some(keeper)))
        }
    }
}

fn open_output(stream: &'static str, name: &str) -> Result<File, StdioError> {
    match target(stream, name)? {
        Target::Null => {
            let path = Path::new("/dev/null");
            OpenOptions::new()
                .write(true)
                .open(path)
                .map_err(failed(stream, path))
        }
        Target::Log(path) => {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).map_err(failed(stream, dir))?;
            }
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .open(&path)
                .map_err(failed(stream, &path))
        }
        // Open for reading too: that does not wait for a reader (fifo(7)), and while containerd restarts and has no
        // end open, writes go on instead of failing with EPIPE.
        Target::Path(path) => {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(failed(stream, &path))?;
            if is_fifo(&file) {
                return Ok(file);
            }
            OpenOptions::new()
                .append(true)
                .open(&path)
                .map_err(failed(stream, &path))
        }
    }
}

/// How long the last of the output may lie in a FIFO. containerd 1.6 can lose what it has not read when it hears of the
/// end.
const TAKEN: Duration = Duration::from_secs(1);

/// Waits until a client has read all that is in a FIFO, at most for [`TAKEN`]. (pipe(7), FIONREAD)
pub(crate) async fn taken(fifo: &impl AsRawFd) {
    let read = async {
        let mut unread: libc::c_int = 0;
        loop {
            // SAFETY: the descriptor is open, and the pointer is to a local of the type that this request writes.
            let result = unsafe { libc::ioctl(fifo.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
            if result < 0 || unread == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(TAKEN, read).await;
}

fn is_fifo(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn fifo(dir: &Path, name: &str) -> String {
        let path = dir.join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn fifos_open_without_the_other_end() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names {
            stdin: fifo(dir.path(), "in"),
            stdout: fifo(dir.path(), "out"),
            stderr: String::new(),
        };
        let mut stdio = open(&names, false).unwrap();
        stdio.stdout.write_all(b"early").unwrap();
        let mut reader = OpenOptions::new().read(true).open(&names.stdout).unwrap();
        drop(stdio.stdout);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "early");

        let mut client = OpenOptions::new().write(true).open(&names.stdin).unwrap();
        client.write_all(b"typed").unwrap();
        drop(client);
        drop(stdio.stdin_keeper.take().unwrap());
        text.clear();
        stdio.stdin.read_to_string(&mut text).unwrap();
        assert_eq!(text, "typed");
    }

    #[test]
    fn input_ends_with_the_client_that_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names {
            stdin: fifo(dir.path(), "in"),
            ..Names::default()
        };
        let path = names.stdin.clone();
        let client = std::thread::spawn(move || {
            let mut end = OpenOptions::new().write(true).open(path).unwrap();
            end.write_all(b"piped").unwrap();
        });
        let mut stdio = open(&names, false).unwrap();
        assert!(stdio.stdin_keeper.is_none());
        let mut text = String::new();
        stdio.stdin.read_to_string(&mut text).unwrap();
        assert_eq!(text, "piped");
        client.join().unwrap();
    }

    #[test]
    fn file_uris_append_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("deep/log");
        let uri = format!("file://{}", log.display());
        let names = Names {
            stdin: String::new(),
            stdout: uri.clone(),
            stderr: uri,
        };
        for word in ["a", "b"] {
            let mut stdio = open(&names, false).unwrap();
            stdio.stdout.write_all(word.as_bytes()).unwrap();
            stdio.stderr.write_all(b"!").unwrap();
        }
        assert_eq!(std::fs::read_to_string(log).unwrap(), "a!b!");
        let names = Names {
            stdout: "binary:///logger?x".into(),
            ..Names::default()
        };
        assert!(open(&names, false).unwrap_err().to_string().contains("binary"));
    }

    #[tokio::test]
    async fn what_is_in_a_fifo_is_waited_for() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        taken(&writer).await;
        writer.write_all(b"last").unwrap();
        let waiting = tokio::spawn(async move { taken(&writer).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        reader.read_exact(&mut [0; 4]).unwrap();
        tokio::time::timeout(TAKEN / 2, waiting).await.unwrap().unwrap();
    }
}
