//! Says on a terminal that something takes its time, and wipes it away when it is done.

use std::{
    io::{IsTerminal, Write},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

/// Waits that are shorter than this need no words.
const PATIENCE: Duration = Duration::from_millis(300);

/// A message that is shown while this lives, if it lives long enough and standard error is a terminal.
pub(crate) struct Progress {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn new(message: String) -> Progress {
        let mut stderr = std::io::stderr();
        if !stderr.is_terminal() {
            return Progress {
                done: None,
                thread: None,
            };
        }
        let (done, wait) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            if wait.recv_timeout(PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
            let _ = write!(stderr, "{message} ...");
            let _ = stderr.flush();
            let _ = wait.recv();
            let _ = write!(stderr, "\r\x1b[K");
            let _ = stderr.flush();
        });
        Progress {
            done: Some(done),
            thread: Some(thread),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
