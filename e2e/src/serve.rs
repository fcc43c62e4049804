//! Starts `mote serve` as a user does, and asks it things.

pub mod load;

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use crate::paths;

/// A `mote serve` that runs.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

/// How a server ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Server {
    /// Starts the server with options and waits until it accepts connections.
    ///
    /// # Panics
    /// If it ends, or says nothing for a minute.
    #[must_use]
    pub fn start(options: &[&str], file: &Path) -> Server {
        Server::start_with(options, &[], file)
    }

    /// As [`Server::start`], with variables of its environment.
    ///
    /// # Panics
    /// As [`Server::start`].
    #[must_use]
    pub fn start_with(options: &[&str], env: &[(&str, &str)], file: &Path) -> Server {
        let mut child = Command::new(paths::bin("mote"))
            .args(["serve", "--addr", "127.0.0.1:0"])
            .args(options)
            .arg(file)
            .env("MOTE_CACHE_DIR", paths::cache())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("mote serve: {e}"));
        let (tell, told) = mpsc::channel();
        let stdout = collect(child.stdout.take(), None);
        let stderr = collect(child.stderr.take(), Some(tell));
        match told.recv_timeout(Duration::from_secs(60)) {
            Ok(address) => Server {
                address,
                child,
                stdout,
                stderr,
            },
            Err(_) => {
                let _ = child.kill();
                let said = stderr.lock().map(|text| text.clone()).unwrap_or_default();
                panic!("mote serve did not say that it serves: {said}");
            }
        }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What was printed on standard output and error so far.
    #[must_use]
    pub fn printed(&self) -> (String, String) {
        let text = |of: &Mutex<String>| of.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (text(&self.stdout), text(&self.stderr))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // SAFETY: takes no pointers; the child has not been waited for.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn wait(mut self) -> Ended {
        let status = self.child.wait().unwrap_or_else(|e| panic!("mote serve: {e}"));
        // What came last is still on its way from the pipe.
        thread::sleep(Duration::from_millis(50));
        let (stdout, stderr) = self.printed();
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }

    /// The front's process, if there is one.
    #[must_use]
    pub fn front(&self) -> Option<i32> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).ok()?;
        let front = |child: &&str| {
            std::fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm == "mote-http\n")
        };
        children.split_whitespace().find(front)?.parse().ok()
    }

    /// The front's resident memory in bytes.
    #[must_use]
    pub fn front_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.front()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects what comes through a pipe; tells of the line that names the address.
fn collect(
    pipe: Option<impl Read + Send + 'static>,
    mut tell: Option<mpsc::Sender<SocketAddr>>,
) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            let mut lines = BufReader::new(pipe);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let said = String::from_utf8_lossy(&line).into_owned();
                let address = said
                    .strip_prefix("Serving HTTP on http://")
                    .and_then(|rest| rest.trim_end().trim_end_matches('/').parse().ok());
                if let (Some(address), Some(tell)) = (address, tell.take_if(|_| address.is_some())) {
                    let _ = tell.send(address);
                }
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&said);
                line.clear();
            }
        });
    }
    text
}
