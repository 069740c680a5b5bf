//! From RunTaskMessage to a container: a message becomes an assignment of tasks to an executor, which is dropped, refused, given
//! to the executor that is here, or launched in a container of its own (`Slave::run` and `Slave::__run` in Mesos).

use std::collections::BTreeMap;

use super::command_executor::command_executor;
use super::decision::{Verdict, Wish, decide};
use super::default_executor::DefaultExecutor;
use super::executor::{Conversation, Together};
use super::framework::{Executor, ExecutorState, Framework, Task};
use super::refusal::{Refusal, unsupported};
use super::{Action, Now, Slave, form, paths, scheduler_pid};
use crate::ids::{ContainerId, ExecutorId, FrameworkId, IdError, SlaveId, TaskId};
use crate::libprocess::Pid;
use crate::messages::container::Spec;
use crate::messages::mesos;
use crate::messages::mesos::internal::{ResourceVersionUuid, RunTaskGroupMessage, RunTaskMessage};
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{Resource, TaskInfo};

/// The version of `container.Spec` and of the channel.
pub(super) const SPEC_VERSION: u32 = 1;

/// Tasks for an executor, all of them or none.
#[derive(Debug)]
pub(super) struct Assignment {
    pub framework: mesos::FrameworkInfo,
    /// The scheduler's address, if the message has one.
    pub pid: Option<Pid>,
    /// The framework's, or the one that we make up for a command task.
    pub executor: mesos::ExecutorInfo,
    pub is_command: bool,
    pub is_group: bool,
    pub tasks: Vec<TaskInfo>,
    pub wish: Wish,
    /// The versions of our resources that the master's offer was made of.
    pub versions: Vec<ResourceVersionUuid>,
}

impl Assignment {
    fn of_task(message: RunTaskMessage, wish: Wish) -> Assignment {
        let RunTaskMessage { framework, task, pid, resource_version_uuids, .. } = message;
        let is_command = task.executor.is_none();
        let made_up = || command_executor(framework.id.as_ref(), &task);
        Assignment {
            pid: scheduler_pid(pid.as_deref()),
            executor: task.executor.clone().unwrap_or_else(made_up),
            is_command,
            is_group: false,
            framework,
            tasks: vec![task],
            wish,
            versions: resource_version_uuids,
        }
    }

    fn of_group(message: RunTaskGroupMessage) -> Assignment {
        Assignment {
            framework: message.framework,
            pid: None,
            executor: message.executor,
            is_command: false,
            is_group: true,
            tasks: message.task_group.tasks,
            wish: message.launch_executor.into(),
            versions: message.resource_version_uuids,
        }
    }

    /// What the executor and the tasks are given.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.executor.resources.iter().chain(self.tasks.iter().flat_map(|task| &task.resources))
    }

    /// The role that a command task's resources are allocated to.
    fn role(&self) -> Option<String> {
        let first = self.tasks.first().filter(|_| self.is_command)?.resources.first()?;
        Some(first.allocation_info.as_ref()?.role().to_string())
    }

    /// Brings all resources into our form.
    fn complete(&mut self) -> Result<(), String> {
        form::complete(form::of_executor(&mut self.executor), &self.framework)?;
        form::complete(self.tasks.iter_mut().flat_map(form::of_task), &self.framework)
    }
}

/// Ids that may name directories.
struct Ids {
    framework: FrameworkId,
    executor: ExecutorId,
    tasks: Vec<TaskId>,
}

impl Ids {
    fn of(assignment: &Assignment) -> Result<Ids, IdError> {
        let framework = assignment.framework.id.as_ref().map_or("", |id| id.value.as_str());
        Ok(Ids {
            framework: FrameworkId::new(framework)?,
            executor: ExecutorId::try_from(&assignment.executor.executor_id)?,
            tasks: assignment.tasks.iter().map(|task| TaskId::try_from(&task.task_id)).collect::<Result<_, _>>()?,
        })
    }
}

impl Slave {
    pub(super) fn run_task(&mut self, message: RunTaskMessage, now: Now) {
        let wish = self.wish_of_master(message.launch_executor);
        if message.task.executor.is_some() == message.task.command.is_some() {
            let text = "a task has either a command or an executor; this one has both or neither";
            let assignment = Assignment::of_task(message, wish);
            let here = self.executor_state(&assignment);
            return self.refuse(&assignment, here, &Refusal::Invalid(text.into()), now);
        }
        self.assign(Assignment::of_task(message, wish), now);
    }

    pub(super) fn run_task_group(&mut self, message: RunTaskGroupMessage, now: Now) {
        if message.task_group.tasks.is_empty() {
            return log::error!("dropped a task group that has no tasks");
        }
        self.assign(Assignment::of_group(message), now);
    }

    fn assign(&mut self, mut assignment: Assignment, now: Now) {
        let Some(slave_id) = self.registration.id().cloned() else {
            return log::warn!("dropped a task that came before we were registered");
        };
        if let Some(task) = assignment.tasks.iter().find(|task| task.slave_id.value != slave_id.as_str()) {
            // As Mesos' agent does it. The master has said what became of it when the other slave was lost.
            let (task, meant) = (&task.task_id.value, &task.slave_id.value);
            return log::warn!("dropped task {task:?}, which is for slave {meant:?}: this is {slave_id}");
        }
        let here = self.executor_state(&assignment);
        let ids = match Ids::of(&assignment) {
            Ok(ids) => ids,
            Err(error) => return self.refuse(&assignment, here, &Refusal::Invalid(error.to_string()), now),
        };
        if self.is_unanswerable(&ids) {
            return self.report_missing_executor(&assignment, here, false);
        }
        if let Err(text) = assignment.complete() {
            return self.refuse(&assignment, here, &Refusal::Invalid(text), now);
        }
        if let Some(refusal) = self.objection(&assignment) {
            return self.refuse(&assignment, here, &refusal, now);
        }
        let verdict = decide(assignment.wish, assignment.is_command, here);
        if let Verdict::Drop { why, shut_down } = verdict {
            let refusal = Refusal::Dropped(Reason::ExecutorTerminated, why.to_string());
            self.refuse(&assignment, here, &refusal, now);
            if shut_down {
                self.end_executor(&ids.framework, &ids.executor, now);
            }
            return;
        }
        if let Some(refusal) = unsupported(&assignment)
            .or_else(|| self.lacking(&assignment, verdict))
            .or_else(|| self.overweight(&assignment))
        {
            return self.refuse(&assignment, here, &refusal, now);
        }
        match verdict {
            Verdict::Launch => self.launch(slave_id, ids, assignment),
            Verdict::Join => self.join(ids, assignment),
            Verdict::Drop { .. } => {}
        }
    }

    fn executor_state(&self, assignment: &Assignment) -> Option<ExecutorState> {
        let framework = FrameworkId::try_from(assignment.framework.id.as_ref()?).ok()?;
        let executor = ExecutorId::try_from(&assignment.executor.executor_id).ok()?;
        Some(self.frameworks.get(&framework)?.executors.get(&executor)?.state)
    }

    /// Nothing can be said of the tasks.
    fn is_unanswerable(&self, ids: &Ids) -> bool {
        let framework = self.frameworks.get(&ids.framework);
        if framework.is_some_and(|framework| framework.terminating) {
            // It cannot acknowledge.
            log::warn!("dropped tasks of framework {}, which is being removed from this slave", ids.framework);
            return true;
        }
        // Also one that was refused or never here, of which an update waits: sent again, it would end the new one.
        let here = |task: &TaskId| framework.is_some_and(|framework| framework.has_task(task));
        let known = ids.tasks.iter().find(|task| here(task) || self.updates.has(&ids.framework, task));
        if let Some(task) = known {
            // Whatever was said of the second would be taken for the end of the first: they have one name.
            let framework = &ids.framework;
            log::error!("dropped a second task {task} of framework {framework}: the first is still here");
        }
        known.is_some()
    }

    fn launch(&mut self, slave_id: SlaveId, ids: Ids, assignment: Assignment) {
        let Ok(container) = ContainerId::new(self.random.uuid_text()) else {
            return;
        };
        let resources = assignment.resources().cloned().collect();
        let role = assignment.role();
        let Assignment { framework, pid, mut executor, is_command, is_group, tasks, .. } = assignment;
        executor.framework_id.get_or_insert_with(|| ids.framework.to_proto());
        let sandbox = paths::sandbox(&self.config.work_dir, &slave_id, &ids.framework, &ids.executor, &container);
        // A command's executor in Mesos takes it out of the environment that the command gets (`src/executor/executor.cpp`).
        let key = self.config.token_key.as_ref().filter(|_| !is_command && !is_default(&executor));
        let token =
            key.map(|key| key.issue(&ids.framework.to_string(), &ids.executor.to_string(), &container.to_string()));
        log::info!("launching executor {} of framework {} in container {container}", ids.executor, ids.framework);
        let spec = Spec {
            version: SPEC_VERSION,
            container_id: container.to_string(),
            slave_id: slave_id.to_proto(),
            framework: framework.clone(),
            executor: executor.clone(),
            task: tasks.first().filter(|_| is_command).cloned(),
            sandbox: sandbox.to_string_lossy().into_owned(),
            resources,
            user: self.user(&framework, &executor),
            checkpoint: framework.checkpoint,
            vm: None,
            environment: self.environment(&slave_id, &framework, &executor, role, token, &sandbox),
            hostname: Some(self.config.info.hostname.clone()),
            fetcher: None,
            path_map: Vec::new(),
            holds_tasks: is_default(&executor).then_some(true),
            joins: None,
        };
        self.actions.push(Action::Launch(Box::new(spec)));
        // One that is here is described by UpdateFrameworkMessage when it changes.
        let known = self.frameworks.entry(ids.framework).or_insert_with(|| Framework::new(framework, pid));
        // What waits for acknowledgements is kept.
        let gone = known.executors.remove(&ids.executor);
        let (ended, completed) = gone.map(|gone| (gone.tasks, gone.completed)).unwrap_or_default();
        let mut executor = Executor {
            played: is_default(&executor).then(DefaultExecutor::default),
            info: executor,
            container,
            sandbox,
            is_command,
            state: ExecutorState::Launching,
            wait_status: None,
            conversation: (!is_command).then(|| Conversation::waiting_for(Together { tasks: ids.tasks, is_group })),
            tasks: ended.into_iter().chain(named(tasks)).collect(),
            completed,
        };
        if is_command {
            executor.tasks.values_mut().for_each(Task::handed_over);
        }
        known.executors.insert(ids.executor, executor);
    }

    /// Gives tasks to an executor that is here: at once, or when it has registered.
    fn join(&mut self, ids: Ids, assignment: Assignment) {
        let Ids { framework: framework_id, executor: executor_id, tasks } = ids;
        let together = Together { tasks, is_group: assignment.is_group };
        let framework = self.frameworks.get_mut(&framework_id);
        let Some(executor) = framework.and_then(|framework| framework.executors.get_mut(&executor_id)) else {
            return;
        };
        executor.tasks.extend(named(assignment.tasks));
        let runs = executor.state == ExecutorState::Running;
        if let (Some(conversation), false) = (&mut executor.conversation, runs) {
            conversation.queue.push(together.clone());
        }
        self.resources_changed(&framework_id, &executor_id);
        if runs {
            self.send_tasks(&framework_id, &executor_id, &together);
        }
    }
}

/// It is the executor that we play.
pub(super) fn is_default(executor: &mesos::ExecutorInfo) -> bool {
    executor.r#type() == mesos::executor_info::Type::Default
}

fn named(tasks: Vec<TaskInfo>) -> BTreeMap<TaskId, Task> {
    tasks.into_iter().filter_map(|task| Some((TaskId::try_from(&task.task_id).ok()?, Task::new(task)))).collect()
}
