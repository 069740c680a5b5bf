//! What executors say, and what is said to them (`Slave::registerExecutor`, `subscribe`, `reregisterExecutor`, `statusUpdate`,
//! `executorMessage` in Mesos' `src/slave/slave.cpp`).

use super::{FromExecutor, Speaker, ToExecutor, Together, Via};
use crate::ids::{ExecutorId, FrameworkId, TaskId};
use crate::messages::mesos;
use crate::messages::mesos::internal::{ExecutorToFrameworkMessage, StatusUpdateAcknowledgementMessage};
use crate::messages::mesos::task_status::{Reason, Source};
use crate::messages::mesos::{TaskGroupInfo, TaskInfo, TaskState};
use crate::slave::framework::Task;
use crate::slave::kill::lost_state;
use crate::slave::updates::SlaveStatus;
use crate::slave::{Action, Executor, ExecutorState, Now, Purpose, Slave};

/// Length of a uuid, in bytes.
const UUID_LENGTH: usize = 16;

impl Slave {
    /// Something that an executor says. The shell has seen to it that the address is the executor's own.
    pub(in crate::slave) fn executor_says(&mut self, speaker: &Speaker, message: FromExecutor, now: Now) {
        match message {
            FromExecutor::Register => self.take_in(speaker, None, now),
            FromExecutor::Subscribe { tasks, updates } => self.take_in(speaker, Some((tasks, updates)), now),
            FromExecutor::Update(status) => self.executor_update(speaker, *status, now),
            FromExecutor::Message(data) => match self.executor_message(speaker, data) {
                Ok(()) => self.counts.valid_framework_messages += 1,
                Err(why) => {
                    self.counts.invalid_framework_messages += 1;
                    let Speaker { framework, executor, .. } = speaker;
                    log::warn!("dropped a message of executor {executor} to its framework {framework}: {why}");
                }
            },
        }
    }

    fn own_executor(&mut self, framework: &FrameworkId, executor: &ExecutorId) -> Option<&mut Executor> {
        let executor = self.frameworks.get_mut(framework)?.executors.get_mut(executor)?;
        executor.conversation.is_some().then_some(executor)
    }

    /// An executor registers; `again` with what it has that we may not know of.
    fn take_in(&mut self, speaker: &Speaker, again: Option<(Vec<mesos::TaskId>, Vec<mesos::TaskStatus>)>, now: Now) {
        if let Some(why) = self.unwelcome(speaker, again.is_some()) {
            log::warn!(
                "executor {} of framework {} registers, but {why}; shutting it down",
                speaker.executor,
                speaker.framework
            );
            return self.turn_away(&speaker.via);
        }
        let Some(executor) = self.own_executor(&speaker.framework, &speaker.executor) else {
            return;
        };
        executor.state = ExecutorState::Running;
        let Some(conversation) = &mut executor.conversation else { return };
        conversation.register_by = None;
        let before = conversation.reached.replace(speaker.via.clone());
        if let Some(Via::Http(Some(stream))) = before {
            self.actions.push(Action::HangUp(stream));
        }
        if let Via::Driver(pid) = &speaker.via {
            self.actions.push(Action::Link(pid.clone()));
        }
        log::info!("executor {} of framework {} has registered", speaker.executor, speaker.framework);
        // A driver that comes back is told so, and no more; a v1 client hears the same each time. Nothing comes before that.
        let is_back = again.is_some() && matches!(speaker.via, Via::Driver(_));
        if is_back {
            let slave = Box::new(self.own_info());
            self.tell(&speaker.framework, &speaker.executor, ToExecutor::Reregistered(slave));
        } else if self.shut_down_if_useless(&speaker.framework, &speaker.executor, now) {
            return;
        } else {
            self.greet(speaker);
        }
        if let Some((tasks, updates)) = again {
            for status in updates {
                self.executor_update(speaker, status, now);
            }
            self.drop_unheard_of(speaker, &tasks, now);
        }
        if is_back && self.shut_down_if_useless(&speaker.framework, &speaker.executor, now) {
            return;
        }
        self.send_waiting(&speaker.framework, &speaker.executor);
    }

    /// Why an executor is not taken in.
    fn unwelcome(&mut self, speaker: &Speaker, again: bool) -> Option<&'static str> {
        if self.purpose != Purpose::Serve {
            return Some("the slave is stopping");
        }
        let Some(framework) = self.frameworks.get(&speaker.framework) else {
            return Some("its framework has nothing here");
        };
        if framework.terminating {
            return Some("its framework is being removed");
        }
        let executor = framework.executors.get(&speaker.executor);
        let Some(executor) = executor.filter(|executor| executor.speaks_for_itself()) else {
            return Some("it is not one that was launched here");
        };
        match (executor.state, &speaker.via) {
            (ExecutorState::Launching, _) => None,
            // A v1 client that lost its connection comes back this way; a driver does not come twice.
            (ExecutorState::Running, Via::Http(_)) if again => None,
            (ExecutorState::Running, _) => Some("it has registered already"),
            (ExecutorState::Ending | ExecutorState::Gone, _) => Some("it is to end"),
        }
    }

    fn turn_away(&mut self, via: &Via) {
        self.actions.push(Action::ToExecutor { via: via.clone(), message: Box::new(ToExecutor::Shutdown) });
        if let Via::Http(Some(stream)) = via {
            self.actions.push(Action::HangUp(*stream));
        }
    }

    /// Tasks that were sent, and of which the executor knows nothing, got lost on the way.
    fn drop_unheard_of(&mut self, speaker: &Speaker, known: &[mesos::TaskId], now: Now) {
        let Some(framework) = self.frameworks.get(&speaker.framework) else { return };
        let state = lost_state(Some(&framework.info));
        let Some(executor) = framework.executors.get(&speaker.executor) else { return };
        let waits = |task: &TaskId| {
            let conversation = executor.conversation.as_ref();
            conversation.is_some_and(|conversation| conversation.has_waiting(task))
        };
        let lost: Vec<mesos::TaskId> = executor
            .tasks
            .iter()
            .filter(|(id, task)| {
                task.state == TaskState::TaskStaging && !waits(id) && !known.contains(&task.info.task_id)
            })
            .map(|(_, task)| task.info.task_id.clone())
            .collect();
        for task in lost {
            let message = "Task launched during agent restart".to_string();
            let status = SlaveStatus { state, reason: Reason::SlaveRestarted, message };
            self.report(&speaker.framework.to_proto(), Some(&speaker.executor), &task, status, now);
        }
    }

    /// Says that it is registered.
    fn greet(&mut self, speaker: &Speaker) {
        let slave = Box::new(self.own_info());
        let Some(framework) = self.frameworks.get(&speaker.framework) else { return };
        let info = Box::new(framework.info.clone());
        let Some(executor) = framework.executors.get(&speaker.executor) else { return };
        let greeting = ToExecutor::Registered {
            executor: Box::new(executor.info.clone()),
            framework: info,
            slave,
            container: executor.container.to_proto(),
        };
        self.tell(&speaker.framework, &speaker.executor, greeting);
    }

    /// Gives it the tasks that waited for it to register.
    pub(in crate::slave) fn send_waiting(&mut self, framework: &FrameworkId, executor: &ExecutorId) {
        let own = self.own_executor(framework, executor);
        let conversation = own.and_then(|own| own.conversation.as_mut());
        let waiting = conversation.map(|conversation| std::mem::take(&mut conversation.queue)).unwrap_or_default();
        for together in waiting {
            self.send_tasks(framework, executor, &together);
        }
    }

    /// Sends tasks to an executor that has registered.
    pub(in crate::slave) fn send_tasks(&mut self, framework: &FrameworkId, executor: &ExecutorId, together: &Together) {
        let Some(known) = self.frameworks.get_mut(framework) else { return };
        let scheduler = known.pid.as_ref().map_or("@0.0.0.0:0".to_string(), ToString::to_string);
        let info = Box::new(known.info.clone());
        let Some(own) = known.executors.get_mut(executor) else { return };
        let tasks = together.tasks.iter().filter_map(|task| own.tasks.get(task));
        let infos: Vec<TaskInfo> = tasks.map(|task| task.info.clone()).collect();
        for id in &together.tasks {
            own.tasks.get_mut(id).into_iter().for_each(Task::handed_over);
        }
        if let Some(conversation) = &mut own.conversation {
            conversation.was_sent_a_task |= !infos.is_empty();
        }
        if together.is_group {
            log::info!("sending a group of {} tasks to executor {executor} of framework {framework}", infos.len());
            return self.tell(framework, executor, ToExecutor::LaunchGroup(Box::new(TaskGroupInfo { tasks: infos })));
        }
        for task in infos {
            log::info!("sending task {} to executor {executor} of framework {framework}", task.task_id.value);
            let (framework_info, scheduler) = (info.clone(), scheduler.clone());
            let launch = ToExecutor::Launch { framework: framework_info, task: Box::new(task), scheduler };
            self.tell(framework, executor, launch);
        }
    }

    /// Says something to an executor, if it is there.
    pub(in crate::slave) fn tell(&mut self, framework: &FrameworkId, executor: &ExecutorId, message: ToExecutor) {
        let via = self.own_executor(framework, executor).and_then(|own| own.conversation.as_ref()?.reached.clone());
        match via {
            Some(Via::Default) => self.tell_default_executor(framework, executor, message),
            Some(via @ (Via::Driver(_) | Via::Http(_))) => {
                self.actions.push(Action::ToExecutor { via, message: Box::new(message) })
            }
            None => log::debug!("executor {executor} of framework {framework} is not there to be told"),
        }
    }

    fn executor_update(&mut self, speaker: &Speaker, status: mesos::TaskStatus, now: Now) {
        if let Err(why) = self.take_update(speaker, status, now) {
            self.counts.invalid_status_updates += 1;
            let Speaker { framework, executor, .. } = speaker;
            log::warn!("dropped an update of executor {executor} of framework {framework}: {why}");
        }
    }

    fn take_update(&mut self, speaker: &Speaker, mut status: mesos::TaskStatus, now: Now) -> Result<(), &'static str> {
        let Speaker { framework, executor, .. } = speaker;
        if status.uuid().len() != UUID_LENGTH {
            return Err("it has no uuid");
        }
        let ours = self.registration.id().map(|id| id.to_proto());
        if status.slave_id.is_some() && status.slave_id != ours {
            return Err("it is for another slave");
        }
        let Some(known) = self.frameworks.get_mut(framework) else {
            return Err("its framework has nothing here");
        };
        if known.terminating {
            return Err("its framework is being removed, and acknowledges nothing");
        }
        let Ok(task) = TaskId::try_from(&status.task_id) else {
            return Err("its task's id is none");
        };
        let owner = known.executors.iter().find(|(_, each)| each.tasks.contains_key(&task));
        let container = match owner {
            Some((owner, _)) if owner != executor => return Err("its task is another executor's"),
            Some((_, own)) if !own.speaks_for_itself() => return Err("its task is run by the slave itself"),
            Some((_, own)) => Some(own.container.clone()),
            None => None,
        };
        if status.state() == TaskState::TaskStaging {
            self.shut_down_executor(framework, executor, now);
            return Err("no executor may send TASK_STAGING");
        }
        status.source = Some(Source::Executor as i32);
        status.slave_id = ours;
        status.executor_id = Some(executor.to_proto());
        status.timestamp.get_or_insert(now.unix);
        let acknowledgement = StatusUpdateAcknowledgementMessage {
            slave_id: status.slave_id.clone().unwrap_or_default(),
            framework_id: framework.to_proto(),
            task_id: status.task_id.clone(),
            uuid: status.uuid().to_vec(),
        };
        if let Some(container) = &container {
            self.fill_executors_status(&mut status, framework, executor, container);
        }
        log::info!(
            "task {task} of framework {framework} is {}{}",
            status.state().as_str_name(),
            status.message.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
        );
        self.enqueue(framework, Some(executor), task, status, now);
        // To whoever sent it, be it an executor that we do not know as registered.
        let via = match &speaker.via {
            Via::Driver(_) => Some(speaker.via.clone()),
            Via::Http(_) | Via::Default => None,
        };
        let acknowledgement = ToExecutor::Acknowledge(acknowledgement);
        match via {
            Some(via) => self.actions.push(Action::ToExecutor { via, message: Box::new(acknowledgement) }),
            None => self.tell(framework, executor, acknowledgement),
        }
        Ok(())
    }

    /// As [`Slave::fill_executors_status`], of a task in a container of its own inside the executor's.
    pub(in crate::slave) fn fill_members_status(
        &self,
        status: &mut mesos::TaskStatus,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &crate::ids::ContainerId,
    ) {
        let own = self.frameworks.get(framework).and_then(|known| known.executors.get(executor));
        let parent = own.map(|own| Box::new(own.container.to_proto()));
        let id = mesos::ContainerId { parent, ..container.to_proto() };
        status.container_status.get_or_insert_default().container_id = Some(id);
        self.fill_executors_status(status, framework, executor, container);
    }

    /// The container's id and, where the executor does not say, the guest's address, or ours.
    fn fill_executors_status(
        &self,
        status: &mut mesos::TaskStatus,
        framework: &FrameworkId,
        executor: &ExecutorId,
        container: &crate::ids::ContainerId,
    ) {
        let own = self.frameworks.get(framework).and_then(|framework| framework.executors.get(executor));
        let address = own.and_then(|own| own.conversation.as_ref()?.address);
        let known = status.container_status.get_or_insert_default();
        if let (Some(address), true) = (address, known.network_infos.is_empty()) {
            known.network_infos.push(mesos::NetworkInfo {
                ip_addresses: vec![mesos::network_info::IpAddress {
                    ip_address: Some(address.to_string()),
                    ..Default::default()
                }],
                ..Default::default()
            });
        }
        self.fill_container_status(status, container);
    }

    /// Bytes for the scheduler: to its own address or, where it has none, through the master.
    fn executor_message(&mut self, speaker: &Speaker, data: Vec<u8>) -> Result<(), &'static str> {
        let Speaker { framework, executor, .. } = speaker;
        let Some(id) = self.registration.id().map(|id| id.to_proto()) else {
            return Err("the slave is not registered");
        };
        let Some(known) = self.frameworks.get(framework).filter(|framework| !framework.terminating) else {
            return Err("its framework has nothing here, or is being removed");
        };
        let to = known.pid.clone().or_else(|| self.registration.registered_master().cloned());
        let Some(to) = to else {
            return Err("no master is there to pass it on");
        };
        let message = ExecutorToFrameworkMessage {
            slave_id: id,
            framework_id: framework.to_proto(),
            executor_id: executor.to_proto(),
            data,
        };
        self.send(&to, &message);
        Ok(())
    }

    /// What an executor is told of us.
    fn own_info(&self) -> mesos::SlaveInfo {
        mesos::SlaveInfo { id: self.registration.id().map(|id| id.to_proto()), ..self.config.info.clone() }
    }
}
