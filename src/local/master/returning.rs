//! Slaves that register again: after a restart, a broken connection, or a time in which they did not answer; or with another master
//! behind them. What both sides know of tasks and frameworks is brought together.

use std::collections::BTreeSet;

use super::accounts;
use super::core::{Action, Core, TaskKey};
use super::events;
use super::slaves::{Link, Newcomer, connection, key_of, may_register, on};
use crate::ids::{ExecutorId, FrameworkId, SlaveId};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{self, ExecutorInfo, FrameworkInfo, SlaveInfo, Task};

impl Core {
    pub(super) fn reregister_slave(&mut self, from: Pid, message: ReregisterSlaveMessage) {
        if !may_register(&from, message.version(), &message.slave) {
            return;
        }
        let id = message.slave.id.as_ref().or(message.slave_id.as_ref()).map(SlaveId::try_from);
        let id = match id {
            Some(Ok(id)) => id,
            Some(Err(error)) => {
                return log::warn!("ignoring the re-registration of {from}: its slave id is invalid: {error}");
            }
            None => {
                return log::warn!("ignoring the re-registration of {from}: it has no slave id");
            }
        };
        let known = self.slaves.get(&id).map(|slave| (*slave.pid.address.ip(), slave.info.hostname.clone()));
        match known {
            Some(place) if place != (*from.address.ip(), message.slave.hostname.clone()) => {
                log::warn!(
                    "slave {id} came back as {} at {from}, which is another place: shutting it down",
                    message.slave.hostname
                );
                let text = "Agent attempted to reregister with different IP / hostname";
                self.send(&from, &ShutdownMessage { message: Some(text.into()) });
            }
            Some(_) => self.welcome_known(id, from, message),
            None => self.welcome_back(id, from, message),
        }
    }

    /// The slave was never lost: it restarted, or its connection broke.
    fn welcome_known(&mut self, id: SlaveId, from: Pid, message: ReregisterSlaveMessage) {
        let Some(slave) = self.slaves.get_mut(&id) else {
            return;
        };
        log::info!("slave {id} at {from} registered again");
        let old = std::mem::replace(&mut slave.pid, from.clone());
        slave.info = SlaveInfo { resources: accounts::normalized(&message.slave.resources), ..message.slave };
        slave.version = message.version.unwrap_or_default();
        slave.capabilities = message.agent_capabilities;
        slave.resource_version = message.resource_version_uuid;
        slave.link = Link::Up;
        if old != from {
            self.actions.push(Action::Unlink { to: old });
        }
        self.actions.push(Action::Link { to: from.clone() });
        let reconciliations = self.missing_tasks(&id, &message.tasks);
        let answer = SlaveReregisteredMessage { reconciliations, ..reregistered(&id) };
        self.send(&from, &answer);
        self.kill_again(&id, &from, &message.tasks);
        self.executors.retain(|(slave, ..), _| *slave != id);
        self.take_executors(&id, message.executor_infos, &message.frameworks);
        for task in message.tasks {
            // Its resources are in use, whatever the frameworks were told meanwhile.
            if let Some((key, task)) = self.fit_task(&id, task, &message.frameworks) {
                self.tasks.entry(key).or_insert(task);
            }
        }
        self.meet_frameworks(&from, message.frameworks);
    }

    /// Repeats the kills of tasks that the slave still has: it may not have heard of them.
    fn kill_again(&mut self, id: &SlaveId, pid: &Pid, tasks: &[Task]) {
        let Some(slave) = self.slaves.get(id) else {
            return;
        };
        let alive = |task: &&Task| {
            !events::is_terminal(task.state()) && key_of(task).is_some_and(|key| slave.killed.contains(&key))
        };
        let alive: Vec<Task> = tasks.iter().filter(alive).cloned().collect();
        for Task { framework_id, task_id, .. } in alive {
            log::warn!("slave {id} still has task {} that is to be killed", task_id.value);
            let kill_policy = None;
            let message = KillTaskMessage { framework_id, task_id, kill_policy };
            self.send(pid, &message);
        }
    }

    /// A task that the slave brings, if it is one to keep books on: its own, of a framework that it names too, and that is not over.
    fn fit_task(&self, id: &SlaveId, task: Task, frameworks: &[FrameworkInfo]) -> Option<(TaskKey, Task)> {
        let key = key_of(&task)?;
        let fit = on(&task, id) && accounts::check(&task.resources).is_ok() && self.is_to_be_met(&key.0, frameworks);
        fit.then(|| (key, accounts::normalized_task(task)))
    }

    fn take_executors(&mut self, id: &SlaveId, infos: Vec<ExecutorInfo>, frameworks: &[FrameworkInfo]) {
        for info in infos {
            let framework = info.framework_id.as_ref().map(FrameworkId::try_from);
            let executor = ExecutorId::try_from(&info.executor_id);
            if let (Some(Ok(framework)), Ok(executor)) = (framework, executor)
                && accounts::check(&info.resources).is_ok()
                && self.is_to_be_met(&framework, frameworks)
            {
                let key = (id.clone(), framework, executor);
                self.executors.insert(key, accounts::normalized_executor(info));
            }
        }
    }

    fn is_to_be_met(&self, id: &FrameworkId, named: &[FrameworkInfo]) -> bool {
        let is_named = |info: &FrameworkInfo| info.id.as_ref().is_some_and(|named| named.value == id.as_str());
        !self.is_completed(id) && (self.frameworks.contains_key(id) || named.iter().any(is_named))
    }

    /// Tasks that the slave should have and does not name: it is asked about them, and answers with TASK_LOST or the like.
    fn missing_tasks(&self, id: &SlaveId, named: &[Task]) -> Vec<ReconcileTasksMessage> {
        let named: BTreeSet<TaskKey> = named.iter().filter_map(key_of).collect();
        let mut all: Vec<ReconcileTasksMessage> = Vec::new();
        for (key, task) in &self.tasks {
            if task.slave_id.value != id.as_str() || named.contains(key) {
                continue;
            }
            let Some(framework) = self.frameworks.get(&key.0) else {
                continue;
            };
            let status = events::latest_status_of(task, Reason::Reconciliation, "Reconciliation request", self.wall());
            match all.last_mut().filter(|last| last.framework_id == task.framework_id) {
                Some(last) => last.statuses.push(status),
                None => all.push(ReconcileTasksMessage {
                    framework_id: task.framework_id.clone(),
                    statuses: vec![status],
                    framework: Some(framework.info.clone()),
                }),
            }
        }
        all
    }

    /// The slave was lost, or this master is younger than it.
    fn welcome_back(&mut self, id: SlaveId, from: Pid, message: ReregisterSlaveMessage) {
        let text = match self.unreachable_slaves.contains_key(&id) {
            true => "Unreachable agent re-reregistered",
            false => "Unknown agent reregistered",
        };
        let newcomer = Newcomer {
            id: id.clone(),
            info: SlaveInfo { id: Some(id.to_proto()), ..message.slave },
            pid: from.clone(),
            version: message.version.unwrap_or_default(),
            capabilities: message.agent_capabilities,
            resource_version: message.resource_version_uuid,
        };
        self.add_slave(newcomer);
        self.unreachable_tasks.retain(|_, task| task.slave_id.value != id.as_str());
        for task in message.tasks {
            let Some((key, task)) = self.fit_task(&id, task, &message.frameworks) else {
                continue;
            };
            let status = events::latest_status_of(&task, Reason::SlaveReregistered, text, self.wall());
            let status = mesos::TaskStatus { state: task.state, ..status };
            self.tell(&key.0, events::update(status));
            self.tasks.insert(key, task);
        }
        self.take_executors(&id, message.executor_infos, &message.frameworks);
        self.send(&from, &reregistered(&id));
        self.meet_frameworks(&from, message.frameworks);
    }

    /// Tells a slave what became of its frameworks; takes on those that this master has not met.
    fn meet_frameworks(&mut self, slave: &Pid, infos: Vec<FrameworkInfo>) {
        for info in infos {
            let Some(Ok(id)) = info.id.as_ref().map(FrameworkId::try_from) else {
                continue;
            };
            if self.is_completed(&id) {
                log::info!("framework {id} is over: telling {slave} to shut it down");
                self.send(slave, &ShutdownFrameworkMessage { framework_id: id.to_proto() });
            } else if let Some(framework) = self.frameworks.get(&id) {
                let update = update_framework(framework.info.clone(), &id);
                self.send(slave, &update);
            } else {
                self.recover_framework(id, info);
            }
        }
    }
}

fn reregistered(id: &SlaveId) -> SlaveReregisteredMessage {
    SlaveReregisteredMessage { slave_id: id.to_proto(), reconciliations: Vec::new(), connection: connection() }
}

/// The news about a framework for a slave; the empty pid is what an HTTP framework has (captured from Mesos 1.11).
pub(super) fn update_framework(info: FrameworkInfo, id: &FrameworkId) -> UpdateFrameworkMessage {
    UpdateFrameworkMessage { framework_id: id.to_proto(), pid: Some(super::NO_PID.into()), framework_info: Some(info) }
}
