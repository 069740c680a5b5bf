//! Slaves that go: their connection breaks, they do not answer, they do not come back, they say so.

use std::time::Duration;

use super::core::{Action, Core, TaskKey};
use super::events;
use super::slaves::{Link, MAX_MISSED_PINGS, PING_INTERVAL, on};
use crate::ids::{FrameworkId, SlaveId};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::TaskState;
use crate::messages::mesos::internal::PingSlaveMessage;
use crate::messages::mesos::task_status::Reason;

/// How long a slave whose connection broke may take to register again (`MIN_AGENT_REREGISTER_TIMEOUT`).
const REREGISTER_TIMEOUT: Duration = Duration::from_secs(600);
/// How many lost slaves are remembered.
const MAX_UNREACHABLE: usize = 1000;

/// How a slave leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// It does not answer; its tasks may still run.
    Unreachable,
    /// It said so, or another took its place.
    Gone,
}

impl Core {
    pub(super) fn slave_exited(&mut self, pid: &Pid) {
        let lost_at = self.now + REREGISTER_TIMEOUT;
        let Some((id, slave)) = self.slaves.iter_mut().find(|(_, slave)| slave.pid == *pid && slave.is_connected())
        else {
            return;
        };
        log::info!("slave {id} at {pid} disconnected");
        slave.link = Link::Down { lost_at };
        let (id, hostname) = (id.clone(), slave.info.hostname.clone());
        self.rescind_offers(|offer| offer.slave == id);
        // Nothing of a framework that does not checkpoint outlives its slave.
        let text = format!("Agent {hostname} disconnected");
        let frameworks = &self.frameworks;
        let checkpoints = |id: &FrameworkId| frameworks.get(id).is_some_and(|framework| framework.info.checkpoint());
        let doomed: Vec<TaskKey> = self
            .tasks
            .iter()
            .filter(|(key, task)| on(task, &id) && !checkpoints(&key.0))
            .map(|(key, _)| key.clone())
            .collect();
        self.executors.retain(|(slave, framework, _), _| *slave != id || checkpoints(framework));
        for key in doomed {
            self.end_task(&key, TaskState::TaskLost, Reason::SlaveDisconnected, &text, true);
        }
    }

    /// Sends the pings that are due, and gives up slaves that did not answer or did not come back.
    pub(super) fn expire_slaves(&mut self) {
        let due: Vec<SlaveId> =
            self.slaves.iter().filter(|(_, slave)| slave.deadline() <= self.now).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.expire_slave(&id);
        }
    }

    fn expire_slave(&mut self, id: &SlaveId) {
        let now = self.now;
        let Some(slave) = self.slaves.get_mut(id) else {
            return;
        };
        if let Link::Down { lost_at } = slave.link
            && lost_at <= now
        {
            let text = "agent did not reregister within 10mins after disconnecting";
            return self.remove_slave(id, text, Removal::Unreachable);
        }
        let observer = &mut slave.observer;
        observer.missed += u32::from(observer.awaiting);
        if observer.missed >= MAX_MISSED_PINGS {
            return self.remove_slave(id, "health check timed out", Removal::Unreachable);
        }
        observer.awaiting = true;
        observer.next = now + PING_INTERVAL;
        let (from, to, connected) = (observer.id.clone(), slave.pid.clone(), slave.is_connected());
        self.send_from(&from, &to, &PingSlaveMessage { connected });
    }

    /// Ends a slave's registration: its tasks, executors and offers go, and every framework hears of it.
    pub(super) fn remove_slave(&mut self, id: &SlaveId, why: &str, removal: Removal) {
        let Some(slave) = self.slaves.get(id) else {
            return;
        };
        log::info!("removing slave {id} at {}: {why}", slave.pid);
        let (pid, hostname) = (slave.pid.clone(), slave.info.hostname.clone());
        let text = match removal {
            Removal::Unreachable => why.to_owned(),
            Removal::Gone => format!("Agent {hostname} removed: {why}"),
        };
        if removal == Removal::Unreachable {
            let wall = self.wall();
            self.unreachable_slaves.insert(id.clone(), wall);
            while self.unreachable_slaves.len() > MAX_UNREACHABLE {
                self.unreachable_slaves.pop_first();
            }
        }
        let keys: Vec<TaskKey> =
            self.tasks.iter().filter(|(_, task)| on(task, id)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let state = match removal == Removal::Unreachable && self.is_partition_aware(&key.0) {
                true => TaskState::TaskUnreachable,
                false => TaskState::TaskLost,
            };
            self.end_task(&key, state, Reason::SlaveRemoved, &text, true);
        }
        self.executors.retain(|(slave, ..), _| slave != id);
        self.rescind_offers(|offer| offer.slave == *id);
        self.slaves.remove(id);
        self.actions.push(Action::Unlink { to: pid });
        let connected: Vec<FrameworkId> = self
            .frameworks
            .iter()
            .filter(|(_, framework)| framework.peer().is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for framework in connected {
            self.tell(&framework, events::slave_failure(id.to_proto()));
        }
    }
}
