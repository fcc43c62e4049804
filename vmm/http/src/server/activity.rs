//! Whether a connection has a request under way.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::{body::Body, frames::FrameError};

/// Requests under way on one connection.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    requests: usize,
    /// When the last one ended, or the connection began.
    since: Instant,
}

impl Activity {
    pub(super) fn new() -> Activity {
        Activity(Mutex::new(State {
            requests: 0,
            since: Instant::now(),
        }))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there has been no request for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let due = self.with(|state| if state.requests > 0 { now } else { state.since }) + limit;
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn new(activity: &Arc<Activity>) -> Busy {
        activity.with(|state| state.requests += 1);
        Busy(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.requests -= 1;
            state.since = Instant::now();
        });
    }
}

/// A response's body that keeps its connection busy.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) body: Body,
    pub(super) _busy: Busy,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = FrameError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FrameError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_its_last_request_is_long_over() {
        let activity = Arc::new(Activity::new());
        let limit = Duration::from_secs(10);
        let begin = Instant::now();
        let busy = Busy::new(&activity);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(25)).await;
            drop(busy);
        });
        activity.idle(limit).await;
        assert_eq!(begin.elapsed().as_secs(), 35);
    }
}
