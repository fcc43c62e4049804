//! New limits for a container that exists, whether its program runs or not.

use crate::error::TaskError;
use crate::grant;
use crate::spec::Resources;
use crate::state::{Phase, StateError};
use crate::task::Task;

impl Task {
    /// Sets the limits that are given: those of the cgroup, and the VMs' memory. A program that has more memory than the
    /// new limit keeps it, and is out of memory when it asks for more. A sandbox has none to change.
    ///
    /// # Errors
    /// [`TaskError::State`] after the end, [`TaskError::Spec`] for a limit that is too small, [`TaskError::Cgroup`] if
    /// the kernel refuses one; the VMs keep their limit then.
    pub(crate) async fn update(&self, resources: Resources) -> Result<(), TaskError> {
        let Some(container) = &self.container else {
            return Ok(());
        };
        let phase = self.main.status().await.phase;
        if matches!(phase, Phase::Stopped | Phase::Deleted) {
            return Err(StateError::Update(phase).into());
        }
        let asked = grant::memory_limit(&resources)?;
        let mut memory = container.memory.lock().await;
        let (old, new) = (*memory, asked.unwrap_or(*memory));
        // The VM's limit is never above the cgroup's, so that it is the VM that ends, with its own words.
        if new < old {
            self.limit_vms(new).await;
        }
        if let Some(cgroup) = self.cgroup.clone() {
            let written = tokio::task::spawn_blocking(move || cgroup.limit(asked, &resources)).await;
            let written = written.map_err(|_| TaskError::Panic(self.id.clone()));
            if let Err(error) = written.and_then(|written| Ok(written?)) {
                if new < old {
                    self.limit_vms(old).await;
                }
                return Err(error);
            }
        }
        if new > old {
            self.limit_vms(new).await;
        }
        *memory = new;
        Ok(())
    }

    async fn limit_vms(&self, bytes: u64) {
        self.main.set_memory_limit(bytes).await;
        for (_, process) in self.added() {
            process.set_memory_limit(bytes).await;
        }
    }
}
