//! The ways in which an executor's life ends: it is shut down, does not register, or its process ends.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::ToExecutor;
use crate::flags::values::format_duration;
use crate::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::messages::mesos;
use crate::messages::mesos::TaskState;
use crate::messages::mesos::internal::KillTaskMessage;
use crate::messages::mesos::task_status::Reason;
use crate::slave::command_executor::shutdown_grace;
use crate::slave::updates::SlaveStatus;
use crate::slave::{Action, ExecutorState, Now, Slave};

impl Slave {
    /// The executor's process runs, or is about to; the guest's address is known.
    pub(in crate::slave) fn executor_started(
        &mut self,
        container: &ContainerId,
        address: Option<Ipv4Addr>,
        runs: bool,
        now: Now,
    ) {
        let timeout = self.config.registration_timeout;
        let Some((framework, executor)) = self.find_container(container) else {
            return;
        };
        let own = self.frameworks.get_mut(&framework).and_then(|framework| framework.executors.get_mut(&executor));
        let Some(own) = own else { return };
        let waits = own.state == ExecutorState::Launching;
        let Some(conversation) = &mut own.conversation else { return };
        if address.is_some() {
            conversation.address = address;
        }
        if own.played.is_some() {
            if runs && waits {
                self.default_executor_runs(&framework, &executor, now);
            }
            return;
        }
        if runs && waits && conversation.register_by.is_none() {
            let within = format_duration(timeout);
            log::info!("executor {executor} of framework {framework} runs; it has to register within {within}");
            conversation.register_by = Some(now.instant + timeout);
        }
    }

    /// The executor's process has ended, or never ran; what is said of its tasks comes when the container is gone.
    pub(in crate::slave) fn executor_ended(
        &mut self,
        container: &ContainerId,
        wait_status: Option<i32>,
        reason: Option<Reason>,
        message: Option<String>,
    ) {
        let Some((framework, executor)) = self.find_container(container) else {
            return;
        };
        let own = self.frameworks.get_mut(&framework).and_then(|framework| framework.executors.get_mut(&executor));
        let Some(own) = own else { return };
        if wait_status.is_none() {
            own.is_not_done();
        }
        // One of ours that was to end has ended as we saw it.
        own.wait_status = own.wait_status.filter(|_| own.played.is_some()).or(wait_status);
        let (by_itself, sandbox) = (own.state != ExecutorState::Ending, own.sandbox.display().to_string());
        let Some(conversation) = &mut own.conversation else { return };
        let message = match (reason, message) {
            // Mesos says the two words (`Slave::sendExecutorTerminatedStatusUpdate`); how it ended helps who has to find out why, and
            // would read as if the tasks' own command had ended so without them.
            (None, Some(how)) => format!("Executor terminated: {how}"),
            (Some(_), Some(message)) => message,
            (_, None) => "Executor terminated".to_string(),
        };
        log::info!("executor {executor} of framework {framework} has ended: {message}");
        if by_itself && wait_status != Some(0) {
            log::warn!("what executor {executor} said before it failed is in {sandbox}");
        }
        let reason = reason.unwrap_or(Reason::ExecutorTerminated);
        conversation.end.get_or_insert(SlaveStatus { state: TaskState::TaskFailed, reason, message });
    }

    /// Asks an executor to end; its container is killed when its grace is over.
    pub(in crate::slave) fn shut_down_executor(&mut self, framework: &FrameworkId, executor: &ExecutorId, now: Now) {
        let default = self.config.shutdown_grace;
        let own = self.frameworks.get_mut(framework).and_then(|framework| framework.executors.get_mut(executor));
        let Some(own) = own.filter(|own| own.state.is_alive()) else { return };
        let is_told = own.state == ExecutorState::Ending;
        own.state = ExecutorState::Ending;
        let grace = shutdown_grace(own, default);
        let container = own.container.clone();
        let Some(conversation) = &mut own.conversation else {
            return self.actions.push(Action::Kill { container, grace });
        };
        if is_told {
            return; // Its grace began then.
        }
        conversation.register_by = None;
        log::info!("shutting down executor {executor} of framework {framework}");
        if conversation.reached.is_none() {
            // Nobody there who could listen.
            return self.actions.push(Action::Kill { container, grace: Duration::ZERO });
        }
        conversation.kill_at = now.instant.checked_add(grace);
        self.tell(framework, executor, ToExecutor::Shutdown);
    }

    /// A task of a framework's own executor is to be killed: by the executor, or before it gets it (`Slave::kill` in Mesos).
    pub(in crate::slave) fn kill_executors_task(
        &mut self,
        message: &KillTaskMessage,
        framework: &FrameworkId,
        executor: &mesos::ExecutorId,
        task: &TaskId,
        now: Now,
    ) {
        let Ok(executor) = ExecutorId::try_from(executor) else { return };
        let own = self.frameworks.get_mut(framework).and_then(|framework| framework.executors.get_mut(&executor));
        let Some(own) = own else { return };
        match own.state {
            ExecutorState::Launching | ExecutorState::Running => {}
            ExecutorState::Ending | ExecutorState::Gone => {
                return log::warn!("task {task} of framework {framework} is ending with its executor {executor}");
            }
        }
        let Some(conversation) = &mut own.conversation else { return };
        let Some(together) = conversation.withdraw(task) else {
            log::info!("asking executor {executor} of framework {framework} to kill task {task}");
            let (framework_id, task_id) = (message.framework_id.clone(), message.task_id.clone());
            let kill = ToExecutor::Kill { framework: framework_id, task: task_id, policy: message.kill_policy };
            return self.tell(framework, &executor, kill);
        };
        let message = match together.is_group {
            false => "Killed before delivery to the executor",
            true => "A task within the task group was killed before delivery to the executor",
        };
        for task in together.tasks {
            let (state, reason) = (TaskState::TaskKilled, Reason::TaskKilledDuringLaunch);
            let status = SlaveStatus { state, reason, message: message.to_string() };
            self.report(&framework.to_proto(), Some(&executor), &task.to_proto(), status, now);
        }
    }

    /// An executor that was never given a task, and has none waiting, is of no use (MESOS-8411); true if it is shut down.
    pub(in crate::slave) fn shut_down_if_useless(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        now: Now,
    ) -> bool {
        let own = self.frameworks.get(framework).and_then(|framework| framework.executors.get(executor));
        let conversation = own.and_then(|own| own.conversation.as_ref());
        let useless = conversation.is_some_and(|each| !each.was_sent_a_task && each.queue.is_empty());
        if useless {
            log::warn!("executor {executor} of framework {framework} has no task to run");
            self.shut_down_executor(framework, executor, now);
        }
        useless
    }

    /// What is due: executors that did not register, and such as were to end and did not.
    pub(in crate::slave) fn executor_deadlines(&mut self, now: Now) {
        let timeout = self.config.registration_timeout;
        let frameworks = self.frameworks.iter_mut();
        for (framework, known) in frameworks {
            for (executor, own) in &mut known.executors {
                let Some(conversation) = &mut own.conversation else { continue };
                let container = own.container.clone();
                if conversation.register_by.take_if(|by| *by <= now.instant).is_some() {
                    let timeout = format_duration(timeout);
                    log::warn!(
                        "executor {executor} of framework {framework} did not register within {timeout}; ending it"
                    );
                    own.state = ExecutorState::Ending;
                    conversation.end = Some(SlaveStatus {
                        state: TaskState::TaskFailed,
                        reason: Reason::ExecutorRegistrationTimeout,
                        message: format!("Executor did not register within {timeout}"),
                    });
                    self.actions.push(Action::Kill { container, grace: Duration::ZERO });
                } else if conversation.kill_at.take_if(|at| *at <= now.instant).is_some() {
                    log::warn!("executor {executor} of framework {framework} does not end; killing its container");
                    self.actions.extend(own.kill_played());
                    self.actions.push(Action::Kill { container, grace: Duration::ZERO });
                }
            }
        }
    }
}
