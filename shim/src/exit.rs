//! The exit status of a task: a cell that is filled exactly once, whatever happens.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Exit code of a task whose end nobody saw: containerd's own for that case (`core/runtime/v2/shim.go`,
/// `cleanupAfterDeadShim`).
pub(crate) const UNKNOWN: u32 = 255;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub code: u32,
    pub at: SystemTime,
}

impl Exit {
    /// An end at this moment.
    #[must_use]
    pub(crate) fn now(code: u32) -> Exit {
        Exit {
            code,
            at: SystemTime::now(),
        }
    }
}

/// The reading side; clones see the same status.
#[derive(Clone, Debug)]
pub(crate) struct ExitCell(Arc<watch::Sender<Option<Exit>>>);

impl Default for ExitCell {
    fn default() -> Self {
        ExitCell(Arc::new(watch::Sender::new(None)))
    }
}

impl ExitCell {
    /// The status, if there is one yet.
    #[must_use]
    pub(crate) fn get(&self) -> Option<Exit> {
        *self.0.borrow()
    }

    /// Fills the cell. The first status stays; the answer says whether it was this one.
    pub(crate) fn set(&self, exit: Exit) -> bool {
        self.0.send_if_modified(|slot| {
            let empty = slot.is_none();
            if empty {
                *slot = Some(exit);
            }
            empty
        })
    }

    /// Waits for the status.
    pub(crate) async fn wait(&self) -> Exit {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(exit) = *receiver.borrow_and_update() {
                return exit;
            }
            // The sender lives in `self`, so the channel cannot close while this waits.
            if receiver.changed().await.is_err() {
                return Exit::now(UNKNOWN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_status_stays() {
        let cell = ExitCell::default();
        assert_eq!(cell.get(), None);
        assert!(cell.set(Exit::now(3)));
        assert!(!cell.set(Exit::now(137)));
        assert_eq!(cell.get().unwrap().code, 3);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn every_waiter_gets_it_early_or_late() {
        let cell = ExitCell::default();
        let early: Vec<_> = (0..3)
            .map(|_| {
                let cell = cell.clone();
                tokio::spawn(async move { cell.wait().await.code })
            })
            .collect();
        tokio::task::yield_now().await;
        cell.set(Exit::now(42));
        for waiter in early {
            assert_eq!(waiter.await.unwrap(), 42);
        }
        assert_eq!(cell.wait().await.code, 42);
    }
}
