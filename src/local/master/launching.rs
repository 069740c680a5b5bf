//! From an accepted offer to a RunTaskMessage.

use super::accounts;
use super::core::{Core, ExecutorKey};
use super::slaves::{self, Slave};
use super::validate;
use crate::ids::{ExecutorId, FrameworkId, SlaveId, TaskId};
use crate::messages::mesos::internal::{ResourceVersionUuid, RunTaskGroupMessage, RunTaskMessage};
use crate::messages::mesos::offer::operation;
use crate::messages::mesos::slave_info::capability::Type as Capability;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{ExecutorInfo, Resource, Task, TaskGroupInfo, TaskInfo, TaskState};

/// What is left of accepted offers while tasks are launched from them.
#[derive(Debug)]
pub(super) struct Allotment {
    pub(super) slave: SlaveId,
    pub(super) role: String,
    pub(super) left: Vec<Resource>,
}

impl Core {
    /// Launches one task from what was accepted, or tells the framework why not.
    pub(super) fn launch(&mut self, id: &FrameworkId, mut task: TaskInfo, allotment: &mut Allotment) {
        task.resources = accounts::normalized(&task.resources);
        if let Some(executor) = task.executor.as_mut() {
            executor.resources = accounts::normalized(&executor.resources);
            executor.framework_id.get_or_insert_with(|| id.to_proto());
        }
        let key = task.executor.as_ref().and_then(|executor| executor_key(&allotment.slave, id, executor));
        let running = key.as_ref().and_then(|key| self.executors.get(key));
        let is_taken = |task: TaskId| self.has_task(id, task);
        let needed = match validate::task(&task, id, &allotment.slave, running, is_taken, &allotment.left) {
            Ok(needed) => needed,
            Err(error) => {
                return self.refuse_task(id, &task, TaskState::TaskError, Reason::TaskInvalid, &error);
            }
        };
        let launch_executor = running.is_none();
        allotment.left = accounts::minus(std::mem::take(&mut allotment.left), &needed);
        if let (Some(key), Some(executor), true) = (key, &task.executor, launch_executor) {
            self.executors.insert(key, executor.clone());
        }
        let Ok(task_id) = TaskId::try_from(&task.task_id) else {
            return;
        };
        self.tasks.insert((id.clone(), task_id), tracked(&task, id));
        self.run_task(id, task, allotment, launch_executor);
    }

    /// A task of this name is here, be it one that has ended and is not acknowledged.
    fn has_task(&self, id: &FrameworkId, task: TaskId) -> bool {
        let key = (id.clone(), task);
        self.tasks.contains_key(&key) || self.unreachable_tasks.contains_key(&key)
    }

    /// An executor that runs, with what it runs.
    fn group_executor(&self, key: &ExecutorKey) -> Option<validate::group::Running<'_>> {
        let (slave, framework, executor) = key;
        let info = self.executors.get(key)?;
        let is_of_it = |task: &Task| {
            slaves::on(task, slave) && task.executor_id.as_ref().is_some_and(|id| id.value == executor.as_str())
        };
        let tasks = self.tasks.iter().chain(&self.unreachable_tasks).filter(|((of, _), _)| of == framework);
        let containers = tasks.filter(|(_, task)| is_of_it(task)).map(|(_, task)| task.container.as_ref()).collect();
        Some(validate::group::Running { info, containers })
    }

    /// Launches a group of tasks, all of them or none.
    pub(super) fn launch_group(&mut self, id: &FrameworkId, group: operation::LaunchGroup, allotment: &mut Allotment) {
        let operation::LaunchGroup { mut executor, task_group } = group;
        executor.resources = accounts::normalized(&executor.resources);
        let mut tasks = task_group.tasks;
        for task in &mut tasks {
            task.resources = accounts::normalized(&task.resources);
            let own = task.executor.get_or_insert_with(|| executor.clone());
            own.resources = accounts::normalized(&own.resources);
        }
        let key = executor_key(&allotment.slave, id, &executor);
        let running = key.as_ref().and_then(|key| self.group_executor(key));
        let is_taken = |task: TaskId| self.has_task(id, task);
        let (slave, left) = (&allotment.slave, &allotment.left);
        let checked = validate::group::group(&tasks, &executor, id, slave, running.as_ref(), is_taken, left);
        let needed = match checked {
            Ok(needed) => needed,
            Err(error) => {
                let (state, reason) = (TaskState::TaskError, Reason::TaskGroupInvalid);
                return tasks.iter().for_each(|task| self.refuse_task(id, task, state, reason, &error));
            }
        };
        let launch_executor = running.is_none();
        allotment.left = accounts::minus(std::mem::take(&mut allotment.left), &needed);
        if let (Some(key), true) = (key, launch_executor) {
            self.executors.insert(key, executor.clone());
        }
        for task in &tasks {
            if let Ok(task_id) = TaskId::try_from(&task.task_id) {
                self.tasks.insert((id.clone(), task_id), tracked(task, id));
            }
        }
        self.run_group(id, executor, tasks, allotment, launch_executor);
    }

    fn run_group(
        &mut self,
        id: &FrameworkId,
        mut executor: ExecutorInfo,
        mut tasks: Vec<TaskInfo>,
        allotment: &Allotment,
        launch_executor: bool,
    ) {
        let (Some(framework), Some(slave)) = (self.frameworks.get(id), self.slaves.get(&allotment.slave)) else {
            return;
        };
        log::info!("launching a group of {} tasks of framework {id} on slave {}", tasks.len(), allotment.slave);
        let refined = slave.has(Capability::ReservationRefinement);
        let allocated = |list: &mut Vec<Resource>| *list = accounts::allocated(list, &allotment.role, refined);
        allocated(&mut executor.resources);
        for task in &mut tasks {
            allocated(&mut task.resources);
            task.executor.iter_mut().for_each(|executor| allocated(&mut executor.resources));
        }
        let message = RunTaskGroupMessage {
            framework: framework.info.clone(),
            executor,
            task_group: TaskGroupInfo { tasks },
            resource_version_uuids: version_of(slave),
            launch_executor: Some(launch_executor),
        };
        let pid = slave.pid.clone();
        self.send(&pid, &message);
    }

    fn run_task(&mut self, id: &FrameworkId, mut task: TaskInfo, allotment: &Allotment, launch_executor: bool) {
        let (Some(framework), Some(slave)) = (self.frameworks.get(id), self.slaves.get(&allotment.slave)) else {
            return;
        };
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
        let message = RunTaskMessage {
            framework: framework.info.clone(),
            pid: Some(super::NO_PID.into()),
            task,
            resource_version_uuids: version_of(slave),
            launch_executor: Some(launch_executor),
            ..Default::default()
        };
        let pid = slave.pid.clone();
        self.send(&pid, &message);
    }
}

fn version_of(slave: &Slave) -> Vec<ResourceVersionUuid> {
    let version = slave.resource_version.clone();
    version.into_iter().map(|uuid| ResourceVersionUuid { resource_provider_id: None, uuid }).collect()
}

fn executor_key(slave: &SlaveId, framework: &FrameworkId, executor: &ExecutorInfo) -> Option<ExecutorKey> {
    Some((slave.clone(), framework.clone(), ExecutorId::try_from(&executor.executor_id).ok()?))
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
        kill_policy: task.kill_policy,
        user: command.and_then(|command| command.user.clone()),
        ..Default::default()
    }
}
