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
use crate::ids::{ExecutorId, FrameworkId, SlaveId, TaskId};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{self, SlaveInfo, Task, TaskState, slave_info};
use crate::messages::{self};

/// Time between two pings (`DEFAULT_AGENT_PING_TIMEOUT`).
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered pings after which a slave is lost (`DEFAULT_MAX_AGENT_PING_TIMEOUTS`).
pub(super) const MAX_MISSED_PINGS: u32 = 5;
/// How long a slave whose connection broke may take to register again (`MIN_AGENT_REREGISTER_TIMEOUT`).
const REREGISTER_TIMEOUT: Duration = Duration::from_secs(600);
/// How many lost slaves are remembered.
const MAX_UNREACHABLE: usize = 1000;

/// Whether the master has a connection to a slave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Down { lost_at: Instant },
}

/// Who pings a slave.
#[derive(Debug)]
struct Observer {
    id: String,
    next: Instant,
    awaiting: bool,
    missed: u32,
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
    observer: Observer,
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
struct Newcomer {
    id: SlaveId,
    info: SlaveInfo,
    pid: Pid,
    version: String,
    capabilities: Vec<slave_info::Capability>,
    resource_version: Option<mesos::Uuid>,
}

impl Core {
    /// Reads a message that came for the master or an observer of its.
    pub(super) fn slave_message(&mut self, from: &Pid, to: &str, name: &str, body: &[u8]) {
        let handled = match name {
            name if name == RegisterSlaveMessage::full_name() => read(body).map(|m| self.register_slave(from.clone(), m)),
            name if name == ReregisterSlaveMessage::full_name() => read(body).map(|m| self.reregister_slave(from.clone(), m)),
            name if name == UnregisterSlaveMessage::full_name() => read(body).map(|m| self.unregister_slave(from, &m)),
            name if name == PongSlaveMessage::full_name() => read(body).map(|_: PongSlaveMessage| self.pong(to)),
            name if name == UpdateSlaveMessage::full_name() => read(body).map(|m| self.update_slave(m)),
            name if name == StatusUpdateMessage::full_name() => read(body).map(|m| self.status_update(m)),
            name if name == ExitedExecutorMessage::full_name() => read(body).map(|m| self.exited_executor(m)),
            name if name == ExecutorToFrameworkMessage::full_name() => read(body).map(|m| self.executor_message(m)),
            _ => return log::info!("ignoring {name} from {from}: the embedded master has no use for it"),
        };
        if let Err(error) = handled {
            log::warn!("ignoring {name} from {from}: {error}");
        }
    }

    fn register_slave(&mut self, from: Pid, message: RegisterSlaveMessage) {
        if !version_suits(&from, message.version()) {
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
        let Ok(id) = SlaveId::new(format!("{}-S{number}", self.identity.id)) else { return };
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

    fn add_slave(&mut self, newcomer: Newcomer) {
        let Newcomer { id, mut info, pid, version, capabilities, resource_version } = newcomer;
        info.resources = super::accounts::normalized(&info.resources);
        log::info!("slave {id} at {pid} ({}) registered, with {}", info.hostname, super::accounts::text(&info.resources));
        let observer =
            Observer { id: format!("slave-observer({})", self.next_observer), next: self.now, awaiting: false, missed: 0 };
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

    fn reregister_slave(&mut self, from: Pid, message: ReregisterSlaveMessage) {
        if !version_suits(&from, message.version()) {
            return;
        }
        let id = message.slave.id.as_ref().or(message.slave_id.as_ref()).map(SlaveId::try_from);
        let id = match id {
            Some(Ok(id)) => id,
            Some(Err(error)) => return log::warn!("ignoring the re-registration of {from}: its slave id is invalid: {error}"),
            None => return log::warn!("ignoring the re-registration of {from}: it has no slave id"),
        };
        let known = self.slaves.get(&id).map(|slave| (*slave.pid.address.ip(), slave.info.hostname.clone()));
        match known {
            Some(place) if place != (*from.address.ip(), message.slave.hostname.clone()) => {
                log::warn!("slave {id} came back as {} at {from}, which is another place: shutting it down", message.slave.hostname);
                let text = "Agent attempted to reregister with different IP / hostname";
                self.send(&from, &ShutdownMessage { message: Some(text.into()) });
            }
            Some(_) => self.welcome_known(id, from, message),
            None => self.welcome_back(id, from, message),
        }
    }

    /// The slave was never lost: it restarted, or its connection broke.
    fn welcome_known(&mut self, id: SlaveId, from: Pid, message: ReregisterSlaveMessage) {
        let Some(slave) = self.slaves.get_mut(&id) else { return };
        log::info!("slave {id} at {from} registered again");
        slave.pid = from.clone();
        slave.info = SlaveInfo { resources: super::accounts::normalized(&message.slave.resources), ..message.slave };
        slave.version = message.version.unwrap_or_default();
        slave.capabilities = message.agent_capabilities;
        slave.resource_version = message.resource_version_uuid;
        slave.link = Link::Up;
        let killed = slave.killed.clone();
        self.actions.push(Action::Link { to: from.clone() });
        let reconciliations = self.missing_tasks(&id, &message.tasks);
        self.send(&from, &SlaveReregisteredMessage { reconciliations, ..reregistered(&id) });
        self.executors.retain(|(slave, framework, executor), _| {
            *slave != id || message.executor_infos.iter().any(|info| is_executor(info, framework, executor))
        });
        for task in message.tasks {
            let Some(key) = key_of(&task) else { continue };
            if killed.contains(&key) && !events::is_terminal(task.state()) {
                log::warn!("slave {id} still has task {} that is to be killed", key.1);
                let (framework_id, task_id) = (task.framework_id.clone(), task.task_id.clone());
                self.send(&from, &KillTaskMessage { framework_id, task_id, kill_policy: None });
            }
            // Its resources are in use, whatever the frameworks were told meanwhile.
            if !self.tasks.contains_key(&key) && !self.is_completed(&key.0) {
                self.tasks.insert(key, super::accounts::normalized_task(task));
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
            let Some(framework) = self.frameworks.get(&key.0) else { continue };
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
            let Some(key) = key_of(&task).filter(|key| !self.is_completed(&key.0)) else { continue };
            let task = super::accounts::normalized_task(task);
            let status = events::latest_status_of(&task, Reason::SlaveReregistered, text, self.wall());
            self.tell(&key.0, events::update(mesos::TaskStatus { state: task.state, ..status }));
            self.tasks.insert(key, task);
        }
        for info in message.executor_infos {
            let framework = info.framework_id.as_ref().map(FrameworkId::try_from);
            if let (Some(Ok(framework)), Ok(executor)) = (framework, ExecutorId::try_from(&info.executor_id)) {
                let info = super::accounts::normalized_executor(info);
                self.executors.insert((id.clone(), framework, executor), info);
            }
        }
        self.send(&from, &reregistered(&id));
        self.meet_frameworks(&from, message.frameworks);
    }

    /// Tells a slave what became of its frameworks; takes on those that this master has not met.
    fn meet_frameworks(&mut self, slave: &Pid, infos: Vec<mesos::FrameworkInfo>) {
        for info in infos {
            let Some(Ok(id)) = info.id.as_ref().map(FrameworkId::try_from) else { continue };
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
        let Some(slave) = SlaveId::try_from(&message.slave_id).ok().and_then(|id| self.slaves.get_mut(&id)) else { return };
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

    pub(super) fn slave_exited(&mut self, pid: &Pid) {
        let lost_at = self.now + REREGISTER_TIMEOUT;
        let Some((id, slave)) = self.slaves.iter_mut().find(|(_, slave)| slave.pid == *pid && slave.is_connected()) else { return };
        log::info!("slave {id} at {pid} disconnected");
        slave.link = Link::Down { lost_at };
        let (id, hostname) = (id.clone(), slave.info.hostname.clone());
        self.rescind_offers(|offer| offer.slave == id);
        // Nothing of a framework that does not checkpoint outlives its slave.
        let text = format!("Agent {hostname} disconnected");
        let frameworks = &self.frameworks;
        let checkpoints = |id: &FrameworkId| frameworks.get(id).is_some_and(|framework| framework.info.checkpoint());
        let doomed: Vec<TaskKey> =
            self.tasks.iter().filter(|(key, task)| on(task, &id) && !checkpoints(&key.0)).map(|(key, _)| key.clone()).collect();
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
        let Some(slave) = self.slaves.get_mut(id) else { return };
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
        let Some(slave) = self.slaves.get(id) else { return };
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
        let keys: Vec<TaskKey> = self.tasks.iter().filter(|(_, task)| on(task, id)).map(|(key, _)| key.clone()).collect();
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
        let connected: Vec<FrameworkId> =
            self.frameworks.iter().filter(|(_, framework)| framework.peer().is_some()).map(|(id, _)| id.clone()).collect();
        for framework in connected {
            self.tell(&framework, events::slave_failure(id.to_proto()));
        }
    }

    fn exited_executor(&mut self, message: ExitedExecutorMessage) {
        let ids = (SlaveId::try_from(&message.slave_id), FrameworkId::try_from(&message.framework_id));
        let (Ok(slave), Ok(framework)) = ids else { return };
        let Ok(executor) = ExecutorId::try_from(&message.executor_id) else { return };
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

/// How a slave leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// It does not answer; its tasks may still run.
    Unreachable,
    /// It said so, or another took its place.
    Gone,
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

/// The news about a framework for a slave; the empty pid is what an HTTP framework has (captured from Mesos 1.11).
pub(super) fn update_framework(info: mesos::FrameworkInfo, id: &FrameworkId) -> UpdateFrameworkMessage {
    UpdateFrameworkMessage { framework_id: id.to_proto(), pid: Some(super::NO_PID.into()), framework_info: Some(info) }
}

fn is_executor(info: &mesos::ExecutorInfo, framework: &FrameworkId, executor: &ExecutorId) -> bool {
    info.executor_id.value == executor.as_str() && info.framework_id.as_ref().is_some_and(|id| id.value == framework.as_str())
}

fn read<M: Message + Name + Default>(body: &[u8]) -> Result<M, String> {
    messages::decode::<M>(body).map_err(|error| error.to_string())
}

fn connection() -> Option<MasterSlaveConnection> {
    let timeout = PING_INTERVAL * MAX_MISSED_PINGS;
    Some(MasterSlaveConnection { total_ping_timeout_seconds: Some(timeout.as_secs_f64()) })
}

fn registered(id: &SlaveId) -> SlaveRegisteredMessage {
    SlaveRegisteredMessage { slave_id: id.to_proto(), connection: connection() }
}

fn reregistered(id: &SlaveId) -> SlaveReregisteredMessage {
    SlaveReregisteredMessage { slave_id: id.to_proto(), reconciliations: Vec::new(), connection: connection() }
}

/// Mesos' master ignores slaves older than 1.0.0 (`MINIMUM_AGENT_VERSION`).
fn version_suits(from: &Pid, version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= 1 => return true,
        Some(_) => log::warn!("ignoring the slave at {from}: its version is {version}, at least 1.0.0 is needed"),
        None => log::warn!("ignoring the slave at {from}: {version:?} is no version"),
    }
    false
}
