//! Slaves that register again: after a restart, a broken connection, or a time in which they did not answer; or with another master
//! behind them. What both sides know of tasks and frameworks is brought together.

use std::collections::BTreeSet;

use super::core::{Action, Core, TaskKey};
use super::events;
use super::slaves::{Link, Newcomer, connection, key_of, version_suits};
use crate::ids::{ExecutorId, FrameworkId, SlaveId};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{self, SlaveInfo, Task};

impl Core {
    pub(super) fn reregister_slave(&mut self, from: Pid, message: ReregisterSlaveMessage) {
        if !version_suits(&from, message.version()) {
            return;
        }
        let id = message
            .slave
            .id
            .as_ref()
            .or(message.slave_id.as_ref())
            .map(SlaveId::try_from);
        let id = match id {
            Some(Ok(id)) => id,
            Some(Err(error)) => {
                return log::warn!(
                    "ignoring the re-registration of {from}: its slave id is invalid: {error}"
                );
            }
            None => {
                return log::warn!("ignoring the re-registration of {from}: it has no slave id");
            }
        };
        let known = self
            .slaves
            .get(&id)
            .map(|slave| (*slave.pid.address.ip(), slave.info.hostname.clone()));
        match known {
            Some(place) if place != (*from.address.ip(), message.slave.hostname.clone()) => {
                log::warn!(
                    "slave {id} came back as {} at {from}, which is another place: shutting it down",
                    message.slave.hostname
                );
                let text = "Agent attempted to reregister with different IP / hostname";
                self.send(
                    &from,
                    &ShutdownMessage {
                        message: Some(text.into()),
                    },
                );
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
        slave.pid = from.clone();
        slave.info = SlaveInfo {
            resources: super::accounts::normalized(&message.slave.resources),
            ..message.slave
        };
        slave.version = message.version.unwrap_or_default();
        slave.capabilities = message.agent_capabilities;
        slave.resource_version = message.resource_version_uuid;
        slave.link = Link::Up;
        let killed = slave.killed.clone();
        self.actions.push(Action::Link { to: from.clone() });
        let reconciliations = self.missing_tasks(&id, &message.tasks);
        self.send(
            &from,
            &SlaveReregisteredMessage {
                reconciliations,
                ..reregistered(&id)
            },
        );
        self.executors.retain(|(slave, framework, executor), _| {
            *slave != id
                || message
                    .executor_infos
                    .iter()
                    .any(|info| is_executor(info, framework, executor))
        });
        for task in message.tasks {
            let Some(key) = key_of(&task) else { continue };
            if killed.contains(&key) && !events::is_terminal(task.state()) {
                log::warn!("slave {id} still has task {} that is to be killed", key.1);
                let (framework_id, task_id) = (task.framework_id.clone(), task.task_id.clone());
                self.send(
                    &from,
                    &KillTaskMessage {
                        framework_id,
                        task_id,
                        kill_policy: None,
                    },
                );
            }
            // Its resources are in use, whatever the frameworks were told meanwhile.
            if !self.tasks.contains_key(&key) && !self.is_completed(&key.0) {
                self.tasks
                    .insert(key, super::accounts::normalized_task(task));
            }
        }
        self.meet_frameworks(&from, message.frameworks);
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
            let status = events::latest_status_of(
                task,
                Reason::Reconciliation,
                "Reconciliation request",
                self.wall(),
            );
            match all
                .last_mut()
                .filter(|last| last.framework_id == task.framework_id)
            {
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
            info: SlaveInfo {
                id: Some(id.to_proto()),
                ..message.slave
            },
            pid: from.clone(),
            version: message.version.unwrap_or_default(),
            capabilities: message.agent_capabilities,
            resource_version: message.resource_version_uuid,
        };
        self.add_slave(newcomer);
        self.unreachable_tasks
            .retain(|_, task| task.slave_id.value != id.as_str());
        for task in message.tasks {
            let Some(key) = key_of(&task).filter(|key| !self.is_completed(&key.0)) else {
                continue;
            };
            let task = super::accounts::normalized_task(task);
            let status =
                events::latest_status_of(&task, Reason::SlaveReregistered, text, self.wall());
            self.tell(
                &key.0,
                events::update(mesos::TaskStatus {
                    state: task.state,
                    ..status
                }),
            );
            self.tasks.insert(key, task);
        }
        for info in message.executor_infos {
            let framework = info.framework_id.as_ref().map(FrameworkId::try_from);
            if let (Some(Ok(framework)), Ok(executor)) =
                (framework, ExecutorId::try_from(&info.executor_id))
            {
                let info = super::accounts::normalized_executor(info);
                self.executors
                    .insert((id.clone(), framework, executor), info);
            }
        }
        self.send(&from, &reregistered(&id));
        self.meet_frameworks(&from, message.frameworks);
    }

    /// Tells a slave what became of its frameworks; takes on those that this master has not met.
    fn meet_frameworks(&mut self, slave: &Pid, infos: Vec<mesos::FrameworkInfo>) {
        for info in infos {
            let Some(Ok(id)) = info.id.as_ref().map(FrameworkId::try_from) else {
                continue;
            };
            if self.is_completed(&id) {
                log::info!("framework {id} is over: telling {slave} to shut it down");
                self.send(
                    slave,
                    &ShutdownFrameworkMessage {
                        framework_id: id.to_proto(),
                    },
                );
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
    SlaveReregisteredMessage {
        slave_id: id.to_proto(),
        reconciliations: Vec::new(),
        connection: connection(),
    }
}

fn is_executor(info: &mesos::ExecutorInfo, framework: &FrameworkId, executor: &ExecutorId) -> bool {
    info.executor_id.value == executor.as_str()
        && info
            .framework_id
            .as_ref()
            .is_some_and(|id| id.value == framework.as_str())
}

/// The news about a framework for a slave; the empty pid is what an HTTP framework has (captured from Mesos 1.11).
pub(super) fn update_framework(
    info: mesos::FrameworkInfo,
    id: &FrameworkId,
) -> UpdateFrameworkMessage {
    UpdateFrameworkMessage {
        framework_id: id.to_proto(),
        pid: Some(super::NO_PID.into()),
        framework_info: Some(info),
    }
}
