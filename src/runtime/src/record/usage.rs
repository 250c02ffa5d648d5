//! How much memory and how many processes the workload had at most, so that the policy's limits do not end it.

use std::time::{Duration, Instant};

use casemate_spec::{ContainerId, Result};

use super::seen::Seen;
use crate::cgroup::Cgroup;
use crate::cli::Global;
use crate::store::Root;

/// Between two looks. The kernel keeps the peak of memory itself; of processes it may not.
const INTERVAL: Duration = Duration::from_millis(50);

/// The container's control groups.
#[derive(Debug)]
pub struct Usage {
    global: Global,
    id: ContainerId,
    cgroup: Option<Cgroup>,
    next: Instant,
}

impl Usage {
    /// Of a container yet to be made.
    ///
    /// # Errors
    /// The id is none.
    pub fn of(global: &Global, id: &str) -> Result<Self> {
        Ok(Self { global: global.clone(), id: id.parse()?, cgroup: None, next: Instant::now() })
    }

    /// Looks, if it is time to. A host without the controllers has nothing to tell.
    pub fn look(&mut self, seen: &mut Seen) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        if self.cgroup.is_none() {
            let container = Root::container(&self.global, &self.id);
            self.cgroup = container.and_then(|container| container.cgroup()).unwrap_or_default();
        }
        let Some(Ok(stats)) = self.cgroup.as_ref().map(Cgroup::stats) else { return };
        let memory = stats.memory.usage.max.max(stats.memory.usage.usage);
        seen.memory_peak = seen.memory_peak.max(memory);
        seen.processes_peak = seen.processes_peak.max(stats.pids.current);
    }
}
