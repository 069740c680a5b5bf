//! The executor that is made up for a command task, how long an executor may take to end, and what it is given.

use std::time::Duration;

use super::constants::REAP_ALLOWANCE;
use super::framework::Executor;
use super::{Action, Slave};
use crate::container::kill_policy::own_grace;
use crate::ids::{ExecutorId, FrameworkId};
use crate::messages::mesos;
use crate::messages::mesos::{CommandInfo, TaskInfo};

/// The executor that Mesos' agent makes up for a command task (`Slave::getExecutorInfo`): named after the task. It has no
/// resources: Mesos' is a process of the host, and gets 0.1 CPUs and 32 MB that no master knows of; ours is the container's child.
pub(super) fn command_executor(framework: Option<&mesos::FrameworkId>, task: &TaskInfo) -> mesos::ExecutorInfo {
    let command = task.command.clone().unwrap_or_default();
    let id = &task.task_id.value;
    mesos::ExecutorInfo {
        executor_id: mesos::ExecutorId { value: id.clone() },
        framework_id: framework.cloned(),
        name: Some(format!("Command Executor (Task: {id}) (Command: {})", shortened(&command))),
        source: Some(id.clone()),
        command: Some(command),
        container: task.container.clone(),
        labels: task.labels.clone(),
        discovery: task.discovery.clone(),
        shutdown_grace_period: own_grace(task.kill_policy.as_ref()).map(|own| (own + REAP_ALLOWANCE).into()),
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
        false => format!("[{}]", short(&format!("{}, {}", command.value(), command.arguments.join(", ")))),
    }
}

fn to_duration(duration: &mesos::DurationInfo) -> Duration {
    Duration::from_nanos(duration.nanoseconds.max(0) as u64)
}

impl From<Duration> for mesos::DurationInfo {
    fn from(duration: Duration) -> mesos::DurationInfo {
        mesos::DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
    }
}

/// How long an executor that is told to shut down may take: as long as it says itself, or else `--executor_shutdown_grace_period`
/// (`Slave::_shutdownExecutor`). Of that, a command task has what its executor in Mesos would leave it (`CommandExecutor::shutdown`).
pub(super) fn shutdown_grace(executor: &Executor, default: Duration) -> Duration {
    let whole = executor.info.shutdown_grace_period.as_ref().map_or(default, to_duration);
    if executor.is_command { whole.saturating_sub(REAP_ALLOWANCE) } else { whole }
}

impl Slave {
    /// Tells the isolation what an executor that holds several tasks is given, now that a task has come or ended. A command
    /// task keeps what it was launched with.
    pub(super) fn resources_changed(&mut self, framework: &FrameworkId, executor: &ExecutorId) {
        let found = self.frameworks.get(framework).and_then(|framework| framework.executors.get(executor));
        let Some(executor) = found.filter(|executor| !executor.is_command && executor.has_container()) else {
            return;
        };
        let (container, resources) = (executor.container.clone(), executor.resources().into_vec());
        self.actions.push(Action::ResourcesChanged { container, resources });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(shell: bool, value: &str, arguments: &[&str]) -> String {
        let arguments = arguments.iter().map(|argument| argument.to_string()).collect();
        let command = CommandInfo { shell: Some(shell), value: Some(value.into()), arguments, ..Default::default() };
        let task =
            TaskInfo { task_id: mesos::TaskId { value: "t".into() }, command: Some(command), ..Default::default() };
        command_executor(None, &task).name().to_string()
    }

    #[test]
    fn a_command_executor_is_named_after_its_task_and_command() {
        assert_eq!(named(true, "sleep 1", &[]), "Command Executor (Task: t) (Command: sh -c 'sleep 1')");
        assert_eq!(
            named(true, "0123456789abcdef", &[]),
            "Command Executor (Task: t) (Command: sh -c '0123456789ab...')"
        );
        assert_eq!(named(false, "ls", &["ls", "-l"]), "Command Executor (Task: t) (Command: [ls, ls, -l])");
    }
}
