//! The tasks: launch, status updates and their acknowledgements, kill, reconciliation.
//!
//! ```text
//!   scheduler ── ACCEPT(LAUNCH) ──► master ── RunTaskMessage ─────────────────────► slave
//!   scheduler ◄── UPDATE ────────── master ◄── StatusUpdateMessage ──────────────── slave   (again and again until acknowledged)
//!   scheduler ── ACKNOWLEDGE ─────► master ── StatusUpdateAcknowledgementMessage ─► slave
//! ```
//!
//! A task's resources are free when its terminal update comes; the task is forgotten when that update is acknowledged.

use super::accounts;
use super::core::{Core, TaskKey};
use super::events;
use super::validate;
use crate::ids::{ExecutorId, FrameworkId, SlaveId, TaskId};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::internal::{
    KillTaskMessage, ResourceVersionUuid, RunTaskMessage, StatusUpdate, StatusUpdateAcknowledgementMessage, StatusUpdateMessage,
};
use crate::messages::mesos::scheduler::call;
use crate::messages::mesos::slave_info::capability::Type as Capability;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{self, Resource, Task, TaskInfo, TaskState, TaskStatus, TimeInfo};

/// Bytes of a status update's uuid; one of another length cannot be acknowledged.
pub(super) const UUID_LENGTH: usize = 16;
/// How many states of a task are kept.
const MAX_STATUSES: usize = 32;
/// How many tasks of lost slaves are kept.
const MAX_UNREACHABLE_TASKS: usize = 1000;

/// What is left of accepted offers while tasks are launched from them.
#[derive(Debug)]
pub(super) struct Allotment {
    pub(super) slave: SlaveId,
    pub(super) role: String,
    pub(super) left: Vec<Resource>,
}

impl Core {
    /// The pid of a slave that is connected.
    pub(super) fn slave_pid(&self, id: &mesos::SlaveId) -> Option<Pid> {
        let slave = self.slaves.get(&SlaveId::try_from(id).ok()?)?;
        slave.is_connected().then(|| slave.pid.clone())
    }

    /// Launches one task from what was accepted, or tells the framework why not.
    pub(super) fn launch(&mut self, id: &FrameworkId, mut task: TaskInfo, allotment: &mut Allotment) {
        task.resources = accounts::normalized(&task.resources);
        if let Some(executor) = task.executor.as_mut() {
            executor.resources = accounts::normalized(&executor.resources);
            executor.framework_id.get_or_insert_with(|| id.to_proto());
        }
        let key = task.executor.as_ref().and_then(|executor| {
            Some((allotment.slave.clone(), id.clone(), ExecutorId::try_from(&executor.executor_id).ok()?))
        });
        let running = key.as_ref().and_then(|key| self.executors.get(key));
        let is_taken = |task: TaskId| {
            let key = (id.clone(), task);
            self.tasks.contains_key(&key) || self.unreachable_tasks.contains_key(&key)
        };
        let needed = match validate::task(&task, id, &allotment.slave, running, is_taken, &allotment.left) {
            Ok(needed) => needed,
            Err(error) => return self.refuse_task(id, &task, TaskState::TaskError, Reason::TaskInvalid, &error),
        };
        let launch_executor = running.is_none();
        allotment.left = accounts::minus(std::mem::take(&mut allotment.left), &needed);
        if let (Some(key), Some(executor), true) = (key, &task.executor, launch_executor) {
            self.executors.insert(key, executor.clone());
        }
        let Ok(task_id) = TaskId::try_from(&task.task_id) else { return };
        self.tasks.insert((id.clone(), task_id), tracked(&task, id));
        self.run_task(id, task, allotment, launch_executor);
    }

    fn run_task(&mut self, id: &FrameworkId, mut task: TaskInfo, allotment: &Allotment, launch_executor: bool) {
        let (Some(framework), Some(slave)) = (self.frameworks.get(id), self.slaves.get(&allotment.slave)) else { return };
        log::info!(
            "launching task {} of framework {id} on slave {} with {}",
            task.task_id.value,
            allotment.slave,
            accounts::text(&task.resources)
        );
        let refined = slave.has(Capability::ReservationRefinement);
        task.resources = accounts::allocated(&task.resources, &allotment.role, refined);
        if let Some(executor) = task.executor.as_mut() {
            executor.resources = accounts::allocated(&executor.resources, &allotment.role, refined);
        }
        let version = slave.resource_version.clone().map(|uuid| ResourceVersionUuid { resource_provider_id: None, uuid });
        let message = RunTaskMessage {
            framework: framework.info.clone(),
            pid: Some(super::NO_PID.into()),
            task,
            resource_version_uuids: version.into_iter().collect(),
            launch_executor: Some(launch_executor),
            ..Default::default()
        };
        let pid = slave.pid.clone();
        self.send(&pid, &message);
    }

    pub(super) fn status_update(&mut self, message: StatusUpdateMessage) {
        let update = message.update;
        let slave = update.slave_id.as_ref().and_then(|id| SlaveId::try_from(id).ok());
        if !slave.as_ref().is_some_and(|id| self.slaves.contains_key(id)) {
            return log::warn!("ignoring a status update of task {}: its slave is not registered", update.status.task_id.value);
        }
        if update.uuid.as_ref().map(Vec::len) != Some(UUID_LENGTH) {
            return log::warn!("ignoring a status update of task {}: its uuid is invalid", update.status.task_id.value);
        }
        let ids = (FrameworkId::try_from(&update.framework_id), TaskId::try_from(&update.status.task_id));
        let (Ok(framework), Ok(task)) = ids else { return log::warn!("ignoring a status update with invalid ids") };
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
                Some(known) if events::is_terminal(known.status_update_state()) && known.status_update_uuid.as_ref() == Some(&uuid) => {
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
        let Some(task) = self.tasks.remove(key).or_else(|| self.unreachable_tasks.remove(key)) else { return };
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
        let Some(task) = self.tasks.get_mut(key).or_else(|| self.unreachable_tasks.get_mut(key)) else { return };
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
            return log::warn!("not killing task {}: it is on slave {}, not on the one that was named", key.1, task.slave_id.value);
        }
        let (key, slave_id) = (key.clone(), task.slave_id.clone());
        let Some(slave) = SlaveId::try_from(&slave_id).ok().and_then(|id| self.slaves.get_mut(&id)) else { return };
        log::info!("telling slave {} to kill task {} of framework {id}", slave_id.value, key.1);
        slave.killed.insert(key);
        if let Some(pid) = self.slave_pid(&slave_id) {
            let call::Kill { task_id, kill_policy, .. } = kill;
            self.send(&pid, &KillTaskMessage { framework_id: id.to_proto(), task_id, kill_policy });
        }
    }

    /// Tells a framework the state of the tasks that it names, or of all that it has if it names none.
    pub(super) fn reconcile(&mut self, id: &FrameworkId, reconcile: call::Reconcile) {
        let wall = self.wall();
        let latest = |task: &Task| events::latest_status_of(task, Reason::Reconciliation, "Reconciliation: Latest task state", wall);
        let statuses: Vec<TaskStatus> = match reconcile.tasks.is_empty() {
            true => self.tasks.iter().filter(|(key, _)| key.0 == *id).map(|(_, task)| latest(task)).collect(),
            false => {
                let known = |task: &call::reconcile::Task| {
                    self.tasks.get(&(id.clone(), TaskId::try_from(&task.task_id).ok()?)).map(latest)
                };
                reconcile.tasks.iter().map(|task| known(task).unwrap_or_else(|| self.status_of_unknown(id, task))).collect()
            }
        };
        for status in statuses {
            self.tell(id, events::update(status));
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
        let status =
            events::master_status(&task.task_id, task.slave_id.as_ref(), state, Reason::Reconciliation, text, self.wall());
        TaskStatus { unreachable_time: lost.map(nanoseconds), ..status }
    }
}

/// A task as the master keeps it from its launch on.
fn tracked(task: &TaskInfo, framework: &FrameworkId) -> Task {
    let command = task.command.as_ref().or(task.executor.as_ref().and_then(|executor| executor.command.as_ref()));
    Task {
        name: task.name.clone(),
        task_id: task.task_id.clone(),
        framework_id: framework.to_proto(),
        executor_id: task.executor.as_ref().map(|executor| executor.executor_id.clone()),
        slave_id: task.slave_id.clone(),
        state: TaskState::TaskStaging as i32,
        resources: task.resources.clone(),
        labels: task.labels.clone(),
        discovery: task.discovery.clone(),
        container: task.container.clone(),
        health_check: task.health_check.clone(),
        kill_policy: task.kill_policy.clone(),
        user: command.and_then(|command| command.user.clone()),
        ..Default::default()
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

fn nanoseconds(seconds: &f64) -> TimeInfo {
    TimeInfo { nanoseconds: (seconds * 1e9) as i64 }
}
