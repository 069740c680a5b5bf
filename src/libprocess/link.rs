//! Connections on which we send messages: one per peer, messages in order. A peer of 1.x answers each with a `202`, which is
//! read and shows what it is; one of 2012 never answers. A message is sent without waiting for the answer to the one before.
//!
//! A connection is opened by the first message or link and kept until it breaks, for a peer of 2012 as well: it takes any
//! number of messages on one. What waits on a connection that breaks is lost, as in libprocess: a link's owner hears of it and
//! begins anew, Mesos repeats what matters.
//!
//! A peer that does not read is a broken one: when [`MAX_WAITING`](super::buffer::MAX_WAITING) bytes wait for it and one more
//! message comes, its connection is dropped with all that waits, that message too. The same befalls the one for whom most
//! waits when [`MAX_WAITING_IN_ALL`] bytes wait for all peers together. Nothing is dropped from the middle of a queue, so what
//! arrives is always in order. A peer whose machine is gone without a word is given up by TCP after [`UNANSWERED`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::buffer::Output;
use super::dialect::{Dialect, Dialects};
use super::message;
use super::network::{CONNECT_TIMEOUT, NetworkEvent};
use super::parse::{ResponseParser, ResponsePart};
use super::pid::Pid;
use super::socket::{self, Reading};
use crate::poll::{Interest, PollSet, earlier};

/// Connections above which the one that was unused for longest is closed, if nobody is linked to it.
const MAX_UNLINKED: usize = 1024;
/// Bytes that may wait for all peers together.
const MAX_WAITING_IN_ALL: usize = 256 * 1024 * 1024;
/// A queue above which the total is looked at: smaller ones add up to no more than this for each peer.
const LARGE: usize = 64 * 1024;
/// How long a peer's kernel may leave bytes unacknowledged. Without it a machine that lost its power would be waited for a
/// quarter of an hour; chosen as long as a master may be silent (`MASTER_PING_TIMEOUT` of the slave).
pub const UNANSWERED: Duration = Duration::from_secs(75);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting { deadline: Instant },
    Open,
}

/// A peer's program: all its processes share one connection.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    state: State,
    output: Output,
    replies: ResponseParser,
    linked: BTreeSet<Pid>,
    used: Instant,
    heard: Heard,
}

/// What a peer has answered on a connection of ours, which is nobody's claim.
#[derive(Debug, Default)]
struct Heard {
    /// It took a message.
    accepted: bool,
    /// It refused one, and that has been said.
    refused: bool,
}

impl Heard {
    fn answer(&mut self, status: u16, address: SocketAddrV4) {
        match status {
            202 => self.accepted = true,
            // The process is gone, or not there yet: this happens, and whoever misses it repeats.
            404 => log::debug!("{address} has no process for a message of ours"),
            status if !std::mem::replace(&mut self.refused, true) => {
                log::warn!("{address} refuses our messages: it answered with status {status}");
            }
            status => log::debug!("{address} answered a message with status {status}"),
        }
    }
}

impl Peer {
    fn connect(address: SocketAddrV4, now: Instant) -> io::Result<Peer> {
        let stream = socket::begin_connect(address)?;
        socket::give_up_after(&stream, UNANSWERED)?;
        let state = State::Connecting { deadline: now + CONNECT_TIMEOUT };
        let (output, replies) = (Output::default(), ResponseParser::new(false));
        let (linked, heard) = (BTreeSet::new(), Heard::default());
        Ok(Peer { stream, state, output, replies, linked, used: now, heard })
    }

    fn interest(&self) -> Interest {
        match self.state {
            State::Connecting { .. } => Interest::Write,
            State::Open if self.output.is_empty() => Interest::Read,
            State::Open => Interest::Both,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Connecting { deadline } => Some(deadline),
            State::Open => None,
        }
    }

    /// One turn; the error says why the connection is no more.
    fn turn(&mut self, address: SocketAddrV4, set: &PollSet, now: Instant, scratch: &mut [u8]) -> io::Result<()> {
        let fd = self.stream.as_raw_fd();
        if let State::Connecting { deadline } = self.state {
            if !set.is_writable(fd) || !socket::finish_connect(&self.stream)? {
                return if deadline <= now { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) };
            }
            self.state = State::Open;
        }
        if !self.output.is_empty() && set.is_writable(fd) {
            self.output.write_to(&self.stream)?;
        }
        if set.is_readable(fd) { self.read(address, scratch) } else { Ok(()) }
    }

    /// Reads the answers to our messages. Nothing waits for them.
    fn read(&mut self, address: SocketAddrV4, scratch: &mut [u8]) -> io::Result<()> {
        let replies = &mut self.replies;
        let taken = socket::read_all(&self.stream, scratch, |bytes| replies.push(bytes))?;
        loop {
            match replies.next() {
                Ok(Some(ResponsePart::Head(head))) => self.heard.answer(head.status, address),
                Ok(Some(ResponsePart::Data(_))) => {}
                Ok(Some(ResponsePart::End { keep: true })) => {}
                Ok(Some(ResponsePart::End { keep: false })) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(None) if taken == Reading::Ended => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}

/// All peers that we send to.
#[derive(Debug)]
pub struct Links {
    peers: BTreeMap<SocketAddrV4, Peer>,
    /// Events between two turns.
    pending: Vec<NetworkEvent>,
    pub dialects: Dialects,
    /// Bytes that may wait for all peers together.
    pub max_waiting: usize,
}

impl Default for Links {
    fn default() -> Links {
        let (peers, pending, dialects) = (BTreeMap::new(), Vec::new(), Dialects::default());
        Links { peers, pending, dialects, max_waiting: MAX_WAITING_IN_ALL }
    }
}

impl Links {
    /// Adds a message to what waits for the peer.
    pub fn send(&mut self, from: &Pid, to: &Pid, name: &str, body: &[u8], now: Instant) {
        let bytes = message::encode(self.dialects.of(to.address), from, to, name, body);
        let peer = match self.peer(to.address, now) {
            Ok(peer) => peer,
            Err(error) => return log::debug!("{name} to {to} is lost: {error}"),
        };
        let (pushed, large) = (peer.output.push(bytes), peer.output.len() > LARGE);
        if pushed.is_err() {
            self.give_up(to.address);
        } else if large && self.waiting() > self.max_waiting {
            let most = self.peers.iter().max_by_key(|(_, peer)| peer.output.len()).map(|(address, _)| *address);
            most.into_iter().for_each(|address| self.give_up(address));
        }
    }

    /// How many bytes wait for peers.
    pub fn waiting(&self) -> usize {
        self.peers.values().map(|peer| peer.output.len()).sum()
    }

    fn give_up(&mut self, address: SocketAddrV4) {
        log::warn!("connection to {address} dropped: it does not read our messages");
        self.remove(address);
    }

    /// Takes in what a peer has shown; true if that is news. What it answers on our own connection cannot be faked by others.
    pub fn learn(&mut self, address: SocketAddrV4, dialect: Dialect) -> bool {
        let accepted = self.peers.get(&address).is_some_and(|peer| peer.heard.accepted);
        (dialect == Dialect::V1 || !accepted) && self.dialects.learn(address, dialect)
    }

    /// Watches a peer.
    pub fn link(&mut self, to: &Pid, now: Instant) {
        match self.peer(to.address, now) {
            Ok(peer) => {
                peer.linked.insert(to.clone());
            }
            Err(error) => {
                log::debug!("cannot link to {to}: {error}");
                self.pending.push(NetworkEvent::Exited { pid: to.clone() });
            }
        }
    }

    /// Watches a peer no longer.
    pub fn unlink(&mut self, to: &Pid) {
        if let Some(peer) = self.peers.get_mut(&to.address) {
            peer.linked.remove(to);
        }
        self.pending.retain(|event| !matches!(event, NetworkEvent::Exited { pid } if pid == to));
    }

    /// The peer's connection, opened if there is none.
    fn peer(&mut self, address: SocketAddrV4, now: Instant) -> io::Result<&mut Peer> {
        if !self.peers.contains_key(&address) {
            self.make_room();
            self.peers.insert(address, Peer::connect(address, now)?);
        }
        let peer = self.peers.get_mut(&address).ok_or(io::ErrorKind::NotConnected)?;
        peer.used = now;
        Ok(peer)
    }

    fn make_room(&mut self) {
        if self.peers.len() < MAX_UNLINKED {
            return;
        }
        // Those for whom something waits go last: they may be slow.
        let unlinked = self.peers.iter().filter(|(_, peer)| peer.linked.is_empty());
        let first = unlinked.min_by_key(|(_, peer)| (!peer.output.is_empty(), peer.used));
        if let Some(address) = first.map(|(address, _)| *address) {
            self.peers.remove(&address);
        }
    }

    fn remove(&mut self, address: SocketAddrV4) {
        self.dialects.forget(address);
        let linked = self.peers.remove(&address).map(|peer| peer.linked).unwrap_or_default();
        self.pending.extend(linked.into_iter().map(|pid| NetworkEvent::Exited { pid }));
    }

    /// Adds all descriptors.
    pub fn register(&self, set: &mut PollSet) {
        self.peers.values().for_each(|peer| set.add(peer.stream.as_raw_fd(), peer.interest()));
    }

    /// Whether something is to be done that no descriptor will tell.
    pub fn is_restless(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next time at which a connect fails.
    pub fn deadline(&self) -> Option<Instant> {
        self.peers.values().map(Peer::deadline).fold(None, earlier)
    }

    /// Writes what can be written now.
    pub fn flush(&mut self) {
        let open = self.peers.iter_mut().filter(|(_, peer)| peer.state == State::Open && !peer.output.is_empty());
        let results: Vec<_> = open.map(|(address, peer)| (*address, peer.output.write_to(&peer.stream))).collect();
        self.bury(results.into_iter().map(|(address, result)| (address, result.map(|_| ()))).collect());
    }

    /// Reads and writes what can be.
    pub fn turn(&mut self, set: &PollSet, now: Instant, scratch: &mut [u8], events: &mut Vec<NetworkEvent>) {
        let mut results = Vec::new();
        for (address, peer) in &mut self.peers {
            let accepted = peer.heard.accepted;
            results.push((*address, peer.turn(*address, set, now, scratch)));
            if !accepted && peer.heard.accepted && self.dialects.learn(*address, Dialect::V1) {
                events.push(NetworkEvent::Shown { address: *address, dialect: Dialect::V1 });
            }
        }
        self.bury(results);
        events.append(&mut self.pending);
    }

    /// Removes those that broke.
    fn bury(&mut self, results: Vec<(SocketAddrV4, io::Result<()>)>) {
        for (address, result) in results {
            if let Err(error) = result {
                log::debug!("connection to {address} ended: {error}");
                self.remove(address);
            }
        }
    }
}
