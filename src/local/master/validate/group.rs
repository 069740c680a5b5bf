//! What makes a group of tasks fit to be launched (`validation::task::group::validate`).

use super::{executor, fitting, holds_groups, itself, shares_cgroups};
use crate::ids::{FrameworkId, SlaveId, TaskId};
use crate::local::master::accounts;
use crate::messages::mesos::{
    ContainerInfo, ExecutorInfo, Resource, TaskInfo, container_info, executor_info, health_check,
};

/// The least that an executor of a group has (`MIN_CPUS`, `MIN_MEM`).
const LEAST: [(f64, &str, &str); 2] = [(0.01, "cpus", "CPUs"), (32.0, "mem", "memory")];

/// The executor of a group, if it runs on the slave already.
#[derive(Debug)]
pub(in crate::local::master) struct Running<'a> {
    pub(in crate::local::master) info: &'a ExecutorInfo,
    /// The containers of its tasks, as far as these asked for anything of them.
    pub(in crate::local::master) containers: Vec<Option<&'a ContainerInfo>>,
}

/// Checks a group of tasks, each of which names the group's executor. Gives the resources that they take, with those of their executor
/// if that is to be launched.
///
/// # Errors
/// The text for the framework, about the first thing that is wrong.
pub(in crate::local::master) fn group(
    tasks: &[TaskInfo],
    info: &ExecutorInfo,
    framework: &FrameworkId,
    slave: &SlaveId,
    running: Option<&Running>,
    is_taken: impl Fn(TaskId) -> bool,
    left: &[Resource],
) -> Result<Vec<Resource>, String> {
    for (place, task) in tasks.iter().enumerate() {
        let twice = |id: TaskId| is_taken(id) || tasks[..place].iter().any(|other| other.task_id == task.task_id);
        itself(task, slave, twice)
            .and_then(|()| of_group(task))
            .map_err(|error| format!("Task '{}' is invalid: {error}", task.task_id.value))?;
    }
    executor(info, framework, running.map(|running| running.info))?;
    executor_of_group(tasks, info)?;
    let mut needed = tasks.iter().fold(Vec::new(), |all, task| accounts::plus(all, &task.resources));
    if running.is_none() {
        needed = accounts::plus(needed, &info.resources);
    }
    let needed = fitting(needed, left, "task group and its executor are")?;
    holds_groups(info)?;
    same_cgroups(tasks, running)?;
    Ok(needed)
}

/// What a task may not ask for in a group.
fn of_group(task: &TaskInfo) -> Result<(), String> {
    if let Some(container) = &task.container {
        let by_port = |check: &health_check::Type| matches!(check, health_check::Type::Http | health_check::Type::Tcp);
        let check = task.health_check.as_ref().map(|check| check.r#type());
        if !container.network_infos.is_empty() && check.as_ref().is_some_and(by_port) {
            let text =
                "HTTP and TCP health checks are not supported for nested containers not joining parent's network";
            return Err(text.into());
        }
        if container.r#type() == container_info::Type::Docker {
            return Err("Docker ContainerInfo is not supported on the task".into());
        }
    }
    if !task.limits.is_empty() && shares_cgroups(task.container.as_ref()) != Some(false) {
        let text = "Resource limits may only be set for tasks within a task group when the 'share_cgroups' field is set to 'false'.";
        return Err(text.into());
    }
    Ok(())
}

fn executor_of_group(tasks: &[TaskInfo], info: &ExecutorInfo) -> Result<(), String> {
    let name = &info.executor_id.value;
    match (info.r#type, info.r#type()) {
        (None, _) => return Err("'ExecutorInfo.type' must be set".into()),
        (Some(_), executor_info::Type::Unknown) => return Err("Unknown executor type".into()),
        (Some(_), executor_info::Type::Default | executor_info::Type::Custom) => {}
    }
    if info.container.as_ref().is_some_and(|container| container.r#type() == container_info::Type::Docker) {
        return Err("Docker ContainerInfo is not supported on the executor".into());
    }
    if let Some(task) = tasks.iter().find(|task| task.executor.as_ref().is_some_and(|own| own != info)) {
        let task = &task.task_id.value;
        return Err(format!("The `ExecutorInfo` of task '{task}' is different from executor '{name}'"));
    }
    for (least, resource, of_it) in LEAST {
        let has = accounts::total(&info.resources, resource);
        if has < least {
            let has = if has > 0.0 { has.to_string() } else { "None".to_string() };
            return Err(format!("Executor '{name}' uses less {of_it} ({has}) than the minimum required ({least})"));
        }
    }
    match accounts::total(&info.resources, "disk") > 0.0 {
        true => Ok(()),
        false => Err(format!("Executor '{name}' uses no disk")),
    }
}

/// Whether tasks share their executor's cgroups is the same for all that it has: they do unless they say otherwise.
fn same_cgroups(tasks: &[TaskInfo], running: Option<&Running>) -> Result<(), String> {
    let there = running.iter().flat_map(|running| &running.containers).copied();
    let all = tasks.iter().map(|task| task.container.as_ref()).chain(there);
    let mut shares = all.map(|container| shares_cgroups(container).unwrap_or(true));
    let first = shares.next();
    match shares.any(|other| Some(other) != first) {
        false => Ok(()),
        true => Err("If set, the value of 'share_cgroups' must be the same for all tasks in each task group and \
                     under a single executor"
            .into()),
    }
}
