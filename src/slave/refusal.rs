//! Tasks that are not launched: why, and in which of Mesos' states and reasons that is said.

use std::collections::BTreeSet;

use super::Slave;
use super::decision::owes_exit;
use super::framework::ExecutorState;
use super::kill::lost_state;
use super::launch::{Assignment, is_default};
use super::updates::SlaveStatus;
use super::{Now, Purpose};
use crate::checks::{self, Probe, Which};
use crate::ids::ExecutorId;
use crate::messages::mesos;
use crate::messages::mesos::environment::variable;
use crate::messages::mesos::internal::{ExitedExecutorMessage, ResourceVersionUuid};
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{CommandInfo, Resource, TaskInfo, TaskState, container_info};
use crate::resources::{Resources, needs_checkpointing, resource_text};

/// Why tasks are not launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// They were never launched, and may well be elsewhere, or here later.
    Dropped(Reason, String),
    /// They ask for what no container here has: what Mesos' agent says when the container could not be launched.
    Container(String),
    /// They are not well-formed.
    Invalid(String),
}

impl Refusal {
    /// The message, for the framework and the log.
    pub fn text(&self) -> &str {
        match self {
            Refusal::Dropped(_, text) | Refusal::Container(text) | Refusal::Invalid(text) => text,
        }
    }

    fn status(&self, framework: &mesos::FrameworkInfo) -> SlaveStatus {
        let (state, reason) = match self {
            Refusal::Dropped(reason, _) => (lost_state(Some(framework)), *reason),
            Refusal::Container(_) => (TaskState::TaskFailed, Reason::ContainerLaunchFailed),
            Refusal::Invalid(_) => (TaskState::TaskError, Reason::TaskInvalid),
        };
        SlaveStatus { state, reason, message: self.text().to_string() }
    }
}

impl Slave {
    /// Tells the framework, and the master of an executor that it would else count for ever.
    pub(super) fn refuse(&mut self, assignment: &Assignment, here: Option<ExecutorState>, why: &Refusal, now: Now) {
        let framework = &assignment.framework;
        let Some(framework_id) = &framework.id else {
            return log::error!("dropped tasks of a framework without an id: {}", why.text());
        };
        let executor_id = ExecutorId::try_from(&assignment.executor.executor_id).ok();
        for task in &assignment.tasks {
            log::warn!("refused task {:?} of framework {}: {}", task.task_id.value, framework_id.value, why.text());
            self.report(framework_id, executor_id.as_ref(), &task.task_id, why.status(framework), now);
        }
        self.report_missing_executor(assignment, here, matches!(why, Refusal::Container(_)));
    }

    /// The master counts an executor for the assignment and there is none: it has to hear of an exit.
    pub(super) fn report_missing_executor(
        &mut self,
        assignment: &Assignment,
        here: Option<ExecutorState>,
        container_failed: bool,
    ) {
        if owes_exit(assignment.wish, assignment.is_command, here, container_failed) {
            let executor = assignment.executor.executor_id.clone();
            self.report_exit(assignment.framework.id.clone().unwrap_or_default(), executor, None);
        }
    }

    /// An executor's exit, with its status as wait(2) gives it; -1 if there is none, as in Mesos.
    pub(super) fn report_exit(
        &mut self,
        framework_id: mesos::FrameworkId,
        executor_id: mesos::ExecutorId,
        status: Option<i32>,
    ) {
        let master = self.registration.registered_master().cloned();
        let (Some(master), Some(id)) = (master, self.registration.id()) else {
            return; // What runs here is told anew with the registration, and what is not told of does not run.
        };
        let message =
            ExitedExecutorMessage { slave_id: id.to_proto(), framework_id, executor_id, status: status.unwrap_or(-1) };
        self.send(&master, &message);
    }

    /// Why the tasks are not to be launched, whatever executor they want. In the order of `Slave::run` and `Slave::__run`.
    pub(super) fn objection(&self, assignment: &Assignment) -> Option<Refusal> {
        if self.purpose != Purpose::Serve {
            // Mesos' agent, which is gone a moment later, says nothing. Ours first ends its containers, and is listened to.
            return Some(Refusal::Dropped(Reason::SlaveDisconnected, "the slave is stopping".into()));
        }
        // Mesos' agent without its cgroups isolators says this (it forgets the executor, though).
        if let Some(task) = assignment.tasks.iter().find(|task| !task.limits.is_empty()) {
            let text = format!("task {} has resource limits, which this slave cannot enforce", task.task_id.value);
            return Some(Refusal::Dropped(Reason::GcError, text));
        }
        if self.is_outdated(assignment) {
            let text = "the task assumes resources of this slave that are outdated; it may be launched again";
            return Some(Refusal::Dropped(Reason::InvalidOffers, text.into()));
        }
        let unknown = assignment.resources().find(|resource| self.is_unknown(resource))?;
        let text = format!("the slave knows nothing of {}", resource_text(unknown));
        Some(Refusal::Dropped(Reason::ResourcesUnknown, text))
    }

    /// The offer was made of resources as they were before a change: only those of a master that says which version it means
    /// can be checked. We have no resource providers, so there is but one version that is right.
    fn is_outdated(&self, assignment: &Assignment) -> bool {
        if assignment.versions.is_empty() {
            return false;
        }
        let own = |version: &&ResourceVersionUuid| version.resource_provider_id.is_none();
        let meant = assignment.versions.iter().find(own).map(|version| &version.uuid);
        let is_ours = meant == Some(&self.resource_version());
        let mut resources = assignment.tasks.iter().flat_map(|task| &task.resources);
        resources.any(|each| each.provider_id.is_some() || !is_ours)
    }

    /// A reservation or volume that no master has told us of (yet: messages may overtake each other).
    fn is_unknown(&self, resource: &Resource) -> bool {
        let resource = Resource { allocation_info: None, ..resource.clone() };
        let known = || self.checkpointed_resources.iter().cloned().collect::<Resources>();
        needs_checkpointing(&resource) && !known().contains(&Resources::from_iter([resource]))
    }
}

/// What an assignment asks for that nothing here can give. It is refused, never left out in silence.
pub(super) fn unsupported(assignment: &Assignment) -> Option<Refusal> {
    // Whoever runs the task: real masters hold all tasks to these rules.
    if let Some(text) = assignment.tasks.iter().find_map(|task| checks::validate::task(task).err()) {
        return Some(Refusal::Invalid(text));
    }
    if let Some(text) = malformed(assignment) {
        return Some(Refusal::Invalid(text));
    }
    let task = |task: &TaskInfo| match assignment.is_command || is_default(&assignment.executor) {
        true => unsupported_task(task),
        // What it is to do for its tasks is the executor's affair.
        false => task.container.as_ref().and_then(unsupported_container),
    };
    unsupported_executor(&assignment.executor)
        .or_else(|| assignment.tasks.iter().find_map(task))
        .or_else(|| assignment.resources().find_map(unsupported_resource))
        .map(Refusal::Container)
}

/// What real masters would not have let pass (`src/master/validation.cpp`), and nothing here is made for.
fn malformed(assignment: &Assignment) -> Option<String> {
    let executor = &assignment.executor;
    let names: BTreeSet<&str> = assignment.tasks.iter().map(|task| task.task_id.value.as_str()).collect();
    if names.len() != assignment.tasks.len() {
        return Some("a task group has two tasks of the same id".into());
    }
    if !is_default(executor) {
        return None;
    }
    // A master refuses it (`validateTask`). Mesos' default executor ends when it is sent one, which would take the groups along that it runs.
    if !assignment.is_group {
        return Some("'ExecutorInfo.type' must be 'CUSTOM': the default executor runs task groups only".into());
    }
    executor.command.is_some().then(|| "'ExecutorInfo.command' must not be set for 'DEFAULT' executor".into())
}

fn unsupported_executor(executor: &mesos::ExecutorInfo) -> Option<String> {
    executor
        .container
        .as_ref()
        .and_then(unsupported_container)
        .or(executor.command.as_ref().and_then(unsupported_command))
}

fn unsupported_task(task: &TaskInfo) -> Option<String> {
    if let Some(text) = task.container.as_ref().and_then(unsupported_container) {
        return Some(text);
    }
    // A task of a group may leave its command to its container image, and here are none.
    if let Some(text) = unsupported_command(task.command.as_ref().unwrap_or(&CommandInfo::default())) {
        return Some(text);
    }
    let checks = Which::ALL.into_iter().filter_map(|which| checks::probe(task, which));
    // As in Mesos, its user and URIs are not looked at.
    let secret = |probe: Probe| if let Probe::Command(command) = probe { secret(&command) } else { None };
    checks.into_iter().find_map(secret)
}

fn unsupported_resource(resource: &Resource) -> Option<String> {
    let disk = resource.disk.as_ref();
    let volume = disk.is_some_and(|disk| disk.volume.is_some() || disk.persistence.is_some());
    if volume || resource.shared.is_some() {
        return Some("this slave has no persistent volumes".into());
    }
    None
}

fn unsupported_command(command: &CommandInfo) -> Option<String> {
    if command.value.as_deref().unwrap_or_default().is_empty() {
        return Some("the task's command is empty".into());
    }
    secret(command)
}

fn secret(command: &CommandInfo) -> Option<String> {
    let mut variables = command.environment.iter().flat_map(|all| &all.variables);
    let secret = variables.find(|each| each.r#type() == variable::Type::Secret)?;
    Some(format!("environment variable {} is a secret, which this slave cannot resolve", secret.name))
}

/// A ContainerInfo may ask for nothing: `{type: MESOS}`.
fn unsupported_container(container: &mesos::ContainerInfo) -> Option<String> {
    let empty = mesos::ContainerInfo {
        r#type: container_info::Type::Mesos as i32,
        mesos: container.mesos.as_ref().map(|_| Default::default()),
        ..Default::default()
    };
    let text = "this slave has no container images, volumes, networks, limits or terminals; leave ContainerInfo empty";
    (*container != empty).then(|| text.into())
}
