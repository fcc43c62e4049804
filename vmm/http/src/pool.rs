//! The VMs, and the requests that wait for one.
//!
//! A VM serves one request at a time. A request takes the VM that was idle last, or waits in line; when the first in
//! line waits longer than [`PATIENCE`], one more VM is asked for, as many at once as there are already.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use crate::vm::Vm;

/// Time that a request waits before one more VM is asked for: about what its start takes.
const PATIENCE: Duration = Duration::from_millis(3);

/// Longest pause after VMs have ended before they served anything.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// So many VMs in a row that end before they serve anything, and nobody is left waiting.
const FAILURES_MAX: u32 = 3;

/// Limits of the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) vms: usize,
    pub(crate) queue: usize,
    pub(crate) wait: Option<Duration>,
    pub(crate) idle: Option<Duration>,
}

/// What the pool wants of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    OneMore,
    End(u32),
}

/// Why there is no VM for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Busy {
    #[error("too many requests are waiting")]
    QueueFull,
    #[error("no VM became free in time")]
    TooLong,
    #[error("the program does not start")]
    NoVm,
}

/// The VMs and the queue.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Limits,
    wishes: mpsc::UnboundedSender<Wish>,
    state: Mutex<State>,
    /// Something changed that the keeper has to look at.
    changed: Notify,
    /// The last VM has ended.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The one that was idle last comes last.
    idle: VecDeque<(Arc<Vm>, Instant)>,
    /// VMs that may be given requests.
    vms: usize,
    /// And those that finish what they are doing.
    living: usize,
    /// VMs that were asked for and have not come.
    asked: usize,
    waiting: VecDeque<Waiting>,
    /// No more requests: VMs are let go as they become idle.
    closed: bool,
    /// VMs in a row that ended before they served anything, and until when none is asked for.
    failures: u32,
    pause: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    answer: oneshot::Sender<Result<Lease, Busy>>,
}

/// The use of a VM for one request. The VM is idle again when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    vm: Arc<Vm>,
    /// Cleared when the VM is taken back without a word.
    counts: bool,
}

impl Lease {
    pub(crate) fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }

    /// The VM has done something for a request.
    pub(crate) fn served(&self) {
        self.vm.mark_served();
        let mut state = self.pool.lock();
        state.failures = 0;
        state.pause = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.counts {
            Pool::give(&self.pool, Arc::clone(&self.vm));
        }
    }
}

impl Pool {
    pub(crate) fn new(limits: Limits, wishes: mpsc::UnboundedSender<Wish>) -> Arc<Pool> {
        Arc::new(Pool {
            limits,
            wishes,
            state: Mutex::default(),
            changed: Notify::new(),
            emptied: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, wish: Wish) {
        // Without a parent there is nobody to ask, and the process ends.
        let _ = self.wishes.send(wish);
    }

    /// Waits for a VM.
    pub(crate) async fn acquire(self: &Arc<Pool>) -> Result<Lease, Busy> {
        let answer = {
            let mut state = self.lock();
            while let Some((vm, _)) = state.idle.pop_back() {
                if vm.alive() {
                    return Ok(self.lease(vm));
                }
            }
            if state.waiting.len() >= self.limits.queue {
                state.waiting.retain(|waiting| !waiting.answer.is_closed());
            }
            if state.waiting.len() >= self.limits.queue {
                return Err(Busy::QueueFull);
            }
            let (sender, answer) = oneshot::channel();
            state.waiting.push_back(Waiting {
                since: Instant::now(),
                answer: sender,
            });
            // Whoever is behind the first is looked at when the first is.
            if state.waiting.len() == 1 {
                self.changed.notify_one();
            }
            answer
        };
        let answer = match self.limits.wait {
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .map_err(|_| Busy::TooLong)?,
            None => answer.await,
        };
        answer.unwrap_or(Err(Busy::NoVm))
    }

    fn lease(self: &Arc<Pool>, vm: Arc<Vm>) -> Lease {
        Lease {
            pool: Arc::clone(self),
            vm,
            counts: true,
        }
    }

    /// A VM that the parent has started.
    pub(crate) fn arrived(self: &Arc<Pool>, vm: Arc<Vm>) {
        {
            let mut state = self.lock();
            state.vms += 1;
            state.living += 1;
            state.asked = state.asked.saturating_sub(1);
        }
        Pool::give(self, vm);
        self.changed.notify_one();
    }

    /// The parent could not start a VM.
    pub(crate) fn failed(&self) {
        let mut state = self.lock();
        state.asked = state.asked.saturating_sub(1);
        Self::count_failure(&mut state);
        drop(state);
        self.changed.notify_one();
    }

    /// A VM has ended.
    pub(crate) fn ended(&self, vm: &Arc<Vm>) {
        let mut state = self.lock();
        state.living = state.living.saturating_sub(1);
        // One that was let go was counted then.
        if !vm.let_go() {
            state.vms = state.vms.saturating_sub(1);
            state.idle.retain(|(idle, _)| !Arc::ptr_eq(idle, vm));
            if !vm.has_served() {
                Self::count_failure(&mut state);
            }
        }
        if state.living == 0 {
            self.emptied.notify_one();
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Asks the parent to end a VM that does not come back.
    pub(crate) fn end(&self, vm: &Vm) {
        self.wish(Wish::End(vm.id()));
    }

    fn count_failure(state: &mut State) {
        state.failures = state.failures.saturating_add(1);
        let pause = Duration::from_millis(50)
            .saturating_mul(1 << state.failures.min(16))
            .min(PAUSE_MAX);
        state.pause = Some(Instant::now() + pause);
        if state.failures >= FAILURES_MAX && state.vms == 0 {
            for waiting in state.waiting.drain(..) {
                let _ = waiting.answer.send(Err(Busy::NoVm));
            }
        }
    }

    /// A VM is idle: for the first in line, or to wait itself.
    fn give(pool: &Arc<Pool>, vm: Arc<Vm>) {
        let mut vm = Some(vm);
        while let Some(idle) = vm.take() {
            let first = {
                let mut state = pool.lock();
                if !idle.alive() {
                    return;
                }
                if state.closed {
                    idle.release();
                    return;
                }
                let Some(first) = state.waiting.pop_front() else {
                    state.idle.push_back((idle, Instant::now()));
                    // The one that has been idle longest is looked at in its time, and the only one there is stays.
                    if state.idle.len() == 1 && state.vms > 1 {
                        pool.changed.notify_one();
                    }
                    return;
                };
                first
            };
            // Whoever waited may have left; the lease that comes back is for the next.
            if let Err(Ok(mut lease)) = first.answer.send(Ok(pool.lease(idle))) {
                lease.counts = false;
                vm = Some(Arc::clone(&lease.vm));
            }
        }
    }

    /// Asks for VMs and lets them go, for ever.
    pub(crate) async fn keep(&self) {
        loop {
            let next = self.look(Instant::now());
            match next {
                Some(next) => {
                    let _ = tokio::time::timeout_at(next, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Does what is due and says when to look again.
    fn look(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        let mut next: Option<Instant> = None;
        let mut at = |time: Instant| next = Some(next.map_or(time, |next| next.min(time)));
        while state
            .waiting
            .front()
            .is_some_and(|waiting| waiting.answer.is_closed())
        {
            state.waiting.pop_front();
        }
        let all = state.vms + state.asked;
        if let Some(first) = state.waiting.front()
            && all < self.limits.vms
            && state.asked < state.vms.max(1)
        {
            // With no VM at all, waiting longer helps nobody.
            let patience = if all == 0 { Duration::ZERO } else { PATIENCE };
            let due = state.pause.unwrap_or(now).max(first.since + patience);
            if due <= now {
                state.asked += 1;
                self.wish(Wish::OneMore);
                // As long as the line stands, one more each time.
                at(now + PATIENCE);
            } else {
                at(due);
            }
        }
        if let Some(limit) = self.limits.idle {
            // The first in the queue has been idle longest. One VM stays, so that the next request finds it started.
            while state.vms > 1
                && let Some((vm, since)) = state.idle.front()
            {
                let due = *since + limit;
                if due > now {
                    at(due);
                    break;
                }
                vm.release();
                state.idle.pop_front();
                state.vms -= 1;
            }
        }
        next
    }

    /// Lets all VMs go, those that are busy when they are done.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for (vm, _) in state.idle.drain(..) {
            vm.release();
        }
        state.waiting.clear();
    }

    /// Waits until no VM lives.
    pub(crate) async fn empty(&self) {
        while self.lock().living > 0 {
            self.emptied.notified().await;
        }
    }

    #[cfg(test)]
    fn figures(&self) -> (usize, usize, usize, usize) {
        let state = self.lock();
        (state.vms, state.asked, state.idle.len(), state.waiting.len())
    }
}

#[cfg(test)]
mod tests;
