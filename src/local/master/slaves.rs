//! The slaves: registration, pings, loss and return.
//!
//! ```text
//!   RegisterSlave ─► Connected ──(link breaks)──► Disconnected ──(10 min)──► lost
//!                     ▲   │                            │
//!                     │   └──(5 pings unanswered)──────┼──► lost: tasks UNREACHABLE or LOST, FAILURE to all
//!                     └────── ReregisterSlave ─────────┘
//! ```
//!
//! A slave is pinged every 15 s by an observer of its own, `slave-observer(N)`; the ping says whether the master holds it for
//! connected, which is how a slave learns that it should register again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use prost::{Message, Name};

use super::core::{Action, Core, TaskKey};
use super::events;
use super::losing::Removal;
use crate::ids::{ExecutorId, FrameworkId, SlaveId, TaskId};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::{self, SlaveInfo, Task, slave_info};
use crate::messages::{self};

/// Time between two pings (`DEFAULT_AGENT_PING_TIMEOUT`).
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered pings after which a slave is lost (`DEFAULT_MAX_AGENT_PING_TIMEOUTS`).
pub(super) const MAX_MISSED_PINGS: u32 = 5;

/// Whether the master has a connection to a slave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Down { lost_at: Instant },
}

/// Who pings a slave.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) id: String,
    pub(super) next: Instant,
    pub(super) awaiting: bool,
    pub(super) missed: u32,
}

/// A registered slave.
#[derive(Debug)]
pub(super) struct Slave {
    pub(super) info: SlaveInfo,
    pub(super) pid: Pid,
    pub(super) version: String,
    pub(super) capabilities: Vec<slave_info::Capability>,
    pub(super) resource_version: Option<mesos::Uuid>,
    pub(super) link: Link,
    /// Tasks that were to be killed, in case the slave did not hear of it.
    pub(super) killed: BTreeSet<TaskKey>,
    /// Seconds since the epoch.
    pub(super) registered: f64,
    pub(super) observer: Observer,
}

impl Slave {
    pub(super) fn is_connected(&self) -> bool {
        self.link == Link::Up
    }

    pub(super) fn deadline(&self) -> Instant {
        match self.link {
            Link::Up => self.observer.next,
            Link::Down { lost_at } => self.observer.next.min(lost_at),
        }
    }

    pub(super) fn has(&self, capability: slave_info::capability::Type) -> bool {
        self.capabilities.iter().any(|one| one.r#type() == capability)
    }
}

/// What registration and re-registration have in common.
pub(super) struct Newcomer {
    pub(super) id: SlaveId,
    pub(super) info: SlaveInfo,
    pub(super) pid: Pid,
    pub(super) version: String,
    pub(super) capabilities: Vec<slave_info::Capability>,
    pub(super) resource_version: Option<mesos::Uuid>,
}

impl Core {
    /// Reads a message that came for the master or an observer of its.
    pub(super) fn slave_message(&mut self, from: &Pid, to: &str, name: &str, body: &[u8]) {
        let handled = match name {
            name if name == RegisterSlaveMessage::full_name() => {
                read(body).map(|m| self.register_slave(from.clone(), m))
            }
            name if name == ReregisterSlaveMessage::full_name() => {
                read(body).map(|m| self.reregister_slave(from.clone(), m))
            }
            name if name == UnregisterSlaveMessage::full_name() => read(body).map(|m| self.unregister_slave(from, &m)),
            name if name == PongSlaveMessage::full_name() => read(body).map(|_: PongSlaveMessage| self.pong(to)),
            name if name == UpdateSlaveMessage::full_name() => read(body).map(|m| self.update_slave(m)),
            name if name == StatusUpdateMessage::full_name() => read(body).map(|m| self.status_update(m)),
            name if name == ExitedExecutorMessage::full_name() => read(body).map(|m| self.exited_executor(m)),
            name if name == ExecutorToFrameworkMessage::full_name() => read(body).map(|m| self.executor_message(m)),
            _ => {
                return log::info!("ignoring {name} from {from}: the embedded master has no use for it");
            }
        };
        if let Err(error) = handled {
            log::warn!("ignoring {name} from {from}: {error}");
        }
    }

    fn register_slave(&mut self, from: Pid, message: RegisterSlaveMessage) {
        if !may_register(&from, message.version(), &message.slave) {
            return;
        }
        if let Some((id, slave)) = self.slaves.iter().find(|(_, slave)| slave.pid == from) {
            let id = id.clone();
            if slave.is_connected() {
                log::info!("slave {id} at {from} is registered already: sending the answer again");
                return self.send(&from, &registered(&id));
            }
            self.remove_slave(&id, "a new agent registered at the same address", Removal::Gone);
        }
        let number = self.next_slave;
        let Ok(id) = SlaveId::new(format!("{}-S{number}", self.identity.id)) else {
            return;
        };
        self.next_slave += 1;
        let info = SlaveInfo { id: Some(id.to_proto()), ..message.slave };
        let newcomer = Newcomer {
            id: id.clone(),
            info,
            pid: from.clone(),
            version: message.version.unwrap_or_default(),
            capabilities: message.agent_capabilities,
            resource_version: message.resource_version_uuid,
        };
        self.add_slave(newcomer);
        self.send(&from, &registered(&id));
    }

    pub(super) fn add_slave(&mut self, newcomer: Newcomer) {
        let Newcomer { id, mut info, pid, version, capabilities, resource_version } = newcomer;
        info.resources = super::accounts::normalized(&info.resources);
        log::info!(
            "slave {id} at {pid} ({}) registered, with {}",
            info.hostname,
            super::accounts::text(&info.resources)
        );
        let observer = Observer {
            id: format!("slave-observer({})", self.next_observer),
            next: self.now,
            awaiting: false,
            missed: 0,
        };
        self.next_observer += 1;
        self.unreachable_slaves.remove(&id);
        self.actions.push(Action::Link { to: pid.clone() });
        let slave = Slave {
            info,
            pid,
            version,
            capabilities,
            resource_version,
            link: Link::Up,
            killed: BTreeSet::new(),
            registered: self.wall(),
            observer,
        };
        self.slaves.insert(id, slave);
    }

    fn unregister_slave(&mut self, from: &Pid, message: &UnregisterSlaveMessage) {
        match SlaveId::try_from(&message.slave_id).ok().and_then(|id| self.slaves.get_key_value(&id)) {
            Some((id, slave)) if slave.pid == *from => {
                let id = id.clone();
                self.remove_slave(&id, "the agent unregistered", Removal::Gone);
            }
            _ => log::warn!("ignoring UnregisterSlaveMessage from {from}: it is not that of a registered slave"),
        }
    }

    fn update_slave(&mut self, message: UpdateSlaveMessage) {
        let Some(slave) = SlaveId::try_from(&message.slave_id).ok().and_then(|id| self.slaves.get_mut(&id)) else {
            return;
        };
        if message.resource_version_uuid.is_some() {
            slave.resource_version = message.resource_version_uuid;
        }
    }

    fn pong(&mut self, observer: &str) {
        if let Some(slave) = self.slaves.values_mut().find(|slave| slave.observer.id == observer) {
            slave.observer.awaiting = false;
            slave.observer.missed = 0;
        }
    }

    fn exited_executor(&mut self, message: ExitedExecutorMessage) {
        let ids = (SlaveId::try_from(&message.slave_id), FrameworkId::try_from(&message.framework_id));
        let (Ok(slave), Ok(framework)) = ids else {
            return;
        };
        let Ok(executor) = ExecutorId::try_from(&message.executor_id) else {
            return;
        };
        if self.executors.remove(&(slave, framework.clone(), executor.clone())).is_none() {
            // That of a command task: the slave's matter, its end is in the task's last update.
            return log::debug!("executor {executor} of framework {framework} ended, which this master did not track");
        }
        log::info!("executor {executor} of framework {framework} ended with wait status {}", message.status);
        self.tell(&framework, events::executor_failure(message.slave_id, message.executor_id, message.status));
    }

    fn executor_message(&mut self, message: ExecutorToFrameworkMessage) {
        let known = SlaveId::try_from(&message.slave_id).is_ok_and(|id| self.slaves.contains_key(&id));
        if let (true, Ok(framework)) = (known, FrameworkId::try_from(&message.framework_id)) {
            self.tell(&framework, events::message(message.slave_id, message.executor_id, message.data));
        }
    }
}

/// A task's key, if its ids are fit to be used.
pub(super) fn key_of(task: &Task) -> Option<TaskKey> {
    match (FrameworkId::try_from(&task.framework_id), TaskId::try_from(&task.task_id)) {
        (Ok(framework), Ok(id)) => Some((framework, id)),
        _ => None,
    }
}

pub(super) fn on(task: &Task, slave: &SlaveId) -> bool {
    task.slave_id.value == slave.as_str()
}

fn read<M: Message + Name + Default>(body: &[u8]) -> Result<M, String> {
    messages::decode::<M>(body).map_err(|error| error.to_string())
}

pub(super) fn connection() -> Option<MasterSlaveConnection> {
    let timeout = PING_INTERVAL * MAX_MISSED_PINGS;
    Some(MasterSlaveConnection { total_ping_timeout_seconds: Some(timeout.as_secs_f64()) })
}

fn registered(id: &SlaveId) -> SlaveRegisteredMessage {
    SlaveRegisteredMessage { slave_id: id.to_proto(), connection: connection() }
}

/// Whether a slave may register: Mesos' master ignores those that are older than 1.0.0 (`MINIMUM_AGENT_VERSION`), and those whose
/// resources are none.
pub(super) fn may_register(from: &Pid, version: &str, slave: &SlaveInfo) -> bool {
    if let Err(error) = super::accounts::check(&slave.resources) {
        log::warn!("ignoring the slave at {from}: {error}");
        return false;
    }
    let major = version.split('.').next();
    match major.and_then(|major| major.parse::<u32>().ok()) {
        Some(1..) => return true,
        Some(0) => log::warn!("ignoring the slave at {from}: its version is {version}, at least 1.0.0 is needed"),
        None => log::warn!("ignoring the slave at {from}: {version:?} is no version"),
    }
    false
}
