//! Ending what runs: a task, an executor, a framework, everything; and what is left to report when a container is gone.

use super::executor::Via;
use super::framework::{ExecutorState, Framework, is_terminal};
use super::updates::SlaveStatus;
use super::{Action, Now, Purpose, Slave};
use crate::container::kill_policy::grace_of;
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
        if framework.as_ref().is_some_and(|framework| framework.terminating) {
            return log::debug!("task {task_id} of framework {framework_id} is ending with its framework");
        }
        let Some(executor) = framework.and_then(|framework| framework.executor_of(&task_id)) else {
            log::warn!("asked to kill task {task_id} of framework {framework_id}, which is not here");
            let (framework, task) = (&message.framework_id, &message.task_id);
            // Mesos' agent says nothing if the framework is unknown, too (that of 0.9 did): the master believes in the task, or it
            // would not have passed the kill on.
            return self.report_unknown_task(framework, None, task, Reason::ExecutorTerminated, now);
        };
        if executor.conversation.is_some() {
            let executor_id = executor.info.executor_id.clone();
            return self.kill_executors_task(message, &framework_id, &executor_id, &task_id, now);
        }
        let own = executor.tasks.get(&task_id).and_then(|task| task.info.kill_policy.as_ref());
        let grace = grace_of(message.kill_policy.as_ref(), own);
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

    pub(super) fn shutdown_framework(&mut self, message: &ShutdownFrameworkMessage, now: Now) {
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
        self.end_executors(|framework| *framework == id, now);
        self.remove_what_is_done();
    }

    pub(super) fn shutdown_executor(&mut self, message: &ShutdownExecutorMessage, now: Now) {
        let ids = (message.framework_id.as_ref(), message.executor_id.as_ref());
        let (Some(framework), Some(executor)) = ids else {
            return log::warn!("dropped the shutdown of an executor without ids");
        };
        let (Ok(framework), Ok(executor)) = (FrameworkId::try_from(framework), ExecutorId::try_from(executor)) else {
            return log::warn!("dropped the shutdown of an executor whose id is none");
        };
        self.end_executor(&framework, &executor, now);
    }

    pub(super) fn end_executor(&mut self, framework_id: &FrameworkId, executor_id: &ExecutorId, now: Now) {
        let framework = self.frameworks.get(framework_id);
        if framework.is_none_or(|framework| !framework.executors.contains_key(executor_id)) {
            return log::warn!(
                "asked to shut down executor {executor_id} of framework {framework_id}, which is not here"
            );
        }
        self.shut_down_executor(framework_id, executor_id, now);
    }

    /// Ends everything; [`Action::Exit`] follows when the last container is gone.
    pub(super) fn stop(&mut self, now: Now) {
        if self.purpose != Purpose::Serve {
            return;
        }
        log::info!("stopping; {} tasks are to be ended", self.running_tasks());
        self.purpose = Purpose::Stop { linger_until: None };
        self.end_executors(|_| true, now);
    }

    fn end_executors(&mut self, which: impl Fn(&FrameworkId) -> bool, now: Now) {
        let frameworks = self.frameworks.iter().filter(|(id, _)| which(id));
        let ids = |(framework, known): (&FrameworkId, &Framework)| {
            known.executors.keys().map(|executor| (framework.clone(), executor.clone())).collect::<Vec<_>>()
        };
        let executors: Vec<(FrameworkId, ExecutorId)> = frameworks.flat_map(ids).collect();
        for (framework, executor) in executors {
            self.shut_down_executor(&framework, &executor, now);
        }
    }

    /// The container is gone. Tasks that have no terminal state get one.
    pub(super) fn container_gone(&mut self, container: &ContainerId, reason: Option<String>, now: Now) {
        if let Some(owner) = self.find_member(container) {
            return self.member_gone(&owner, reason.as_deref(), now);
        }
        let Some((framework_id, executor_id)) = self.find_container(container) else {
            return log::warn!("container {container} is gone, but nobody here owns it");
        };
        self.count_launch_error(&framework_id, &executor_id, reason.is_some());
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
        if let Some(conversation) = &mut executor.conversation {
            conversation.stop_waiting();
            // Nothing more comes on its stream, should anybody still hold it.
            if let Some(Via::Http(Some(stream))) = conversation.reached {
                self.actions.push(Action::HangUp(stream));
            }
        }
        let is_command = executor.is_command;
        if reason.is_some() {
            executor.is_not_done();
        }
        if is_command && reason.is_none() {
            // What the command's end was is in its task's status; this is the end of what ran it.
            executor.wait_status.get_or_insert(0);
        }
        if !terminating {
            let end = executor.conversation.as_mut().and_then(|conversation| conversation.end.take());
            let reason = reason.as_deref();
            let status = |id: &TaskId| match executor.played.as_ref().is_some_and(|played| played.is_killing(id)) {
                true => end_of_task(ExecutorState::Ending, true, reason),
                false => end.clone().unwrap_or_else(|| end_of_task(was, is_command, reason)),
            };
            let open = executor.tasks.iter().filter(|(_, task)| !is_terminal(task.state));
            let ends: Vec<_> = open.map(|(id, task)| (task.info.task_id.clone(), status(id))).collect();
            for (task, status) in ends {
                self.report(&framework_id.to_proto(), Some(&executor_id), &task, status, now);
            }
        }
        if !self.holder_gone(&framework_id, &executor_id) {
            self.executor_gone(&framework_id, &executor_id);
        }
    }

    /// Nothing of an executor is there any more: its master hears of that, and it stays until its tasks' last updates are acknowledged.
    pub(super) fn executor_gone(&mut self, framework: &FrameworkId, executor: &ExecutorId) {
        let own = self.frameworks.get_mut(framework).and_then(|known| known.executors.get_mut(executor));
        let Some(own) = own else { return };
        own.state = ExecutorState::Gone;
        let (is_command, wait_status) = (own.is_command, own.wait_status);
        if !is_command || self.counts_command_executors() {
            self.report_exit(framework.to_proto(), executor.to_proto(), wait_status);
        }
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
pub(super) fn end_of_task(was: ExecutorState, is_command: bool, reason: Option<&str>) -> SlaveStatus {
    let why = reason.unwrap_or("the container ended without reporting its task");
    match was {
        // A framework's own executor is asked to end its tasks, and may have been about something else when it died.
        ExecutorState::Ending if is_command => SlaveStatus {
            state: TaskState::TaskKilled,
            reason: Reason::ExecutorTerminated,
            message: format!("killed; the container did not end in order: {why}"),
        },
        ExecutorState::Launching => SlaveStatus {
            state: TaskState::TaskFailed,
            reason: Reason::ContainerLaunchFailed,
            message: format!("the container could not be launched: {why}"),
        },
        ExecutorState::Running | ExecutorState::Ending | ExecutorState::Gone => SlaveStatus {
            state: TaskState::TaskFailed,
            reason: Reason::ExecutorTerminated,
            message: format!("the container died: {why}"),
        },
    }
}
