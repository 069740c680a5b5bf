//! Who the master is, and who it is next: `--master` in all its forms as one source of events.
//!
//! ```text
//!   host:port, local ──────────────────────────────► Detected, once
//!   zk://... ──► client (socket) ──► session (core) ─► Detected, Lost, Detected ...
//!                                    wire: frames     election: which node leads, what it says
//!   file://... ──► file ──► one of the above, and another when the file changes
//! ```
//!
//! The ZooKeeper client is our own, since there is none for a program that has one thread and one `poll`: `zookeeper-client` is
//! built on tokio, `zookeeper` on threads and mio of long ago, and ZooKeeper's C library brings threads or its own idea of a loop.
//! What detection needs of the protocol is eight messages. Names of servers are looked up in a child (`lookup`), since the
//! resolver blocks; that is done for each connection, so a server that has moved is found.

mod client;
mod election;
pub mod file;
mod lookup;
mod session;
mod wire;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::flags::{Master, ZooKeeper};
use crate::libprocess::Pid;
use crate::poll::{Backoff, PollSet, earlier};
use crate::random::Random;

use client::Client;
use file::Watched;
use lookup::{Begun, Lookup};
use session::Session;

/// A master's name in PIDs, where nobody tells it.
const MASTER: &str = "master";
/// How long the name of a master that a file gives may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(10);
/// Between attempts at that.
const LOOKUP_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What a detector finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectorEvent {
    /// This master leads: the first, or another, or the same after it was gone.
    Detected(Pid),
    /// Nobody is known to lead.
    Lost,
}

#[derive(Debug)]
enum Source {
    /// All that there was has been said.
    Nothing,
    Fixed(Pid),
    Named(Box<Named>),
    ZooKeeper(Box<Client>),
}

/// A master whose name is being looked up.
#[derive(Debug)]
struct Named {
    host: String,
    port: u16,
    lookup: Option<Lookup>,
    retry_at: Instant,
    backoff: Backoff,
}

impl Named {
    fn new(host: String, port: u16, now: Instant) -> Named {
        Named { host, port, lookup: None, retry_at: now, backoff: Backoff::new(LOOKUP_AGAIN.0, LOOKUP_AGAIN.1) }
    }

    fn deadline(&self) -> Instant {
        self.lookup.as_ref().map_or(self.retry_at, Lookup::deadline)
    }

    fn turn(&mut self, now: Instant) -> Option<SocketAddrV4> {
        let found = match &mut self.lookup {
            Some(running) => running.turn(now)?,
            None if self.retry_at > now => return None,
            None => match Lookup::begin(&self.host, self.port, now + LOOKUP) {
                Begun::Known(address) => Ok(address),
                Begun::Failed(why) => Err(why),
                Begun::Running(running) => {
                    self.lookup = Some(running);
                    return None;
                }
            },
        };
        if let Err(why) = &found {
            log::warn!("cannot find the master: {why}");
            self.lookup = None;
            self.retry_at = now + self.backoff.next_wait();
        }
        found.ok()
    }
}

/// Finds the master.
#[derive(Debug)]
pub struct Detector {
    source: Source,
    file: Option<Watched>,
    random: Random,
    known: Option<Pid>,
}

impl Detector {
    /// The master is known and stays.
    pub fn fixed(pid: Pid, random: Random) -> Detector {
        Detector { source: Source::Fixed(pid), file: None, random, known: None }
    }

    /// ZooKeeper knows.
    pub fn zookeeper(zookeeper: ZooKeeper, random: Random, now: Instant) -> Detector {
        let mut detector = Detector { source: Source::Nothing, file: None, random, known: None };
        detector.source = detector.client(zookeeper, now);
        detector
    }

    /// A file knows.
    pub fn file(path: PathBuf, random: Random, now: Instant) -> Detector {
        Detector { source: Source::Nothing, file: Some(Watched::new(path, now)), random, known: None }
    }

    fn client(&mut self, zookeeper: ZooKeeper, now: Instant) -> Source {
        log::info!("asking ZooKeeper for the leading master: {zookeeper}");
        Source::ZooKeeper(Box::new(Client::new(Session::new(zookeeper, self.random.clone(), now))))
    }

    /// Waits for what comes next.
    pub fn register(&self, set: &mut PollSet) {
        match &self.source {
            Source::Nothing | Source::Fixed(_) => {}
            Source::Named(named) => named.lookup.iter().for_each(|lookup| lookup.register(set)),
            Source::ZooKeeper(client) => client.register(set),
        }
    }

    /// When a turn is due without anything to be read; in the past when there is something to say at once.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let source = match &self.source {
            Source::Nothing => None,
            Source::Fixed(_) => Some(now),
            Source::Named(named) => Some(named.deadline()),
            Source::ZooKeeper(client) => client.deadline(),
        };
        earlier(source, self.file.as_ref().map(Watched::deadline))
    }

    /// Looks at everything that may have changed.
    pub fn turn(&mut self, set: &PollSet, now: Instant) -> Vec<DetectorEvent> {
        let mut events = Vec::new();
        if let Some(master) = self.file.as_mut().and_then(|file| file.turn(now)) {
            self.follow(master, now, &mut events);
        }
        self.source_turn(set, now, &mut events);
        match events.last() {
            Some(DetectorEvent::Detected(pid)) => self.known = Some(pid.clone()),
            Some(DetectorEvent::Lost) => self.known = None,
            None => {}
        }
        events
    }

    /// The file names another master, or another way to find it. The one before is no longer meant.
    fn follow(&mut self, master: Master, now: Instant, events: &mut Vec<DetectorEvent>) {
        log::info!("the file says that the master is {master}");
        if self.known.take().is_some() {
            events.push(DetectorEvent::Lost);
        }
        self.source = match master {
            Master::Address { host, port } => Source::Named(Box::new(Named::new(host, port, now))),
            Master::ZooKeeper(zookeeper) => self.client(zookeeper, now),
            // Not what a file can say; see `Master::parse_file`.
            Master::Local | Master::File(_) => Source::Nothing,
        };
    }

    fn source_turn(&mut self, set: &PollSet, now: Instant, events: &mut Vec<DetectorEvent>) {
        match &mut self.source {
            Source::Nothing => {}
            Source::Fixed(pid) => {
                events.push(DetectorEvent::Detected(pid.clone()));
                self.source = Source::Nothing;
            }
            Source::Named(named) => {
                if let Some(address) = named.turn(now) {
                    events.push(DetectorEvent::Detected(Pid { id: MASTER.to_string(), address }));
                    self.source = Source::Nothing;
                }
            }
            Source::ZooKeeper(client) => client.turn(set, now, events),
        }
    }
}
