//! Ending what runs: a task, an executor, a framework, everything; and what is left to report when a container is gone.

use super::framework::{ExecutorState, is_terminal};
use super::updates::SlaveStatus;
use super::{Action, Now, Purpose, Slave};
use crate::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::messages::mesos;
use crate::messages::mesos::TaskState;
use crate::messages::mesos::internal::{KillTaskMessage, ShutdownExecutorMessage, ShutdownFrameworkMessage};
use crate::messages::mesos::task_status::Reason;

impl Slave {
    pub(super) fn kill_task(&mut self, message: &KillTaskMessage, now: Now) {
        let (Ok(framework_id), Ok(task_id)) =
            (FrameworkId::try_from(&message.framework_id), TaskId::try_from(&message.task_id))
        else {
            return log::warn!("dropped the kill of a task whose id is none");
        };
        let framework = self.frameworks.get_mut(&framework_id);
        let Some(executor) = framework.and_then(|framework| framework.executor_of(&task_id)) else {
            log::warn!("asked to kill task {task_id} of framework {framework_id}, which is not here");
            let (framework, task) = (&message.framework_id, &message.task_id);
            return self.report_unknown_task(framework, None, task, Reason::ExecutorTerminated, now);
        };
        let own = executor.tasks.get(&task_id).and_then(|task| task.info.kill_policy.as_ref());
        let grace = Slave::grace([message.kill_policy.as_ref(), own]);
        if executor.state == ExecutorState::Gone {
            return log::debug!("task {task_id} of framework {framework_id} has ended already");
        }
        log::info!("killing task {task_id} of framework {framework_id}, with {} ms of grace", grace.as_millis());
        executor.state = ExecutorState::Ending;
        let container = executor.container.clone();
        self.actions.push(Action::Kill { container, grace });
    }

    /// A task that somebody believes to be here and is not. The reasons are those that Mesos gives.
    pub(super) fn report_unknown_task(
        &mut self,
        framework_id: &mesos::FrameworkId,
        framework: Option<&mesos::FrameworkInfo>,
        task_id: &mesos::TaskId,
        reason: Reason,
        now: Now,
    ) {
        let known =
            FrameworkId::try_from(framework_id).ok().and_then(|id| self.frameworks.get(&id)).map(|known| &known.info);
        let status = SlaveStatus {
            state: lost_state(known.or(framework)),
            reason,
            message: "this slave does not know the task".to_string(),
        };
        self.report(framework_id, None, task_id, status, now);
    }

    pub(super) fn shutdown_framework(&mut self, message: &ShutdownFrameworkMessage) {
        let Ok(id) = FrameworkId::try_from(&message.framework_id) else {
            return;
        };
        // It cannot acknowledge any more, not even what was refused and so has no executor here.
        self.updates.forget_framework(&id);
        let Some(framework) = self.frameworks.get_mut(&id) else {
            return log::debug!("framework {id} is shut down, but has nothing here");
        };
        log::info!("framework {id} is shut down by the master; ending its containers");
        framework.terminating = true;
        self.end_executors(|framework| *framework == id);
        self.remove_what_is_done();
    }

    pub(super) fn shutdown_executor(&mut self, message: &ShutdownExecutorMessage) {
        let ids = (message.framework_id.as_ref(), message.executor_id.as_ref());
        let (Some(framework), Some(executor)) = ids else {
            return log::warn!("dropped the shutdown of an executor without ids");
        };
        let (Ok(framework), Ok(executor)) = (FrameworkId::try_from(framework), ExecutorId::try_from(executor)) else {
            return log::warn!("dropped the shutdown of an executor whose id is none");
        };
        let grace = self.config.shutdown_grace;
        let found = self.frameworks.get_mut(&framework);
        let Some(found) = found.and_then(|framework| framework.executors.get_mut(&executor)) else {
            return log::warn!("asked to shut down executor {executor} of framework {framework}, which is not here");
        };
        if found.state == ExecutorState::Gone {
            return;
        }
        log::info!("shutting down executor {executor} of framework {framework}");
        found.state = ExecutorState::Ending;
        let container = found.container.clone();
        self.actions.push(Action::Kill { container, grace });
    }

    /// Ends everything; [`Action::Exit`] follows when the last container is gone.
    pub(super) fn stop(&mut self) {
        if self.purpose != Purpose::Serve {
            return;
        }
        log::info!("stopping; {} tasks are to be ended", self.running_tasks());
        self.purpose = Purpose::Stop { linger_until: None };
        self.end_executors(|_| true);
    }

    fn end_executors(&mut self, which: impl Fn(&FrameworkId) -> bool) {
        let grace = self.config.shutdown_grace;
        for (id, framework) in &mut self.frameworks {
            if !which(id) {
                continue;
            }
            for executor in framework.executors.values_mut() {
                match executor.state {
                    ExecutorState::Gone => {}
                    ExecutorState::Launching | ExecutorState::Running | ExecutorState::Ending => {
                        executor.state = ExecutorState::Ending;
                        let container = executor.container.clone();
                        self.actions.push(Action::Kill { container, grace });
                    }
                }
            }
        }
    }

    /// The container is gone. Tasks that have no terminal state get one.
    pub(super) fn container_gone(&mut self, container: &ContainerId, reason: Option<String>, now: Now) {
        let Some((framework_id, executor_id)) = self.find_container(container) else {
            return log::warn!("container {container} is gone, but nobody here owns it");
        };
        let Some(framework) = self.frameworks.get_mut(&framework_id) else {
            return;
        };
        let terminating = framework.terminating;
        let Some(executor) = framework.executors.get_mut(&executor_id) else {
            return;
        };
        match &reason {
            None => log::info!("container {container} of executor {executor_id} is gone"),
            Some(reason) => {
                log::warn!("container {container} of executor {executor_id} died: {reason}")
            }
        }
        let was = std::mem::replace(&mut executor.state, ExecutorState::Gone);
        let open: Vec<mesos::TaskId> = executor
            .tasks
            .values()
            .filter(|task| !is_terminal(task.state))
            .map(|task| task.info.task_id.clone())
            .collect();
        if !terminating {
            for task in open {
                let status = end_of_task(was, reason.as_deref());
                self.report(&framework_id.to_proto(), Some(&executor_id), &task, status, now);
            }
        }
        // The child's own end: what the command's was is in the task's status.
        let status = if reason.is_some() { nix::libc::SIGKILL } else { 0 };
        self.report_exit(&framework_id, &executor_id, status);
        self.remove_what_is_done();
    }

    /// Forgets executors that are gone and have nothing left to report, and frameworks without executors.
    pub(super) fn remove_what_is_done(&mut self) {
        for (id, framework) in &mut self.frameworks {
            let updates = &self.updates;
            framework.executors.retain(|_, executor| {
                let mut tasks = executor.tasks.keys();
                executor.state != ExecutorState::Gone || tasks.any(|task| updates.has(id, task))
            });
        }
        self.frameworks.retain(|_, framework| !framework.executors.is_empty());
    }
}

/// The state of a task of which nothing is known, in its framework's own terms.
pub(super) fn lost_state(framework: Option<&mesos::FrameworkInfo>) -> TaskState {
    use mesos::framework_info::capability::Type;
    let aware = framework
        .is_some_and(|info| info.capabilities.iter().any(|each| each.r#type == Some(Type::PartitionAware as i32)));
    if aware { TaskState::TaskDropped } else { TaskState::TaskLost }
}

/// What is said of a task whose container ended without a word about it.
fn end_of_task(was: ExecutorState, reason: Option<&str>) -> SlaveStatus {
    let why = reason.unwrap_or("the container ended without reporting its task");
    match was {
        ExecutorState::Ending => SlaveStatus {
            state: TaskState::TaskKilled,
            reason: Reason::ExecutorTerminated,
            message: format!("killed; the container did not end in order: {why}"),
        },
        ExecutorState::Launching => SlaveStatus {
            state: TaskState::TaskFailed,
            reason: Reason::ContainerLaunchFailed,
            message: format!("the container could not be launched: {why}"),
        },
        ExecutorState::Running | ExecutorState::Gone => SlaveStatus {
            state: TaskState::TaskFailed,
            reason: Reason::ExecutorTerminated,
            message: format!("the container died: {why}"),
        },
    }
}
