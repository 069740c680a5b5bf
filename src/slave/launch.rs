//! From RunTaskMessage to a container: what is refused, what the executor is, and what its container is told.

use std::time::Duration;

use super::constants::MESOS_VERSION;
use super::framework::{Executor, ExecutorState, Framework, Task};
use super::updates::SlaveStatus;
use super::{Action, Now, Purpose, Slave, paths, scheduler_pid};
use crate::ids::{ContainerId, ExecutorId, FrameworkId, IdError, SlaveId, TaskId};
use crate::messages::container::{Spec, Variable};
use crate::messages::mesos;
use crate::messages::mesos::environment::variable;
use crate::messages::mesos::internal::{RunTaskGroupMessage, RunTaskMessage};
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{CommandInfo, TaskInfo, TaskState, container_info};

/// The version of `container.Spec` and of the channel.
const SPEC_VERSION: u32 = 1;

/// Ids that may name directories.
struct Ids {
    framework: FrameworkId,
    executor: ExecutorId,
    task: TaskId,
}

impl Ids {
    fn of(framework: &mesos::FrameworkInfo, task: &TaskInfo) -> Result<Ids, IdError> {
        let framework = framework.id.as_ref().map_or("", |id| id.value.as_str());
        Ok(Ids {
            framework: FrameworkId::new(framework)?,
            executor: ExecutorId::new(task.task_id.value.clone())?,
            task: TaskId::new(task.task_id.value.clone())?,
        })
    }
}

impl Slave {
    pub(super) fn run_task(&mut self, message: RunTaskMessage, now: Now) {
        let RunTaskMessage { framework, task, pid, .. } = message;
        let Some(slave_id) = self.registration.id().cloned() else {
            return log::warn!("dropped a task that came before we were registered");
        };
        let ids = match Ids::of(&framework, &task) {
            Ok(ids) => ids,
            Err(error) => {
                log::warn!("refused task {:?}: {error}", task.task_id.value);
                return self.refuse(&framework, &task, Reason::TaskInvalid, error.to_string(), now);
            }
        };
        if self.has_task(&ids) {
            // Whatever was said of the second would be taken for the end of the first: they have one name.
            return log::error!(
                "dropped a second task {} of framework {}: the first is still here",
                ids.task,
                ids.framework
            );
        }
        if let Some((reason, text)) = self.refusal(&slave_id, &ids, &task) {
            log::warn!("refused task {} of framework {}: {text}", ids.task, ids.framework);
            return self.refuse(&framework, &task, reason, text, now);
        }
        self.launch_command_task(slave_id, ids, framework, task, pid);
    }

    /// The framework has a task of this name here, be it one that has ended and is not acknowledged.
    fn has_task(&self, ids: &Ids) -> bool {
        let framework = self.frameworks.get(&ids.framework);
        framework.is_some_and(|framework| framework.executors.contains_key(&ids.executor))
    }

    pub(super) fn run_task_group(&mut self, message: RunTaskGroupMessage, now: Now) {
        let text = "this slave does not run task groups yet; launch the tasks one by one";
        for task in &message.task_group.tasks {
            log::warn!("refused task {} of a task group: {text}", task.task_id.value);
            let text = text.to_string();
            self.refuse(&message.framework, task, Reason::ContainerLaunchFailed, text, now);
        }
    }

    /// Why the task cannot be run here, if it cannot.
    fn refusal(&self, slave: &SlaveId, ids: &Ids, task: &TaskInfo) -> Option<(Reason, String)> {
        if task.slave_id.value != slave.as_str() {
            let text = format!("the task is for slave {}, this is {slave}", task.slave_id.value);
            return Some((Reason::TaskInvalid, text));
        }
        if self.purpose != Purpose::Serve {
            return Some((Reason::SlaveDisconnected, "the slave is stopping".into()));
        }
        let framework = self.frameworks.get(&ids.framework);
        if framework.is_some_and(|framework| framework.terminating) {
            let text = "the framework is being removed from this slave".to_string();
            return Some((Reason::FrameworkRemoved, text));
        }
        unsupported(task).map(|text| (Reason::ContainerLaunchFailed, text))
    }

    fn refuse(&mut self, framework: &mesos::FrameworkInfo, task: &TaskInfo, reason: Reason, text: String, now: Now) {
        let state = match reason {
            Reason::TaskInvalid => TaskState::TaskError,
            // It may well run elsewhere, or here later.
            Reason::SlaveDisconnected => super::kill::lost_state(Some(framework)),
            _ => TaskState::TaskFailed,
        };
        let Some(framework_id) = framework.id.clone() else {
            return;
        };
        let status = SlaveStatus { state, reason, message: text };
        self.report(&framework_id, None, &task.task_id, status, now);
    }

    fn launch_command_task(
        &mut self,
        slave_id: SlaveId,
        ids: Ids,
        framework_info: mesos::FrameworkInfo,
        task: TaskInfo,
        pid: Option<String>,
    ) {
        let Ok(container) = ContainerId::new(self.random.uuid_text()) else {
            return;
        };
        let sandbox = paths::sandbox(&self.config.work_dir, &slave_id, &ids.framework, &ids.executor, &container);
        log::info!("launching task {} of framework {} in container {container}", ids.task, ids.framework);
        let info = command_executor(&ids, &task);
        let spec = Spec {
            version: SPEC_VERSION,
            container_id: container.to_string(),
            slave_id: slave_id.to_proto(),
            framework: framework_info.clone(),
            executor: info.clone(),
            task: Some(task.clone()),
            sandbox: sandbox.to_string_lossy().into_owned(),
            resources: task.resources.clone(),
            user: self.user(&framework_info, &task),
            checkpoint: framework_info.checkpoint,
            vm: None,
            environment: self.environment(&slave_id, &ids, &framework_info, &task, &sandbox),
            hostname: Some(self.config.info.hostname.clone()),
            fetcher: None,
        };
        let executor = Executor {
            info,
            container,
            sandbox,
            is_command: true,
            state: ExecutorState::Launching,
            tasks: [(ids.task, Task::new(task))].into(),
        };
        let framework = self.frameworks.entry(ids.framework).or_insert_with(|| Framework {
            info: framework_info.clone(),
            pid: None,
            executors: Default::default(),
            terminating: false,
        });
        framework.info = framework_info;
        framework.pid = scheduler_pid(pid.as_deref());
        framework.executors.insert(ids.executor, executor);
        self.actions.push(Action::Launch(Box::new(spec)));
    }

    /// Who runs the command: the command's own user, or else the framework's (`Slave::_run` in Mesos).
    fn user(&self, framework: &mesos::FrameworkInfo, task: &TaskInfo) -> Option<String> {
        if !self.config.switch_user {
            return None;
        }
        let own = task.command.as_ref().and_then(|command| command.user.clone());
        own.or_else(|| Some(framework.user.clone())).filter(|user| !user.is_empty())
    }

    /// What the command finds in its environment: Mesos' variables (`executorEnvironment` in `src/slave/slave.cpp`), then
    /// the command's own, the last of a name winning.
    fn environment(
        &self,
        slave: &SlaveId,
        ids: &Ids,
        framework: &mesos::FrameworkInfo,
        task: &TaskInfo,
        sandbox: &std::path::Path,
    ) -> Vec<Variable> {
        let sandbox = sandbox.to_string_lossy().into_owned();
        let mut variables: Vec<(String, String)> = vec![
            ("MESOS_FRAMEWORK_ID".into(), ids.framework.to_string()),
            ("MESOS_EXECUTOR_ID".into(), ids.executor.to_string()),
            ("MESOS_SLAVE_ID".into(), slave.to_string()),
            ("MESOS_SLAVE_PID".into(), self.config.pid.to_string()),
            ("MESOS_AGENT_ENDPOINT".into(), self.config.pid.address.to_string()),
            ("MESOS_DIRECTORY".into(), sandbox.clone()),
            ("MESOS_SANDBOX".into(), sandbox),
            ("MESOS_CHECKPOINT".into(), u8::from(framework.checkpoint()).to_string()),
            ("MESOS_VERSION".into(), MESOS_VERSION.into()),
        ];
        if framework.checkpoint() {
            let timeout = format!("{}secs", self.config.recovery_timeout.as_secs());
            variables.push(("MESOS_RECOVERY_TIMEOUT".into(), timeout));
        }
        for own in own_variables(task) {
            variables.retain(|(name, _)| *name != own.0);
            variables.push(own);
        }
        let as_proto = |(name, value)| Variable { name, value };
        variables.into_iter().map(as_proto).collect()
    }

    /// The grace period of a kill: the kill's, or else the task's, or else Mesos' default.
    pub(super) fn grace(policies: [Option<&mesos::KillPolicy>; 2]) -> Duration {
        let nanoseconds = policies
            .into_iter()
            .flatten()
            .find_map(|policy| policy.grace_period.as_ref())
            .map(|period| period.nanoseconds.max(0) as u64);
        nanoseconds.map_or(super::constants::KILL_GRACE, Duration::from_nanos)
    }
}

fn own_variables(task: &TaskInfo) -> impl Iterator<Item = (String, String)> {
    let environment = task.command.as_ref().and_then(|command| command.environment.as_ref());
    environment
        .map(|environment| environment.variables.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|variable| (variable.name.clone(), variable.value().to_string()))
}

/// What a task asks for that nothing here can give. It is refused, never left out in silence.
fn unsupported(task: &TaskInfo) -> Option<String> {
    if task.executor.is_some() {
        return Some("this slave runs command tasks only; give the task a command instead of an executor".into());
    }
    let Some(command) = &task.command else {
        return Some("the task has neither a command nor an executor".into());
    };
    if let Some(text) = unsupported_command(command) {
        return Some(text);
    }
    if task.container.as_ref().is_some_and(|container| !is_plain(container)) {
        return Some("this slave has no container images, volumes or networks; leave ContainerInfo empty".into());
    }
    if task.health_check.is_some() || task.check.is_some() {
        return Some("this slave does not run checks yet; launch the task without check and health_check".into());
    }
    let volume = task
        .resources
        .iter()
        .any(|resource| resource.disk.as_ref().is_some_and(|disk| disk.volume.is_some() || disk.persistence.is_some()));
    volume.then(|| "this slave has no persistent volumes".into())
}

fn unsupported_command(command: &CommandInfo) -> Option<String> {
    if command.shell() && command.value.as_deref().unwrap_or_default().is_empty() {
        return Some("the task's command is empty".into());
    }
    if !command.uris.is_empty() {
        return Some("this slave does not fetch URIs yet; let the command fetch what it needs".into());
    }
    let mut variables = command.environment.iter().flat_map(|all| &all.variables);
    let secret = variables.find(|each| each.r#type() == variable::Type::Secret)?;
    Some(format!("environment variable {} is a secret, which this slave cannot resolve", secret.name))
}

/// A ContainerInfo that asks for nothing: `{type: MESOS}`.
fn is_plain(container: &mesos::ContainerInfo) -> bool {
    let empty = mesos::ContainerInfo {
        r#type: container_info::Type::Mesos as i32,
        mesos: container.mesos.as_ref().map(|_| Default::default()),
        ..Default::default()
    };
    *container == empty
}

/// The executor that Mesos' agent makes up for a command task (`Slave::getExecutorInfo`): named after the task.
fn command_executor(ids: &Ids, task: &TaskInfo) -> mesos::ExecutorInfo {
    let command = task.command.clone().unwrap_or_default();
    mesos::ExecutorInfo {
        executor_id: ids.executor.to_proto(),
        framework_id: Some(ids.framework.to_proto()),
        name: Some(format!("Command Executor (Task: {}) (Command: {})", ids.task, shortened(&command))),
        source: Some(ids.task.to_string()),
        command: Some(command),
        ..Default::default()
    }
}

/// A command as Mesos shows it: up to 15 characters, or else 12 and an ellipsis.
fn shortened(command: &CommandInfo) -> String {
    let short = |text: &str| match text.chars().nth(15) {
        None => text.to_string(),
        Some(_) => format!("{}...", text.chars().take(12).collect::<String>()),
    };
    match command.shell() {
        true => format!("sh -c '{}'", short(command.value())),
        false => format!("[{}]", short(&format!("{} {}", command.value(), command.arguments.join(", ")))),
    }
}
