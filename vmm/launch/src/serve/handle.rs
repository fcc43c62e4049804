//! Ends the serving or changes its limit, from any thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::Killer;

/// Ends the serving or changes its limit, from any thread.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Stop>);

/// What the handles and the thread that serves share.
#[derive(Debug, Default)]
pub(super) struct Stop {
    asked: AtomicBool,
    at_once: AtomicBool,
    front: Mutex<Option<Killer>>,
    memory: Mutex<Memory>,
}

/// The VMs' memory limit.
#[derive(Debug, Default)]
struct Memory {
    /// Another one than the configuration has.
    limit: Option<u64>,
    vms: BTreeMap<u32, Killer>,
}

/// No code that holds one of the locks can leave it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    pub(super) fn new(stop: Arc<Stop>) -> Handle {
        Handle(stop)
    }

    /// The first call lets requests under way finish, a second ends at once.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Kills the front and its VMs.
    pub fn kill(&self) {
        self.0.asked.store(true, Ordering::Release);
        self.0.at_once.store(true, Ordering::Release);
        self.0.signal(libc::SIGKILL);
    }

    /// Sets the most guest memory in bytes of each VM: of those that run, and of those that will.
    pub fn set_memory_limit(&self, bytes: u64) {
        let mut memory = lock(&self.0.memory);
        memory.limit = Some(bytes);
        for vm in memory.vms.values() {
            // It fails if the VM has ended.
            let _ = vm.set_memory_limit(bytes);
        }
    }
}

impl Stop {
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    pub(super) fn at_once(&self) -> bool {
        self.at_once.load(Ordering::Acquire)
    }

    /// Lets the handles know of a front.
    pub(super) fn publish(&self, front: Killer) {
        *lock(&self.front) = Some(front);
        if self.asked() {
            self.stop();
        }
    }

    fn stop(&self) {
        self.asked.store(true, Ordering::Release);
        self.signal(libc::SIGTERM);
    }

    fn signal(&self, signal: i32) {
        if let Some(front) = &*lock(&self.front) {
            // It fails if the front has ended, which is what was asked for.
            let _ = front.kill(signal);
        }
    }

    /// The limit of the next VM, unless it is the configuration's.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        lock(&self.memory).limit
    }

    /// Lets the handles know of a VM that was started with `limit`.
    pub(super) fn add(&self, id: u32, vm: Killer, limit: u64) {
        let mut memory = lock(&self.memory);
        if let Some(bytes) = memory.limit.filter(|bytes| *bytes != limit) {
            let _ = vm.set_memory_limit(bytes);
        }
        memory.vms.insert(id, vm);
    }

    /// The VM has ended.
    pub(super) fn remove(&self, id: u32) {
        lock(&self.memory).vms.remove(&id);
    }
}
