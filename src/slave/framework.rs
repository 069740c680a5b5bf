//! What runs here: frameworks, their executors, the executors' tasks. Plain records; who changes them is in `launch`,
//! `kill` and `updates`.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use prost::Message;

use crate::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::libprocess::Pid;
use crate::messages::mesos;
use crate::messages::mesos::TaskState;
use crate::resources::Resources;
use crate::slave::default_executor::DefaultExecutor;
use crate::slave::executor::Conversation;
use crate::slave::weight;

/// Tasks of one executor that are kept when they have ended and that is acknowledged (`MAX_COMPLETED_TASKS_PER_EXECUTOR`).
const COMPLETED: usize = 200;

/// Updates of one task that are told from repetitions; a child repeats those that it has sent last.
const REMEMBERED: usize = 1024;

/// A framework that has, or had a moment ago, an executor here.
#[derive(Debug)]
pub struct Framework {
    /// As the master last described it.
    pub info: mesos::FrameworkInfo,
    /// The scheduler's own address; `None` for one that is reached through the master.
    pub pid: Option<Pid>,
    /// Its executors, by id.
    pub executors: BTreeMap<ExecutorId, Executor>,
    /// The master said that it is gone: nobody waits for its updates any more.
    pub terminating: bool,
}

impl Framework {
    /// A framework of which nothing is here yet.
    pub fn new(info: mesos::FrameworkInfo, pid: Option<Pid>) -> Framework {
        Framework { info, pid, executors: BTreeMap::new(), terminating: false }
    }

    /// It has a task of this name here, be it one that has ended and is not acknowledged.
    pub fn has_task(&self, task: &TaskId) -> bool {
        self.executors.values().any(|executor| executor.tasks.contains_key(task))
    }

    /// It had a task of this name, whose end has been acknowledged, and has it no more.
    pub fn has_completed(&self, task: &TaskId) -> bool {
        let mut completed = self.executors.values().flat_map(|executor| &executor.completed);
        completed.any(|each| each.info.task_id.value == task.as_str()) && !self.has_task(task)
    }

    /// The executor that has this task.
    pub fn executor_of(&mut self, task: &TaskId) -> Option<&mut Executor> {
        self.executors.values_mut().find(|executor| executor.tasks.contains_key(task))
    }
}

/// Where an executor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutorState {
    /// Its container is being made.
    Launching,
    /// A task of it has been heard of.
    Running,
    /// It has been told to end.
    Ending,
    /// Its container is gone; it stays until its last update is acknowledged.
    Gone,
}

impl ExecutorState {
    /// There is a container.
    pub fn is_alive(self) -> bool {
        match self {
            ExecutorState::Launching | ExecutorState::Running | ExecutorState::Ending => true,
            ExecutorState::Gone => false,
        }
    }
}

/// An executor and its container.
#[derive(Debug)]
pub struct Executor {
    /// As the framework gave it, or as we made it up for a command task.
    pub info: mesos::ExecutorInfo,
    /// The container's id, new with each launch.
    pub container: ContainerId,
    /// The sandbox on the host.
    pub sandbox: PathBuf,
    /// It runs a command task: there is no executor but the container's child.
    pub is_command: bool,
    /// Where it is in its life.
    pub state: ExecutorState,
    /// How its process ended, as wait(2) gives it, once that is known.
    pub wait_status: Option<i32>,
    /// What is between it and us, unless it is a command task's: there is no executor to talk to then.
    pub conversation: Option<Conversation>,
    /// Its tasks' containers, if it is Mesos' default executor, which we play.
    pub played: Option<DefaultExecutor>,
    /// Its tasks, those included that have ended but whose last update is not acknowledged.
    pub tasks: BTreeMap<TaskId, Task>,
    /// Its last tasks whose end has been acknowledged, oldest first: for operators alone, masters have forgotten them.
    pub completed: VecDeque<Task>,
}

impl Executor {
    /// There is a program that speaks for it: it is neither a command task's nor one that we play.
    pub fn speaks_for_itself(&self) -> bool {
        self.conversation.is_some() && self.played.is_none()
    }

    /// A task's end is acknowledged.
    pub fn complete(&mut self, task: &TaskId) {
        let Some(task) = self.tasks.remove(task) else { return };
        if self.completed.len() == COMPLETED {
            self.completed.pop_front();
        }
        self.completed.push_back(task);
        self.slim();
    }

    /// Where its container can be reached: as its child has told of the executor or of a command task; none while nobody has.
    pub fn networks(&self) -> Vec<mesos::NetworkInfo> {
        if let Some(address) = self.conversation.as_ref().and_then(|conversation| conversation.address) {
            let ip_address = Some(address.to_string());
            let ip_addresses = vec![mesos::network_info::IpAddress { ip_address, ..Default::default() }];
            return vec![mesos::NetworkInfo { ip_addresses, ..Default::default() }];
        }
        let tasks = self.is_command.then(|| self.tasks.values().chain(&self.completed)).into_iter().flatten();
        let statuses = tasks.flat_map(|task| task.statuses.iter().rev());
        let mut known = statuses.filter_map(|status| Some(&status.container_status.as_ref()?.network_infos));
        known.find(|networks| !networks.is_empty()).cloned().unwrap_or_default()
    }

    /// What it holds: its own and that of its tasks that have not ended (`Executor::allocatedResources`).
    pub fn resources(&self) -> Resources {
        let tasks = self.tasks.values().filter(|task| !is_terminal(task.state));
        let resources = tasks.flat_map(|task| &task.info.resources);
        self.info.resources.iter().chain(resources).cloned().collect()
    }
}

/// A task.
#[derive(Debug)]
pub struct Task {
    /// As the framework gave it.
    pub info: mesos::TaskInfo,
    /// How long that is, in bytes.
    pub(super) described: usize,
    /// The newest state that the executor reported.
    pub state: TaskState,
    /// One status per state that it has been in (Mesos keeps no more).
    pub statuses: Vec<mesos::TaskStatus>,
    /// The update that waits for its acknowledgement: its state and uuid.
    pub outstanding: Option<(TaskState, Vec<u8>)>,
    /// The uuids of the updates that were taken in, the newest last.
    seen: VecDeque<Vec<u8>>,
}

impl Task {
    /// A task that was just asked for.
    pub fn new(info: mesos::TaskInfo) -> Task {
        let (described, state, statuses) = (info.encoded_len(), TaskState::TaskStaging, Vec::new());
        Task { info, described, state, statuses, outstanding: None, seen: VecDeque::new() }
    }

    /// This update was taken in before: a child repeats what it thinks we have not heard.
    pub fn has_seen(&self, uuid: &[u8]) -> bool {
        self.seen.iter().any(|seen| seen == uuid)
    }

    /// Takes a status in: the newest of each state is kept.
    pub fn record(&mut self, status: &mesos::TaskStatus) {
        self.state = status.state();
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(status.uuid().to_vec());
        self.statuses.retain(|each| each.state != status.state);
        self.statuses.push(weight::kept(status));
    }

    /// The message that describes it to a master.
    pub fn to_proto(&self, framework: &FrameworkId, executor: Option<&ExecutorId>) -> mesos::Task {
        let info = &self.info;
        mesos::Task {
            name: info.name.clone(),
            task_id: info.task_id.clone(),
            framework_id: framework.to_proto(),
            executor_id: executor.map(ExecutorId::to_proto),
            slave_id: info.slave_id.clone(),
            state: self.state as i32,
            resources: info.resources.clone(),
            statuses: self.statuses.clone(),
            status_update_state: self.outstanding.as_ref().map(|(state, _)| *state as i32),
            status_update_uuid: self.outstanding.as_ref().map(|(_, uuid)| uuid.clone()),
            labels: info.labels.clone(),
            discovery: info.discovery.clone(),
            container: info.container.clone(),
            health_check: info.health_check.clone(),
            kill_policy: info.kill_policy,
            user: info.command.as_ref().and_then(|command| command.user.clone()),
            limits: info.limits.clone(),
        }
    }
}

/// No further state can follow (Mesos' `isTerminalState`; the states of a lost agent are not terminal, but no executor
/// reports them).
pub fn is_terminal(state: TaskState) -> bool {
    match state {
        TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskKilled
        | TaskState::TaskError
        | TaskState::TaskLost
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator => true,
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling
        | TaskState::TaskUnreachable
        | TaskState::TaskUnknown => false,
    }
}
