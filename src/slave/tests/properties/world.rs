//! What the model knows: the master and its schedulers, the children, and what has to become of every update.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::super::pid;
use crate::ids::ContainerId;
use crate::libprocess::Pid;
use crate::messages::mesos;
use crate::messages::mesos::TaskState;
use crate::random::Random;
use crate::resources::scalar;
use crate::slave::{Config, Now, Slave};

/// A framework's id and a task's: what names a stream.
pub type Key = (String, String);

/// How many frameworks live at a time, and how many ids their tasks have.
pub const FRAMEWORKS: u8 = 3;
pub const TASKS: u8 = 4;

/// What the slave has, in thousandths of a CPU.
pub const CPUS: u32 = 2000;

/// A container, from its launch on, for ever.
#[derive(Debug)]
pub struct Container {
    pub key: Key,
    /// Thousandths.
    pub cpus: u32,
    /// Its child has not been reported gone.
    pub alive: bool,
    /// The slave has asked for its end.
    pub told: bool,
    /// What the child has reported, in order.
    pub reported: Vec<mesos::TaskStatus>,
    /// The newest state that counts.
    pub state: TaskState,
    /// The task has a terminal state, by the child's word or by the slave's.
    pub ended: bool,
    /// That state has been acknowledged.
    pub acknowledged: bool,
    /// Terminal updates of it that were sent, repetitions aside.
    pub terminals: usize,
}

/// An update that waits for its acknowledgement.
#[derive(Debug)]
pub struct Waiting {
    pub uuid: Vec<u8>,
    pub terminal: bool,
    /// When it was last sent, and how long the slave has to wait now.
    pub sent: Option<(Instant, Duration)>,
}

/// The updates of one task.
#[derive(Debug, Default)]
pub struct Stream {
    /// The first is the outstanding one.
    pub queue: VecDeque<Waiting>,
    /// The slave owes an update of its own making behind these.
    pub owed: bool,
    /// It may make one.
    pub allowed: bool,
    /// All uuids that children have reported and that count.
    pub reported: Vec<Vec<u8>>,
    /// All uuids that a master has received, each once, those of the slave's own making aside.
    pub received: Vec<Vec<u8>>,
}

/// A registration that reached the master.
#[derive(Debug, Clone)]
pub enum Question {
    /// Of a slave without an id.
    New,
    /// Of one with an id: tasks that the master has and the slave did not list.
    Again(Vec<Key>),
}

/// The master that leads.
#[derive(Debug)]
pub struct Master {
    pub pid: Option<Pid>,
    /// Messages reach it.
    pub up: bool,
    /// It has taken the slave in.
    pub knows: bool,
    /// A registration that it has not answered.
    pub asked: Option<Question>,
    /// The last that it has answered.
    pub answered: Option<Question>,
    /// The tasks that it believes to be on the slave.
    pub tasks: BTreeSet<Key>,
}

/// What the sequences came by, to know that they go everywhere.
#[derive(Debug, Default)]
pub struct Seen {
    pub launches: usize,
    pub updates: usize,
    pub resent: usize,
    pub kills: usize,
    pub registrations: usize,
    pub reconciled: usize,
    pub exits: usize,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        self.launches += other.launches;
        self.updates += other.updates;
        self.resent += other.resent;
        self.kills += other.kills;
        self.registrations += other.registrations;
        self.reconciled += other.reconciled;
        self.exits += other.exits;
    }
}

/// Everything.
pub struct World {
    pub slave: Slave,
    pub now: Now,
    pub master: Master,
    /// The slave is registered with the master that leads, as far as it can know.
    pub in_touch: bool,
    /// The slave has been given its id.
    pub has_id: bool,
    /// The last ping, or answer to a registration.
    pub heard_at: Instant,
    /// Which of each framework's lives this is: one that was shut down comes back under another id.
    pub lives: [u32; FRAMEWORKS as usize],
    /// In the order of their launch.
    pub containers: Vec<(ContainerId, Container)>,
    pub streams: BTreeMap<Key, Stream>,
    /// What schedulers have received and not acknowledged.
    pub inbox: Vec<(Key, Vec<u8>)>,
    /// What they have acknowledged.
    pub outbox: Vec<(Key, Vec<u8>)>,
    /// Streams whose outstanding update may be sent before its time in this event.
    pub excused: BTreeSet<Key>,
    /// Children's uuids.
    pub uuids: u64,
    pub stopping: bool,
    pub exited: bool,
    pub seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut config = Config::of_tests(pid("slave(1)@127.0.0.1:5051"));
        config.info.resources = vec![scalar("cpus", f64::from(CPUS) / 1000.0)];
        let instant = Instant::now();
        World {
            slave: Slave::new(config, Random::from_seed(!seed)),
            now: Now { instant, unix: 1_795_512_667.5 },
            master: Master { pid: None, up: false, knows: false, asked: None, answered: None, tasks: BTreeSet::new() },
            in_touch: false,
            has_id: false,
            heard_at: instant,
            lives: [0; FRAMEWORKS as usize],
            containers: Vec::new(),
            streams: BTreeMap::new(),
            inbox: Vec::new(),
            outbox: Vec::new(),
            excused: BTreeSet::new(),
            uuids: 0,
            stopping: false,
            exited: false,
            seen: Seen::default(),
        }
    }

    /// The master can be reached and has taken the slave in: it sends tasks and passes acknowledgements on.
    pub fn serves(&self) -> bool {
        self.master.pid.is_some() && self.master.up && self.master.knows
    }

    pub fn framework(&self, pick: u8) -> String {
        let slot = pick % FRAMEWORKS;
        format!("F{slot}-{}", self.lives[usize::from(slot)])
    }

    pub fn key(&self, pick: u8) -> Key {
        (self.framework(pick), format!("t{}", pick / FRAMEWORKS % TASKS))
    }

    /// The framework has not been shut down.
    pub fn lives(&self, framework: &str) -> bool {
        (0..FRAMEWORKS).any(|slot| self.framework(slot) == framework)
    }

    pub fn position(&self, id: &ContainerId) -> Option<usize> {
        self.containers.iter().position(|(known, _)| known == id)
    }

    /// The container that has this task, be it that only its last update is left.
    pub fn owner(&mut self, key: &Key) -> Option<&mut Container> {
        let living = self.lives(&key.0);
        let mut newest = self.containers.iter_mut().rev().map(|(_, container)| container);
        newest.find(|container| container.key == *key && living && !container.acknowledged)
    }

    /// The container of this task, be it that the task itself has ended and is forgotten.
    pub fn executor(&self, key: &Key) -> Option<&Container> {
        let living = self.lives(&key.0);
        let mut all = self.containers.iter().map(|(_, container)| container);
        all.find(|container| container.key == *key && living && container.alive)
    }

    /// What tasks hold, in thousandths of a CPU.
    pub fn used(&self) -> u32 {
        let all = self.containers.iter().map(|(_, container)| container);
        let holds = |container: &&Container| container.alive && !container.ended && self.lives(&container.key.0);
        all.filter(holds).map(|container| container.cpus).sum()
    }

    /// One of those for which the condition holds.
    pub fn choose(&self, pick: u8, which: impl Fn(&Container) -> bool) -> Option<ContainerId> {
        let fitting: Vec<_> = self.containers.iter().filter(|(_, container)| which(container)).collect();
        let (id, _) = fitting.get(usize::from(pick) % fitting.len().max(1))?;
        Some(id.clone())
    }

    pub fn uuid(&mut self) -> Vec<u8> {
        self.uuids += 1;
        u128::from(self.uuids).to_be_bytes().to_vec()
    }
}
