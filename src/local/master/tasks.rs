//! The tasks: status updates, their acknowledgements, kill, end. Their launch is in `launching`.
//!
//! ```text
//!   scheduler ── ACCEPT(LAUNCH) ──► master ── RunTaskMessage ─────────────────────► slave
//!   scheduler ◄── UPDATE ────────── master ◄── StatusUpdateMessage ──────────────── slave   (again and again until acknowledged)
//!   scheduler ── ACKNOWLEDGE ─────► master ── StatusUpdateAcknowledgementMessage ─► slave
//! ```
//!
//! A task's resources are free when its terminal update comes; the task is forgotten when that update is acknowledged.

use super::core::{Core, TaskKey};
use super::events;
use crate::ids::{FrameworkId, SlaveId, TaskId};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::internal::{
    KillTaskMessage, StatusUpdate, StatusUpdateAcknowledgementMessage, StatusUpdateMessage,
};
use crate::messages::mesos::scheduler::call;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{self, Task, TaskState, TaskStatus, TimeInfo};

/// Bytes of a status update's uuid; one of another length cannot be acknowledged.
pub(super) const UUID_LENGTH: usize = 16;
/// How many states of a task are kept.
const MAX_STATUSES: usize = 32;
/// How many tasks of lost slaves are kept.
const MAX_UNREACHABLE_TASKS: usize = 1000;

impl Core {
    /// The pid of a slave that is connected.
    pub(super) fn slave_pid(&self, id: &mesos::SlaveId) -> Option<Pid> {
        let slave = self.slaves.get(&SlaveId::try_from(id).ok()?)?;
        slave.is_connected().then(|| slave.pid.clone())
    }

    pub(super) fn status_update(&mut self, message: StatusUpdateMessage) {
        let update = message.update;
        let slave = update.slave_id.as_ref().and_then(|id| SlaveId::try_from(id).ok());
        if !slave.as_ref().is_some_and(|id| self.slaves.contains_key(id)) {
            return log::warn!(
                "ignoring a status update of task {}: its slave is not registered",
                update.status.task_id.value
            );
        }
        if update.uuid.as_ref().map(Vec::len) != Some(UUID_LENGTH) {
            return log::warn!("ignoring a status update of task {}: its uuid is invalid", update.status.task_id.value);
        }
        let ids = (FrameworkId::try_from(&update.framework_id), TaskId::try_from(&update.status.task_id));
        let (Ok(framework), Ok(task)) = ids else {
            return log::warn!("ignoring a status update with invalid ids");
        };
        log::info!("task {task} of framework {framework} is {}", update.status.state().as_str_name());
        let connected = self.frameworks.get(&framework).is_some_and(|framework| framework.peer().is_some());
        if connected {
            self.tell(&framework, events::update(forwarded(&update)));
        }
        match self.tasks.get_mut(&(framework, task)) {
            Some(known) => {
                if connected {
                    known.status_update_state = Some(update.status.state);
                    known.status_update_uuid = update.uuid.clone();
                }
                note(known, update.latest_state.unwrap_or(update.status.state), update.status);
            }
            None => log::warn!("that task is unknown to this master"),
        }
    }

    pub(super) fn acknowledge(&mut self, id: &FrameworkId, acknowledge: call::Acknowledge) {
        let call::Acknowledge { slave_id, task_id, uuid } = acknowledge;
        let Some(pid) = self.slave_pid(&slave_id) else {
            return log::warn!("cannot pass on an acknowledgement: slave {} is not connected", slave_id.value);
        };
        if let Ok(task) = TaskId::try_from(&task_id) {
            let key = (id.clone(), task);
            match self.tasks.get(&key) {
                Some(known) if known.status_update_state.is_none() => {
                    return log::warn!("ignoring an acknowledgement of task {}: no update of it was passed on", key.1);
                }
                Some(known)
                    if events::is_terminal(known.status_update_state())
                        && known.status_update_uuid.as_ref() == Some(&uuid) =>
                {
                    self.forget_task(&key);
                }
                Some(_) | None => {}
            }
        }
        let framework_id = id.to_proto();
        self.send(&pid, &StatusUpdateAcknowledgementMessage { slave_id, framework_id, task_id, uuid });
    }

    /// Takes a task out of the books; people can still see it.
    fn forget_task(&mut self, key: &TaskKey) {
        let Some(task) = self.tasks.remove(key).or_else(|| self.unreachable_tasks.remove(key)) else {
            return;
        };
        if let Some(slave) = SlaveId::try_from(&task.slave_id).ok().and_then(|id| self.slaves.get_mut(&id)) {
            slave.killed.remove(key);
        }
        if task.state() == TaskState::TaskUnreachable {
            self.unreachable_tasks.insert(key.clone(), task);
            while self.unreachable_tasks.len() > MAX_UNREACHABLE_TASKS {
                self.unreachable_tasks.pop_first();
            }
        } else if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.remember(task);
        }
    }

    /// Ends a task that no slave will report on, and tells its framework if it is to know.
    pub(super) fn end_task(&mut self, key: &TaskKey, state: TaskState, reason: Reason, text: &str, tell: bool) {
        let wall = self.wall();
        let Some(task) = self.tasks.get_mut(key).or_else(|| self.unreachable_tasks.get_mut(key)) else {
            return;
        };
        let mut status = events::master_status_of(task, state, reason, text, wall);
        let unreachable = SlaveId::try_from(&task.slave_id).ok().and_then(|id| self.unreachable_slaves.get(&id));
        status.unreachable_time = unreachable.filter(|_| reason == Reason::SlaveRemoved).map(nanoseconds);
        note(task, state as i32, status.clone());
        self.forget_task(key);
        if tell {
            self.tell(&key.0, events::update(status));
        }
    }

    pub(super) fn kill(&mut self, id: &FrameworkId, kill: call::Kill) {
        let key = TaskId::try_from(&kill.task_id).ok().map(|task| (id.clone(), task));
        let Some((key, task)) = key.as_ref().and_then(|key| self.tasks.get_key_value(key)) else {
            log::warn!("framework {id} wants unknown task {:?} killed: telling it so", kill.task_id.value);
            let task = call::reconcile::Task { task_id: kill.task_id, slave_id: kill.slave_id };
            return self.reconcile(id, call::Reconcile { tasks: vec![task] });
        };
        if kill.slave_id.as_ref().is_some_and(|slave| *slave != task.slave_id) {
            return log::warn!(
                "not killing task {}: it is on slave {}, not on the one that was named",
                key.1,
                task.slave_id.value
            );
        }
        let (key, slave_id) = (key.clone(), task.slave_id.clone());
        let Some(slave) = SlaveId::try_from(&slave_id).ok().and_then(|id| self.slaves.get_mut(&id)) else {
            return;
        };
        log::info!("telling slave {} to kill task {} of framework {id}", slave_id.value, key.1);
        slave.killed.insert(key);
        if let Some(pid) = self.slave_pid(&slave_id) {
            let call::Kill { task_id, kill_policy, .. } = kill;
            self.send(&pid, &KillTaskMessage { framework_id: id.to_proto(), task_id, kill_policy });
        }
    }
}

/// What a scheduler gets of a slave's update (`evolve(StatusUpdateMessage)` in Mesos).
fn forwarded(update: &StatusUpdate) -> TaskStatus {
    let status = update.status.clone();
    TaskStatus {
        slave_id: update.slave_id.clone().or(status.slave_id),
        executor_id: update.executor_id.clone().or(status.executor_id),
        timestamp: Some(update.timestamp),
        uuid: update.uuid.clone(),
        ..status
    }
}

/// Notes a task's new state; a terminal one stays.
fn note(task: &mut Task, state: i32, status: TaskStatus) {
    if !events::is_terminal(task.state()) {
        task.state = state;
    }
    if task.statuses.last().is_some_and(|last| last.state == status.state) || task.statuses.len() >= MAX_STATUSES {
        task.statuses.pop();
    }
    task.statuses.push(TaskStatus { data: None, ..status });
}

pub(super) fn nanoseconds(seconds: &f64) -> TimeInfo {
    TimeInfo { nanoseconds: (seconds * 1e9) as i64 }
}
