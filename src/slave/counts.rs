//! What the slave counts for `/metrics/snapshot`: what Mesos' agent counts under these names (`src/slave/metrics.hpp`).

use crate::ids::{ExecutorId, FrameworkId};
use crate::messages::mesos::task_status::Reason;

use super::{ExecutorState, Slave};

/// Counts since the slave was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Updates of executors, and the slave's own, that were taken in.
    pub valid_status_updates: u64,
    /// Updates of executors that were dropped, and those of a framework that is being removed.
    pub invalid_status_updates: u64,
    /// Messages between a scheduler and an executor that were passed on.
    pub valid_framework_messages: u64,
    /// And those that were dropped.
    pub invalid_framework_messages: u64,
    /// Containers that ended before what they are for could be begun.
    pub container_launch_errors: u64,
}

impl Slave {
    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A container is gone; `died` without an orderly end. The executor is as it was before.
    pub(super) fn count_launch_error(&mut self, framework: &FrameworkId, executor: &ExecutorId, died: bool) {
        let executor = self.frameworks.get(framework).and_then(|framework| framework.executors.get(executor));
        let Some(executor) = executor else { return };
        let said = |reason: Reason| reason == Reason::ContainerLaunchFailed;
        let of_executor = executor.conversation.as_ref().and_then(|conversation| conversation.end.as_ref());
        let mut of_tasks = executor.tasks.values().flat_map(|task| &task.statuses).map(|status| status.reason());
        let failed = of_executor.is_some_and(|end| said(end.reason)) || executor.is_command && of_tasks.any(said);
        let never_ran = died && executor.state == ExecutorState::Launching;
        self.counts.container_launch_errors += u64::from(failed || never_ran);
    }
}
