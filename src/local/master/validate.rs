//! What makes a task fit to be launched, in the order and with the texts of Mesos' `master/validation.cpp`.

use super::accounts;
use crate::checks;
use crate::ids::{self, FrameworkId, SlaveId, TaskId};
use crate::messages::mesos::environment::variable;
use crate::messages::mesos::{CommandInfo, ExecutorInfo, Resource, TaskInfo, executor_info};

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
    if let Some(info) = &task.executor {
        if info.r#type.is_some() && info.r#type() != executor_info::Type::Custom {
            return Err("'ExecutorInfo.type' must be 'CUSTOM'".into());
        }
        executor(info, framework, running)?;
        if running.is_none() {
            needed = accounts::plus(needed, &info.resources);
        }
    }
    fitting(needed, left, "task and its executor is")
}

/// Checks a group of tasks, each of which names the group's executor. Gives the resources that they take, with those of their executor
/// if that is to be launched (`validation::task::group::validate`).
///
/// # Errors
/// The text for the framework, about the first thing that is wrong.
pub(super) fn group(
    tasks: &[TaskInfo],
    executor_info: &ExecutorInfo,
    framework: &FrameworkId,
    slave: &SlaveId,
    running: Option<&ExecutorInfo>,
    is_taken: impl Fn(TaskId) -> bool,
    left: &[Resource],
) -> Result<Vec<Resource>, String> {
    for (place, task) in tasks.iter().enumerate() {
        let twice = |id: TaskId| is_taken(id) || tasks[..place].iter().any(|other| other.task_id == task.task_id);
        itself(task, slave, twice).map_err(|error| format!("Task '{}' is invalid: {error}", task.task_id.value))?;
    }
    executor(executor_info, framework, running)?;
    let name = &executor_info.executor_id.value;
    if executor_info.r#type.is_none() {
        return Err("'ExecutorInfo.type' must be set".into());
    }
    if let Some(task) = tasks.iter().find(|task| task.executor.as_ref().is_some_and(|own| own != executor_info)) {
        let task = &task.task_id.value;
        return Err(format!("The `ExecutorInfo` of task '{task}' is different from executor '{name}'"));
    }
    for (least, resource, of_it) in [(0.01, "cpus", "CPUs"), (32.0, "mem", "memory")] {
        if accounts::total(&executor_info.resources, resource) < least {
            return Err(format!("Executor '{name}' uses less {of_it} than the minimum required ({least})"));
        }
    }
    if accounts::total(&executor_info.resources, "disk") <= 0.0 {
        return Err(format!("Executor '{name}' uses no disk"));
    }
    let mut needed = tasks.iter().fold(Vec::new(), |all, task| accounts::plus(all, &task.resources));
    if running.is_none() {
        needed = accounts::plus(needed, &executor_info.resources);
    }
    fitting(needed, left, "task group and its executor are")
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
    ids::validate(&info.executor_id.value).map_err(|error| format!("Executor has an invalid ExecutorID: {error}"))?;
    if info.framework_id.as_ref().is_none_or(|id| id.value != framework.as_str()) {
        return Err(format!("ExecutorInfo has an invalid FrameworkID: {framework} is expected"));
    }
    if info.shutdown_grace_period.as_ref().is_some_and(|grace| grace.nanoseconds < 0) {
        return Err("ExecutorInfo's 'shutdown_grace_period' must be non-negative".into());
    }
    accounts::check(&info.resources).map_err(|error| format!("Executor uses invalid resources: {error}"))?;
    if info.r#type() == executor_info::Type::Default && info.r#type.is_some() {
        if info.command.is_some() {
            return Err("'ExecutorInfo.command' must not be set for 'DEFAULT' executor".into());
        }
    } else if info.command.is_none() {
        return Err("'ExecutorInfo.command' must be set for 'CUSTOM' executor".into());
    }
    if let Some(error) = info.command.as_ref().and_then(command_error) {
        return Err(format!("Executor's `CommandInfo` is invalid: {error}"));
    }
    if running.is_some_and(|running| running != info) {
        return Err(format!(
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID '{}'",
            info.executor_id.value
        ));
    }
    Ok(())
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
