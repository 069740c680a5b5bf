//! What a framework is told of its tasks when it asks (`Master::reconcile` in Mesos).

use super::core::Core;
use super::events;
use super::tasks::nanoseconds;
use crate::ids::{FrameworkId, SlaveId, TaskId};
use crate::messages::mesos::scheduler::call;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{OperationState, OperationStatus, Task, TaskState, TaskStatus};

impl Core {
    /// Tells a framework the state of the tasks that it names, or of all that it has if it names none.
    pub(super) fn reconcile(&mut self, id: &FrameworkId, reconcile: call::Reconcile) {
        let wall = self.wall();
        let latest = |task: &Task| {
            events::latest_status_of(task, Reason::Reconciliation, "Reconciliation: Latest task state", wall)
        };
        let statuses: Vec<TaskStatus> = match reconcile.tasks.is_empty() {
            true => self.tasks.iter().filter(|(key, _)| key.0 == *id).map(|(_, task)| latest(task)).collect(),
            false => {
                let known = |task: &call::reconcile::Task| {
                    self.tasks.get(&(id.clone(), TaskId::try_from(&task.task_id).ok()?)).map(latest)
                };
                reconcile
                    .tasks
                    .iter()
                    .map(|task| known(task).unwrap_or_else(|| self.status_of_unknown(id, task)))
                    .collect()
            }
        };
        for status in statuses {
            self.tell(id, events::update(status));
        }
    }

    /// This master carries out no operations, so all that a framework can name are unknown (`Master::reconcileOperations`).
    pub(super) fn reconcile_operations(&mut self, id: &FrameworkId, reconcile: call::ReconcileOperations) {
        for operation in reconcile.operations {
            let call::reconcile_operations::Operation { operation_id, slave_id, resource_provider_id } = operation;
            let slave = slave_id.as_ref().map(SlaveId::try_from);
            let (state, text) = match &slave {
                None => (
                    OperationState::OperationUnknown,
                    "Reconciliation: Operation is unknown and no 'agent_id' was provided",
                ),
                Some(Ok(slave)) if self.slaves.contains_key(slave) => {
                    (OperationState::OperationUnknown, "Reconciliation: Operation is unknown")
                }
                Some(Ok(slave)) if self.unreachable_slaves.contains_key(slave) => {
                    (OperationState::OperationUnreachable, "Reconciliation: Agent is unreachable")
                }
                Some(Ok(_) | Err(_)) => {
                    (OperationState::OperationUnknown, "Reconciliation: Both operation and agent are unknown")
                }
            };
            let status = OperationStatus {
                operation_id: Some(operation_id),
                state: state as i32,
                message: Some(text.into()),
                slave_id,
                resource_provider_id,
                ..Default::default()
            };
            self.tell(id, events::operation_update(status));
        }
    }

    fn status_of_unknown(&self, id: &FrameworkId, task: &call::reconcile::Task) -> TaskStatus {
        let slave = task.slave_id.as_ref().and_then(|id| SlaveId::try_from(id).ok());
        let lost = slave.as_ref().and_then(|id| self.unreachable_slaves.get(id));
        let (state, text) = if slave.as_ref().is_some_and(|id| self.slaves.contains_key(id)) {
            (TaskState::TaskGone, "Reconciliation: Task is unknown to the agent")
        } else if lost.is_some() {
            (TaskState::TaskUnreachable, "Reconciliation: Task is unreachable")
        } else {
            (TaskState::TaskUnknown, "Reconciliation: Task is unknown")
        };
        let state = if self.is_partition_aware(id) { state } else { TaskState::TaskLost };
        let status = events::master_status(
            &task.task_id,
            task.slave_id.as_ref(),
            state,
            Reason::Reconciliation,
            text,
            self.wall(),
        );
        TaskStatus { unreachable_time: lost.map(nanoseconds), ..status }
    }
}
