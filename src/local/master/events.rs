//! Makers of what schedulers are told: events, and the status updates that are the master's own.

use crate::messages::mesos::scheduler::{Event, event};
use crate::messages::mesos::task_status::{Reason, Source};
use crate::messages::mesos::{self, Task, TaskState, TaskStatus};

/// A state from which a task does not come back (`isTerminalState` in Mesos' `protobuf_utils.cpp`).
pub(super) fn is_terminal(state: TaskState) -> bool {
    use TaskState::*;
    match state {
        TaskFinished | TaskFailed | TaskKilled | TaskError | TaskLost | TaskDropped | TaskGone | TaskGoneByOperator => {
            true
        }
        TaskStaging | TaskStarting | TaskRunning | TaskKilling | TaskUnreachable | TaskUnknown => false,
    }
}

/// An update that no slave has made: it carries no uuid, so nobody acknowledges it.
pub(super) fn master_status(
    task_id: &mesos::TaskId,
    slave_id: Option<&mesos::SlaveId>,
    state: TaskState,
    reason: Reason,
    message: impl Into<String>,
    wall: f64,
) -> TaskStatus {
    TaskStatus {
        task_id: task_id.clone(),
        slave_id: slave_id.cloned(),
        state: state as i32,
        source: Some(Source::Master as i32),
        reason: Some(reason as i32),
        message: Some(message.into()),
        timestamp: Some(wall),
        ..Default::default()
    }
}

/// The same for a task that the master knows.
pub(super) fn master_status_of(
    task: &Task,
    state: TaskState,
    reason: Reason,
    message: impl Into<String>,
    wall: f64,
) -> TaskStatus {
    let status = master_status(&task.task_id, Some(&task.slave_id), state, reason, message, wall);
    TaskStatus { executor_id: task.executor_id.clone(), ..status }
}

/// What the master last knew of a task, for a reconciliation or after its slave came back.
pub(super) fn latest_status_of(task: &Task, reason: Reason, message: &str, wall: f64) -> TaskStatus {
    let state = match task.status_update_state {
        Some(_) => task.status_update_state(),
        None => task.state(),
    };
    let last = task.statuses.last();
    TaskStatus {
        healthy: last.and_then(|status| status.healthy),
        check_status: last.and_then(|status| status.check_status),
        container_status: last.and_then(|status| status.container_status.clone()),
        ..master_status_of(task, state, reason, message, wall)
    }
}

/// UPDATE.
pub(super) fn update(status: TaskStatus) -> Event {
    Event { update: Some(event::Update { status }), ..of(event::Type::Update) }
}

/// UPDATE_OPERATION_STATUS.
pub(super) fn operation_update(status: mesos::OperationStatus) -> Event {
    let update = event::UpdateOperationStatus { status };
    Event { update_operation_status: Some(update), ..of(event::Type::UpdateOperationStatus) }
}

/// SUBSCRIBED.
pub(super) fn subscribed(framework_id: mesos::FrameworkId, heartbeat_seconds: f64, master: mesos::MasterInfo) -> Event {
    let subscribed = event::Subscribed {
        framework_id,
        heartbeat_interval_seconds: Some(heartbeat_seconds),
        master_info: Some(master),
    };
    Event { subscribed: Some(subscribed), ..of(event::Type::Subscribed) }
}

/// HEARTBEAT.
pub(super) fn heartbeat() -> Event {
    of(event::Type::Heartbeat)
}

/// OFFERS.
pub(super) fn offers(offers: Vec<mesos::Offer>) -> Event {
    Event { offers: Some(event::Offers { offers }), ..of(event::Type::Offers) }
}

/// RESCIND.
pub(super) fn rescind(offer: &str) -> Event {
    let offer_id = mesos::OfferId { value: offer.into() };
    Event { rescind: Some(event::Rescind { offer_id }), ..of(event::Type::Rescind) }
}

/// FAILURE of a slave.
pub(super) fn slave_failure(slave_id: mesos::SlaveId) -> Event {
    Event {
        failure: Some(event::Failure { slave_id: Some(slave_id), ..Default::default() }),
        ..of(event::Type::Failure)
    }
}

/// FAILURE of an executor.
pub(super) fn executor_failure(slave_id: mesos::SlaveId, executor_id: mesos::ExecutorId, status: i32) -> Event {
    let failure = event::Failure { slave_id: Some(slave_id), executor_id: Some(executor_id), status: Some(status) };
    Event { failure: Some(failure), ..of(event::Type::Failure) }
}

/// MESSAGE.
pub(super) fn message(slave_id: mesos::SlaveId, executor_id: mesos::ExecutorId, data: Vec<u8>) -> Event {
    Event { message: Some(event::Message { slave_id, executor_id, data }), ..of(event::Type::Message) }
}

/// ERROR.
pub(super) fn error(message: impl Into<String>) -> Event {
    Event { error: Some(event::Error { message: message.into() }), ..of(event::Type::Error) }
}

fn of(kind: event::Type) -> Event {
    Event { r#type: Some(kind as i32), ..Default::default() }
}
