//! A terminal: a pseudo-terminal whose one end is the program's three streams, and whose other end is copied to and
//! from the FIFOs that containerd names.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::stdio::{self, Names, StdioError};

/// What is copied at once.
const CHUNK: usize = 4096;

/// A terminal's end on the host.
#[derive(Debug)]
pub(crate) struct Console {
    master: File,
    /// Taken by [`Console::start`].
    ends: Mutex<Option<(Option<Receiver>, Option<Sender>)>>,
    input: Mutex<Option<AbortHandle>>,
    /// True when all that the program has written is copied.
    drained: watch::Sender<bool>,
}

impl Console {
    /// Makes a terminal; the second value is the program's end. To be called by a thread of the runtime.
    ///
    /// # Errors
    /// A [`StdioError`].
    pub(crate) fn open(names: &Names) -> Result<(Console, File), StdioError> {
        let pty = openpty(None, None).map_err(|e| StdioError::Terminal(e.into()))?;
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        nonblocking(&master).map_err(StdioError::Terminal)?;
        // Open for both ways, a FIFO neither waits for the other end nor ends with it: clients come and go (fifo(7)).
        let fifo = |stream: &'static str, name: &str| {
            let path = name.strip_prefix("fifo://").unwrap_or(name);
            (!path.is_empty())
                .then(|| {
                    OpenOptions::new()
                        .read(true)
                        .write(true)
                        .custom_flags(libc::O_NONBLOCK)
                        .open(path)
                })
                .transpose()
                .map_err(|source| StdioError::Open {
                    stream,
                    path: path.into(),
                    source,
                })
        };
        let input = fifo("stdin", &names.stdin)?
            .map(Receiver::from_file)
            .transpose()
            .map_err(StdioError::Terminal)?;
        let output = fifo("stdout", &names.stdout)?
            .map(Sender::from_file)
            .transpose()
            .map_err(StdioError::Terminal)?;
        let console = Console {
            master,
            ends: Mutex::new(Some((input, output))),
            input: Mutex::new(None),
            drained: watch::Sender::new(false),
        };
        Ok((console, slave))
    }

    /// Sets the size in characters. (tty_ioctl(4), TIOCSWINSZ)
    ///
    /// # Errors
    /// [`StdioError::Terminal`].
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<(), StdioError> {
        let size = Winsize {
            ws_row: u16::try_from(height).unwrap_or(u16::MAX),
            ws_col: u16::try_from(width).unwrap_or(u16::MAX),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the pointer is to a local of the type that this request reads.
        let result = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        if result < 0 {
            return Err(StdioError::Terminal(io::Error::last_os_error()));
        }
        Ok(())
    }

    /// Starts to copy.
    pub(crate) fn start(self) -> Arc<Console> {
        let console = Arc::new(self);
        let ends = console.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (input, output) = ends.unwrap_or_default();
        let copies = || {
            let master = OwnedFd::from(console.master.try_clone()?);
            // SAFETY: an `OwnedFd` is open until it is dropped and always the same.
            Ok::<_, io::Error>(unsafe { AsyncFd::register(master)? })
        };
        match copies() {
            Ok(master) => {
                let told = console.drained.clone();
                tokio::spawn(async move {
                    if let Err(error) = copy_output(&master, output.as_ref()).await {
                        log::debug!("terminal: {error}");
                    }
                    if let Some(output) = &output {
                        stdio::taken(output).await;
                    }
                    told.send_replace(true);
                });
            }
            Err(error) => {
                log::error!("terminal: {error}");
                console.drained.send_replace(true);
            }
        }
        if let Some(input) = input {
            match copies() {
                Ok(master) => {
                    let copying = tokio::spawn(copy_input(input, master));
                    let mut handle = console.input.lock().unwrap_or_else(PoisonError::into_inner);
                    *handle = Some(copying.abort_handle());
                }
                Err(error) => log::error!("terminal: {error}"),
            }
        }
        console
    }

    /// Waits until all that the program has written is copied, at most for `limit`. Its end of the terminal must be
    /// closed everywhere.
    pub(crate) async fn drained(&self, limit: Duration) {
        let mut drained = self.drained.subscribe();
        let _ = tokio::time::timeout(limit, drained.wait_for(|done| *done)).await;
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(input) = input {
            input.abort();
        }
    }
}

fn nonblocking(file: &File) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Copies until the program's end is closed, which reads as EIO. (pty(7))
async fn copy_output(master: &AsyncFd<OwnedFd>, output: Option<&Sender>) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        let mut guard = master.readable().await?;
        let read = match guard.try_io(|fd| Ok(nix::unistd::read(fd.get_ref(), &mut chunk)?)) {
            Err(_would_block) => continue,
            Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Ok(()),
            Ok(read) => read?,
        };
        if read == 0 {
            return Ok(());
        }
        let Some(output) = output else { continue };
        let mut left = &chunk[..read];
        while !left.is_empty() {
            output.writable().await?;
            match output.try_write(left) {
                Ok(written) => left = &left[written..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

async fn copy_input(input: Receiver, master: AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        input.readable().await?;
        let read = match input.try_read(&mut chunk) {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e),
        };
        let mut left = &chunk[..read];
        while !left.is_empty() {
            let mut guard = master.writable().await?;
            match guard.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), left)?)) {
                Err(_would_block) => {}
                Ok(written) => left = &left[written?..],
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn both_ways_and_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = |name: &str| {
            let path = dir.path().join(name);
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let names = Names {
            stdin: fifo("in"),
            stdout: fifo("out"),
            stderr: String::new(),
        };
        let (console, mut slave) = Console::open(&names).unwrap();
        console.resize(80, 25).unwrap();
        let console = console.start();
        let (input, output) = (names.stdin, names.stdout);
        let client = std::thread::spawn(move || {
            let mut out = File::open(output).unwrap();
            OpenOptions::new()
                .write(true)
                .open(input)
                .unwrap()
                .write_all(b"typed\n")
                .unwrap();
            let mut text = [0; 14];
            out.read_exact(&mut text).unwrap();
            text
        });
        let program = tokio::task::spawn_blocking(move || {
            let mut line = [0; 6];
            slave.read_exact(&mut line).unwrap();
            slave.write_all(b"printed\n").unwrap();
            line
        });
        assert_eq!(&program.await.unwrap(), b"typed\n");
        console.drained(Duration::from_secs(10)).await;
        assert!(*console.drained.borrow());
        // The terminal echoes what is typed, and a new line is two characters.
        let text = tokio::task::spawn_blocking(|| client.join().unwrap())
            .await
            .unwrap();
        assert_eq!(std::str::from_utf8(&text), Ok("typed\r\nprinted"));
    }
}
