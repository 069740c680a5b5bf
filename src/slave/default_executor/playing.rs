//! The default executor as the slave plays it: what it is told leads to containers inside its own, and what becomes of these to updates,
//! kills, and its end. In Mesos all of it goes over the agent's API; here nobody can speak for it.

use std::time::Duration;

use super::{DefaultExecutor, Kill, Member};
use crate::container::kill_policy::grace_of;
use crate::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::messages::container::{Joined, Spec};
use crate::messages::mesos::{TaskInfo, TaskState};
use crate::slave::executor::{ToExecutor, Via};
use crate::slave::framework::{Executor, ExecutorState};
use crate::slave::kill::end_of_task;
use crate::slave::launch::SPEC_VERSION;
use crate::slave::{Action, Now, Slave, paths};

/// What an executor whose container was killed has ended with, as wait(2) gives it.
const SIGKILL: i32 = 9;

/// Whose container it is: a task's of the default executor.
pub(in crate::slave) struct Owner {
    pub framework: FrameworkId,
    pub executor: ExecutorId,
    pub container: ContainerId,
    member: Member,
}

impl Owner {
    pub(in crate::slave) fn task(&self) -> &TaskId {
        &self.member.task
    }

    /// It has had its terminal state.
    pub(in crate::slave) fn has_ended(&self) -> bool {
        self.member.ended
    }
}

impl Slave {
    /// The task of the default executor whose own container it is.
    pub(in crate::slave) fn find_member(&self, container: &ContainerId) -> Option<Owner> {
        self.frameworks.iter().find_map(|(framework, known)| {
            known.executors.iter().find_map(|(executor, own)| {
                let member = own.played.as_ref()?.member_in(container)?.clone();
                let (framework, executor) = (framework.clone(), executor.clone());
                Some(Owner { framework, executor, container: container.clone(), member })
            })
        })
    }

    /// The container of the executor that is gone when this one, its own or one of a task, is; none if it has others.
    pub fn executor_that_ends_with(&self, container: &ContainerId) -> Option<&ContainerId> {
        let executors = self.frameworks.values().flat_map(|framework| framework.executors.values());
        let mut its_own = executors.filter(|own| {
            let is_member = own.played.as_ref().is_some_and(|played| played.member_in(container).is_some());
            own.container == *container || is_member
        });
        let own = its_own.next()?;
        own.played.as_ref().is_none_or(|played| played.ends_with(container)).then_some(&own.container)
    }

    fn playing(&mut self, framework: &FrameworkId, executor: &ExecutorId) -> Option<&mut Executor> {
        let own = self.frameworks.get_mut(framework)?.executors.get_mut(executor)?;
        own.played.is_some().then_some(own)
    }

    /// Its container is there: as if it had registered. What it was told before waits in its queue.
    pub(in crate::slave) fn default_executor_runs(&mut self, framework: &FrameworkId, executor: &ExecutorId, now: Now) {
        let Some(own) = self.playing(framework, executor) else { return };
        own.state = ExecutorState::Running;
        if let Some(conversation) = &mut own.conversation {
            conversation.reached = Some(Via::Default);
        }
        if !self.shut_down_if_useless(framework, executor, now) {
            self.send_waiting(framework, executor);
        }
    }

    /// What is said to it.
    pub(in crate::slave) fn tell_default_executor(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        message: ToExecutor,
    ) {
        match message {
            ToExecutor::LaunchGroup(group) => self.launch_members(framework, executor, group.tasks),
            ToExecutor::Kill { task, policy, .. } => {
                let Ok(task) = TaskId::try_from(&task) else { return };
                let Some(own) = self.playing(framework, executor) else { return };
                let given = own.tasks.get(&task).and_then(|task| task.info.kill_policy.as_ref());
                let grace = grace_of(policy.as_ref(), given);
                let kill = own.played.as_mut().and_then(|played| played.kill(&task, grace));
                self.kill_members(kill);
            }
            ToExecutor::Shutdown => {
                let played = self.playing(framework, executor).and_then(|own| own.played.as_mut());
                let kills = played.map(|played| played.shut_down()).unwrap_or_default();
                self.kill_members(kills);
                self.end_if_done(framework, executor);
            }
            // A single task is refused before it comes here, and the others mean nothing to it, as in Mesos.
            ToExecutor::Registered { .. }
            | ToExecutor::Reregistered(_)
            | ToExecutor::Launch { .. }
            | ToExecutor::Acknowledge(_)
            | ToExecutor::Message(_) => log::debug!("executor {executor} of framework {framework} has no use for that"),
        }
    }

    fn kill_members(&mut self, kills: impl IntoIterator<Item = Kill>) {
        for Kill { container, grace } in kills {
            log::info!("killing the task in container {container}, with {} ms of grace", grace.as_millis());
            self.actions.push(Action::Kill { container, grace });
        }
    }

    fn launch_members(&mut self, framework: &FrameworkId, executor: &ExecutorId, tasks: Vec<TaskInfo>) {
        let mut group = Vec::new();
        for task in tasks {
            let (Ok(id), Ok(container)) = (TaskId::try_from(&task.task_id), ContainerId::new(self.random.uuid_text()))
            else {
                continue;
            };
            let Some(spec) = self.member_spec(framework, executor, task, &container) else { continue };
            log::info!("launching task {id} of framework {framework} in container {container} of executor {executor}");
            self.actions.push(Action::Launch(Box::new(spec)));
            group.push((id, container));
        }
        if let Some(played) = self.playing(framework, executor).and_then(|own| own.played.as_mut()) {
            played.launch(group);
        }
    }

    /// A task's container, inside the executor's.
    fn member_spec(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        task: TaskInfo,
        container: &ContainerId,
    ) -> Option<Spec> {
        let known = self.frameworks.get(framework)?;
        let own = known.executors.get(executor)?;
        let address = own.conversation.as_ref()?.address;
        let sandbox = paths::nested_sandbox(&own.sandbox, container);
        let joined =
            Joined { container_id: own.container.to_string(), address: address.map(|address| address.to_string()) };
        Some(Spec {
            version: SPEC_VERSION,
            container_id: container.to_string(),
            slave_id: self.registration.id()?.to_proto(),
            framework: known.info.clone(),
            executor: own.info.clone(),
            resources: task.resources.clone(),
            // Masters put the executor into each task of a group.
            user: self.user_of(&known.info, task.command.as_ref()),
            environment: self.nested_environment(&task, address, &sandbox),
            task: Some(TaskInfo { executor: None, ..task }),
            sandbox: sandbox.to_string_lossy().into_owned(),
            checkpoint: known.info.checkpoint,
            vm: None,
            hostname: Some(self.config.info.hostname.clone()),
            fetcher: None,
            path_map: Vec::new(),
            holds_tasks: None,
            joins: Some(joined),
        })
    }

    /// A task's end is decided, and its group need not wait for what is left to be brought back.
    pub(in crate::slave) fn member_decided(&mut self, container: &ContainerId, state: TaskState) {
        let Some(owner) = self.find_member(container) else {
            return log::debug!("container {container} decides of a task that nobody here owns");
        };
        let played = self.playing(&owner.framework, &owner.executor).and_then(|own| own.played.as_mut());
        let kills = played.map(|played| played.decided(container, state)).unwrap_or_default();
        self.kill_members(kills);
    }

    /// A task has the terminal state that its container reported.
    pub(in crate::slave) fn member_ended(&mut self, owner: &Owner, state: TaskState) {
        let played = self.playing(&owner.framework, &owner.executor).and_then(|own| own.played.as_mut());
        let kills = played.map(|played| played.ended(&owner.container, state)).unwrap_or_default();
        self.kill_members(kills);
    }

    /// A task's container is gone, with a `reason` if not in order: then nobody knows what of the task is left inside the executor's
    /// container, which ends, too. One that never was there says nothing about the others but by its group.
    pub(in crate::slave) fn member_gone(&mut self, owner: &Owner, reason: Option<&str>, now: Now) {
        let Owner { framework, executor, container, member: Member { task, killing, ended, .. } } = owner;
        match reason {
            None => log::info!("container {container} of task {task} is gone"),
            Some(reason) => log::warn!("container {container} of task {task} died: {reason}"),
        }
        let terminating = self.frameworks.get(framework).is_some_and(|known| known.terminating);
        let Some(own) = self.playing(framework, executor) else { return };
        let was_launched = *ended || own.tasks.get(task).is_some_and(|task| task.state != TaskState::TaskStaging);
        if !ended {
            let was = match (killing, was_launched) {
                (true, _) => ExecutorState::Ending,
                (false, false) => ExecutorState::Launching,
                (false, true) => ExecutorState::Running,
            };
            let status = end_of_task(was, true, reason);
            let end = status.state;
            if !terminating {
                self.report(&framework.to_proto(), Some(executor), &task.to_proto(), status, now);
            }
            self.member_ended(owner, end);
        }
        if let Some(played) = self.playing(framework, executor).and_then(|own| own.played.as_mut()) {
            played.gone(container);
        }
        if reason.is_some() && was_launched {
            self.shut_down_executor(framework, executor, now);
        }
        self.end_if_done(framework, executor);
    }

    /// When no task has a container any more, the executor is done: its own ends, or is gone already.
    fn end_if_done(&mut self, framework: &FrameworkId, executor: &ExecutorId) {
        let Some(own) = self.playing(framework, executor) else { return };
        let Some(played) = own.played.as_mut().filter(|played| played.is_empty()) else { return };
        if played.is_over() {
            return self.executor_gone(framework, executor);
        }
        if !played.end_holder() {
            return;
        }
        own.state = ExecutorState::Ending;
        own.wait_status.get_or_insert(0);
        if let Some(conversation) = &mut own.conversation {
            conversation.stop_waiting();
        }
        log::info!("executor {executor} of framework {framework} has no task any more; ending it");
        let container = own.container.clone();
        self.actions.push(Action::Kill { container, grace: Duration::ZERO });
    }

    /// Its own container is gone. True if that of a task is not: these are killed, and the executor is over with the last of them.
    pub(in crate::slave) fn holder_gone(&mut self, framework: &FrameworkId, executor: &ExecutorId) -> bool {
        let Some(own) = self.playing(framework, executor) else { return false };
        let Some(played) = &mut own.played else { return false };
        played.holder_gone();
        if played.is_empty() {
            return false;
        }
        let kills = played.kill_all();
        own.state = ExecutorState::Ending;
        self.kill_members(kills);
        true
    }
}

impl Executor {
    /// Its own container is there. That of one that we play may be gone before its tasks'.
    pub(in crate::slave) fn has_container(&self) -> bool {
        self.state.is_alive() && self.played.as_ref().is_none_or(DefaultExecutor::has_holder)
    }

    /// Its container has ended by itself. If its tasks were over before that was heard, they had ended with it: it was not done, after all.
    pub(in crate::slave) fn is_not_done(&mut self) {
        if self.played.is_some() {
            self.wait_status.take_if(|status| *status == 0);
        }
    }

    /// It does not end in time: its container ends under its tasks.
    pub(in crate::slave) fn kill_played(&mut self) -> Vec<Action> {
        let Some(played) = &mut self.played else { return Vec::new() };
        played.end_holder();
        self.wait_status.get_or_insert(SIGKILL);
        let kill = |Kill { container, grace }| Action::Kill { container, grace };
        played.kill_all().into_iter().map(kill).collect()
    }
}
