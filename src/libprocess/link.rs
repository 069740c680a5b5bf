//! Connections on which we send messages: one per peer, messages in order, each answered with a `202` that is read and
//! forgotten. A message is sent without waiting for the answer to the one before.
//!
//! A connection is opened by the first message or link and kept until it breaks. What waits on a connection that
//! breaks is lost, as in libprocess: a link's owner hears of it and begins anew, Mesos repeats what matters.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use super::buffer::Output;
use super::message;
use super::network::{CONNECT_TIMEOUT, NetworkEvent};
use super::parse::{ResponseParser, ResponsePart};
use super::pid::Pid;
use super::socket::{self, Reading};
use crate::poll::{Interest, PollSet, earlier};

/// Connections above which the one that was unused for longest is closed, if nobody is linked to it.
const MAX_UNLINKED: usize = 1024;

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
}

impl Peer {
    fn connect(address: SocketAddrV4, now: Instant) -> io::Result<Peer> {
        let stream = socket::begin_connect(address)?;
        let state = State::Connecting { deadline: now + CONNECT_TIMEOUT };
        let (output, replies) = (Output::default(), ResponseParser::new(false));
        Ok(Peer { stream, state, output, replies, linked: BTreeSet::new(), used: now })
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
    fn turn(&mut self, set: &PollSet, now: Instant, scratch: &mut [u8]) -> io::Result<()> {
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
        if set.is_readable(fd) { self.read(scratch) } else { Ok(()) }
    }

    /// Reads the answers to our messages, which say nothing that we need.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        let replies = &mut self.replies;
        let taken = socket::read_all(&self.stream, scratch, |bytes| replies.push(bytes))?;
        loop {
            match replies.next() {
                Ok(Some(ResponsePart::Head(head))) if head.status == 202 => {}
                Ok(Some(ResponsePart::Head(head))) => {
                    log::debug!("a message was answered with {}", head.status)
                }
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
#[derive(Debug, Default)]
pub struct Links {
    peers: BTreeMap<SocketAddrV4, Peer>,
    /// Events between two turns.
    pending: Vec<NetworkEvent>,
}

impl Links {
    /// Adds a message to what waits for the peer.
    pub fn send(&mut self, from: &Pid, to: &Pid, name: &str, body: &[u8], now: Instant) {
        let peer = match self.peer(to.address, now) {
            Ok(peer) => peer,
            Err(error) => return log::debug!("{name} to {to} is lost: {error}"),
        };
        if peer.output.push(message::encode(from, to, name, body)).is_err() {
            log::warn!("connection to {} dropped: it does not read our messages", to.address);
            self.remove(to.address);
        }
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
        let unused = self.peers.iter().filter(|(_, peer)| peer.linked.is_empty() && peer.output.is_empty());
        if let Some(address) = unused.min_by_key(|(_, peer)| peer.used).map(|(address, _)| *address) {
            self.peers.remove(&address);
        }
    }

    fn remove(&mut self, address: SocketAddrV4) {
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
        let results = self.peers.iter_mut().map(|(address, peer)| (*address, peer.turn(set, now, scratch)));
        let results = results.collect();
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
