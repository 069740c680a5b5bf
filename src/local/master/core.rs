//! The embedded master's core: it decides, does no I/O and reads no clock.
//!
//! ```text
//!   slaves ──── Message, Exited ────►┌──────┐──► Send, Link
//!                                    │ Core │
//!   schedulers ─ Subscribe, Call, ──►│      │──► Answer, Open, Event, Close
//!                Closed              └──────┘
//!   the clock ── Tick                    └────► deadline()
//! ```
//!
//! Each room is an `impl Core` over the part of the state that it is named for: `slaves` (`losing`, `returning`), `frameworks`
//! (`calling`), `offers`, `tasks` (`launching`, `reconciling`). Whatever an event was, resources that are free afterwards are offered before `handle` returns.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::Instant;

use prost::{Message, Name};

use super::frameworks::{Completed, Framework};
use super::offers::Offer;
use super::slaves::Slave;
use crate::ids::{ExecutorId, FrameworkId, SlaveId, TaskId};
use crate::libprocess::pid::Pid;
use crate::messages::mesos::scheduler::{self, Call, call};
use crate::messages::mesos::{self, Task};
use crate::poll::earlier;

/// A scheduler's HTTP connection, named by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(pub u64);

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// A libprocess message, to `master` or to one of its observers.
    Message { from: Pid, to: String, name: String, body: Vec<u8> },
    /// A linked slave's connection broke.
    Exited { pid: Pid },
    /// A scheduler subscribes; `stream_id` is a fresh random UUID for its stream.
    Subscribe { peer: Peer, subscribe: Box<call::Subscribe>, stream_id: String },
    /// Any other call of a scheduler, with its `Mesos-Stream-Id`.
    Call { peer: Peer, stream_id: Option<String>, call: Box<Call> },
    /// The connection of a scheduler's stream is gone.
    Closed { peer: Peer },
    /// The deadline has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// A libprocess message from `master` or one of its observers.
    Send { from: String, to: Pid, name: String, body: Vec<u8> },
    /// Report when the connection to this slave breaks.
    Link { to: Pid },
    /// Forget this slave's connection.
    Unlink { to: Pid },
    /// An answer without a stream: status and plain text.
    Answer { peer: Peer, status: u16, text: String },
    /// The answer to SUBSCRIBE: a stream, of which events follow.
    Open { peer: Peer, stream_id: String },
    /// One event on an open stream.
    Event { peer: Peer, event: Box<scheduler::Event> },
    /// The end of a stream.
    Close { peer: Peer },
}

/// Who this master is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// A random UUID; all ids that the master gives out begin with it.
    pub id: String,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Name of this host, for people.
    pub hostname: String,
    /// When it started, by the clock of `handle`.
    pub started: Instant,
    /// The same in seconds since the epoch: timestamps are reckoned from it.
    pub started_wall: f64,
}

/// A task's name among all frameworks.
pub(super) type TaskKey = (FrameworkId, TaskId);
/// An executor's name among all slaves.
pub(super) type ExecutorKey = (SlaveId, FrameworkId, ExecutorId);

/// The embedded master's whole state.
#[derive(Debug)]
pub struct Core {
    pub(super) identity: Identity,
    pub(super) now: Instant,
    pub(super) slaves: BTreeMap<SlaveId, Slave>,
    pub(super) frameworks: BTreeMap<FrameworkId, Framework>,
    /// Frameworks that are over, the oldest first.
    pub(super) completed: VecDeque<Completed>,
    /// Tasks on registered slaves, until their terminal update is acknowledged.
    pub(super) tasks: BTreeMap<TaskKey, Task>,
    /// Tasks of partition-aware frameworks on slaves that were lost.
    pub(super) unreachable_tasks: BTreeMap<TaskKey, Task>,
    /// When each lost slave was lost, in seconds since the epoch.
    pub(super) unreachable_slaves: BTreeMap<SlaveId, f64>,
    /// Custom executors; that of a command task is the slave's matter.
    pub(super) executors: BTreeMap<ExecutorKey, mesos::ExecutorInfo>,
    pub(super) offers: BTreeMap<String, Offer>,
    /// Who had the last offer: the next one goes to the one after it.
    pub(super) last_offered: Option<FrameworkId>,
    pub(super) next_slave: u64,
    pub(super) next_framework: u64,
    pub(super) next_offer: u64,
    pub(super) next_observer: u64,
    pub(super) actions: Vec<Action>,
}

impl Core {
    /// A master that knows nobody yet.
    pub fn new(identity: Identity) -> Core {
        Core {
            now: identity.started,
            identity,
            slaves: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            completed: VecDeque::new(),
            tasks: BTreeMap::new(),
            unreachable_tasks: BTreeMap::new(),
            unreachable_slaves: BTreeMap::new(),
            executors: BTreeMap::new(),
            offers: BTreeMap::new(),
            last_offered: None,
            next_slave: 0,
            next_framework: 0,
            next_offer: 0,
            next_observer: 1,
            actions: Vec::new(),
        }
    }

    /// Takes an event, gives what is to be done, in order.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Message { from, to, name, body } => self.slave_message(&from, &to, &name, &body),
            Event::Exited { pid } => self.slave_exited(&pid),
            Event::Subscribe { peer, subscribe, stream_id } => self.subscribe(peer, *subscribe, stream_id),
            Event::Call { peer, stream_id, call } => self.call(peer, stream_id.as_deref(), *call),
            Event::Closed { peer } => self.scheduler_gone(peer),
            Event::Tick => {}
        }
        self.expire_slaves();
        self.expire_frameworks();
        self.make_offers();
        std::mem::take(&mut self.actions)
    }

    /// When `handle` wants to be called with a [`Event::Tick`].
    pub fn deadline(&self) -> Option<Instant> {
        let slaves = self.slaves.values().map(Slave::deadline);
        let frameworks = self.frameworks.values().flat_map(Framework::deadlines);
        slaves.chain(frameworks).fold(None, |earliest, one| earlier(earliest, Some(one)))
    }

    /// Now, in seconds since the epoch.
    pub(super) fn wall(&self) -> f64 {
        self.identity.started_wall + self.now.saturating_duration_since(self.identity.started).as_secs_f64()
    }

    pub(super) fn send<M: Message + Name>(&mut self, to: &Pid, message: &M) {
        self.send_from("master", to, message);
    }

    pub(super) fn send_from<M: Message + Name>(&mut self, from: &str, to: &Pid, message: &M) {
        let action =
            Action::Send { from: from.into(), to: to.clone(), name: M::full_name(), body: message.encode_to_vec() };
        self.actions.push(action);
    }

    pub(super) fn event(&mut self, peer: Peer, event: scheduler::Event) {
        self.actions.push(Action::Event { peer, event: Box::new(event) });
    }

    /// Sends an event to a framework; lost, as in Mesos, when its scheduler is not there.
    pub(super) fn tell(&mut self, framework: &FrameworkId, event: scheduler::Event) {
        match self.frameworks.get(framework).and_then(Framework::peer) {
            Some(peer) => self.event(peer, event),
            None => log::info!("framework {framework} is not connected: dropping its {:?} event", event.r#type()),
        }
    }

    /// The master as frameworks and people see it.
    pub(super) fn info(&self) -> mesos::MasterInfo {
        use mesos::master_info::{Capability, capability};
        let address = self.identity.address;
        mesos::MasterInfo {
            id: self.identity.id.clone(),
            // Network byte order, read as a number of the host's.
            ip: u32::from_ne_bytes(address.ip().octets()),
            port: address.port().into(),
            pid: Some(format!("master@{address}")),
            hostname: Some(self.identity.hostname.clone()),
            version: Some(super::VERSION.into()),
            address: Some(mesos::Address {
                hostname: Some(self.identity.hostname.clone()),
                ip: Some(address.ip().to_string()),
                port: address.port().into(),
            }),
            // Mesos' master can also drain agents and keep quotas; this one cannot, and does not say so.
            capabilities: vec![Capability { r#type: Some(capability::Type::AgentUpdate as i32) }],
            ..Default::default()
        }
    }
}
