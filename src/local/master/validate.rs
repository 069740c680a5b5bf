//! What makes a task fit to be launched, in the order and with the texts of Mesos' `master/validation.cpp`.

pub(super) mod group;

use super::accounts;
use crate::checks;
use crate::ids::{self, FrameworkId, SlaveId, TaskId};
use crate::messages::mesos::environment::variable;
use crate::messages::mesos::{
    CommandInfo, ContainerInfo, ExecutorInfo, Resource, TaskInfo, container_info, executor_info,
};

/// Checks a task against what is left of the accepted offers; `running` is its executor if that runs on the slave already. Gives
/// the resources that the task takes, with those of its executor if that is to be launched.
///
/// # Errors
/// The text for the framework.
pub(super) fn task(
    task: &TaskInfo,
    framework: &FrameworkId,
    slave: &SlaveId,
    running: Option<&ExecutorInfo>,
    is_taken: impl Fn(TaskId) -> bool,
    left: &[Resource],
) -> Result<Vec<Resource>, String> {
    itself(task, slave, is_taken)?;
    if task.executor.is_some() == task.command.is_some() {
        return Err("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present".into());
    }
    let mut needed = task.resources.clone();
    if shares_cgroups(task.container.as_ref()) == Some(false) {
        return Err("Only tasks in a task group may have 'share_cgroups' set to 'false'".into());
    }
    if let Some(info) = &task.executor {
        executor(info, framework, running)?;
        if info.r#type.is_some() && info.r#type() != executor_info::Type::Custom {
            return Err("'ExecutorInfo.type' must be 'CUSTOM'".into());
        }
        if info.command.is_none() {
            return Err("'ExecutorInfo.command' must be set".into());
        }
        holds_groups(info)?;
        if running.is_none() {
            needed = accounts::plus(needed, &info.resources);
        }
    }
    fitting(needed, left, "task and its executor is")
}

/// What is needed, if there is so much left; `whose` with its verb, for Mesos' text.
fn fitting(needed: Vec<Resource>, left: &[Resource], whose: &str) -> Result<Vec<Resource>, String> {
    if accounts::contains(left, &needed) {
        return Ok(needed);
    }
    let (needed, left) = (accounts::text(&needed), accounts::text(left));
    Err(format!("Total resources {needed} required by {whose} more than available {left}"))
}

/// Checks what a task says of itself.
fn itself(task: &TaskInfo, slave: &SlaveId, is_taken: impl Fn(TaskId) -> bool) -> Result<(), String> {
    let id = TaskId::try_from(&task.task_id).map_err(|error| format!("Task has an invalid TaskID: {error}"))?;
    if is_taken(id) {
        return Err(format!("Task has duplicate ID: {}", task.task_id.value));
    }
    if task.slave_id.value != slave.as_str() {
        return Err(format!("Task uses invalid agent {} while agent {slave} is expected", task.slave_id.value));
    }
    let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    if grace.is_some_and(|grace| grace.nanoseconds < 0) {
        return Err("Task's 'kill_policy.grace_period' must be non-negative".into());
    }
    checks::validate::task(task)?;
    if task.resources.is_empty() {
        return Err("Task uses no resources".into());
    }
    accounts::check(&task.resources).map_err(|error| format!("Task uses invalid resources: {error}"))?;
    if let Some(error) = task.command.as_ref().and_then(command_error) {
        return Err(format!("Task's `CommandInfo` is invalid: {error}"));
    }
    Ok(())
}

fn executor(info: &ExecutorInfo, framework: &FrameworkId, running: Option<&ExecutorInfo>) -> Result<(), String> {
    kind(info)?;
    ids::validate(&info.executor_id.value).map_err(|error| format!("Executor has an invalid ExecutorID: {error}"))?;
    if info.shutdown_grace_period.as_ref().is_some_and(|grace| grace.nanoseconds < 0) {
        return Err("ExecutorInfo's 'shutdown_grace_period' must be non-negative".into());
    }
    if let Some(error) = info.command.as_ref().and_then(command_error) {
        return Err(format!("Executor's `CommandInfo` is invalid: {error}"));
    }
    match &info.framework_id {
        None => return Err("'ExecutorInfo.framework_id' must be set".into()),
        Some(id) if id.value != framework.as_str() => {
            let actual = &id.value;
            return Err(format!("ExecutorInfo has an invalid FrameworkID (Actual: {actual} vs Expected: {framework})"));
        }
        Some(_) => {}
    }
    accounts::check(&info.resources).map_err(|error| format!("Executor uses invalid resources: {error}"))?;
    if running.is_some_and(|running| running != info) {
        return Err(format!(
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID '{}'",
            info.executor_id.value
        ));
    }
    Ok(())
}

/// What an executor of its type must and must not have. One whose type is not known is left to who launches it.
fn kind(info: &ExecutorInfo) -> Result<(), String> {
    match info.r#type() {
        executor_info::Type::Unknown => Ok(()),
        executor_info::Type::Custom if info.command.is_none() => {
            Err("'ExecutorInfo.command' must be set for 'CUSTOM' executor".into())
        }
        executor_info::Type::Custom => Ok(()),
        executor_info::Type::Default if info.command.is_some() => {
            Err("'ExecutorInfo.command' must not be set for 'DEFAULT' executor".into())
        }
        executor_info::Type::Default => match &info.container {
            Some(container) if container.r#type() != container_info::Type::Mesos => {
                Err("'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor".into())
            }
            Some(container) if container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some()) => {
                Err("'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor".into())
            }
            Some(_) | None => Ok(()),
        },
    }
}

/// Whether an executor's container is one that tasks may share their cgroups with: its own are its own.
fn holds_groups(info: &ExecutorInfo) -> Result<(), String> {
    match shares_cgroups(info.container.as_ref()) {
        Some(true) => Err("The 'share_cgroups' field cannot be set to 'true' on executor containers".into()),
        Some(false) | None => Ok(()),
    }
}

/// `share_cgroups`, if it is set.
fn shares_cgroups(container: Option<&ContainerInfo>) -> Option<bool> {
    container?.linux_info.as_ref()?.share_cgroups
}

/// What is wrong with a command's environment, if anything (`validateEnvironment` in Mesos).
fn command_error(command: &CommandInfo) -> Option<String> {
    command.environment.iter().flat_map(|environment| &environment.variables).find_map(|variable| {
        match variable.r#type() {
            variable::Type::Value if variable.value.is_none() => {
                Some(format!("Environment variable '{}' of type 'VALUE' must have a value set", variable.name))
            }
            variable::Type::Secret if variable.secret.is_none() => {
                Some(format!("Environment variable '{}' of type 'SECRET' must have a secret set", variable.name))
            }
            variable::Type::Unknown => Some("Environment variable of type 'UNKNOWN' is not allowed".into()),
            variable::Type::Value | variable::Type::Secret => None,
        }
    })
}
