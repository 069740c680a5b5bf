//! Connections that others made to us: libprocess peers that send messages, and HTTP clients.
//!
//! ```text
//! Reading ── message ──► Reading (1.1: 202)        Answering ── respond ─────► Reading
//! Reading ── request ──► Answering                 Answering ── open_stream ─► Streaming ── close_stream ─► Reading
//! Reading, Answering, Streaming ── last request, malformed, end ──► Closing: write what waits, shut down, await the peer's end
//! ```
//!
//! While a request is being answered the next ones wait in the parser, so that answers come in order.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::buffer::Output;
use super::http::{End, Headers, Response, encode_chunk, encode_head, encode_response};
use super::message;
use super::network::{ConnectionId, NetworkEvent};
use super::parse::{ParseError, RequestHead, RequestParser};
use super::socket::{self, Reading};
use crate::poll::{Interest, PollSet, earlier};

/// From the first byte of a request to its last; a peer that stops in between is dropped.
const UNFINISHED: Duration = Duration::from_secs(30);
/// How long a peer may read nothing of an answer.
const STALLED: Duration = Duration::from_secs(60);
/// How long an answer may still come for a client that has ended its side.
const HALF_CLOSED: Duration = Duration::from_secs(30);
/// How long the peer's end is awaited after ours: closing at once could lose our last answer to a reset.
const DRAIN: Duration = Duration::from_secs(5);
/// How long no connection is accepted when there are no descriptors or no memory for one.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Most connections accepted in one turn and listener.
const ACCEPT_PER_TURN: usize = 64;
/// Unread answers above which a peer's requests wait.
const MAX_UNREAD: usize = 1024 * 1024;
/// Requests that may wait behind an unanswered one, in bytes.
const MAX_PIPELINED: usize = 64 * 1024;
/// A body from which on the total of [`Limits::held`] is looked at.
const LARGE: usize = 1024 * 1024;

/// The answer to a message: exactly what Mesos 1.11 sends, without the date.
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What strangers may take of us.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections at a time.
    pub connections: usize,
    /// Longest body of a message or request, in bytes.
    pub body: usize,
    /// Most bytes of unfinished requests in all connections together.
    pub held: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4096,
            body: 64 * 1024 * 1024,
            held: 256 * 1024 * 1024,
        }
    }
}

/// What is kept of a request until its answer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    keep: bool,
    head_only: bool,
    version_1_1: bool,
}

impl Asked {
    fn of(head: &RequestHead) -> Asked {
        Asked {
            keep: head.keeps_alive(),
            head_only: head.method == "HEAD",
            version_1_1: head.version_1_1,
        }
    }
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next request is awaited.
    Reading,
    /// A request waits for its answer; the peer has ended its side at that time, and we have said so.
    Answering { asked: Asked, left: Option<Instant> },
    /// An answer without a known end is under way.
    Streaming { chunked: bool, keep: bool },
    /// What waits is written; then, until that time, the peer's end is awaited.
    Closing { until: Option<Instant> },
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Gone,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    parser: RequestParser,
    output: Output,
    phase: Phase,
    /// The peer sends no more.
    ended: bool,
    /// Since when a request is unfinished.
    unfinished: Option<Instant>,
    /// When the peer last took something of what waits for it.
    progress: Instant,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, max_body: usize, now: Instant) -> Connection {
        let (parser, output) = (RequestParser::new(max_body), Output::default());
        Connection {
            stream,
            peer,
            parser,
            output,
            phase: Phase::Reading,
            ended: false,
            unfinished: None,
            progress: now,
        }
    }

    fn wants_read(&self) -> bool {
        let room = match self.phase {
            Phase::Reading => self.output.len() <= MAX_UNREAD,
            Phase::Answering { .. } | Phase::Streaming { .. } => self.parser.held() < MAX_PIPELINED,
            Phase::Closing { .. } => true,
        };
        room && !self.ended
    }

    fn interest(&self) -> Option<Interest> {
        match (self.wants_read(), !self.output.is_empty()) {
            (true, true) => Some(Interest::Both),
            (true, false) => Some(Interest::Read),
            (false, true) => Some(Interest::Write),
            (false, false) => None,
        }
    }

    fn owes_an_answer(&self) -> bool {
        match self.phase {
            Phase::Answering { left, .. } => left.is_none(),
            Phase::Streaming { .. } => true,
            Phase::Reading | Phase::Closing { .. } => false,
        }
    }

    fn push(&mut self, bytes: Vec<u8>, now: Instant) -> Fate {
        if self.output.is_empty() {
            self.progress = now;
        }
        match self.output.push(bytes) {
            Ok(()) => Fate::Stays,
            Err(_) => {
                log::warn!(
                    "connection from {} dropped: it does not read what it asked for",
                    self.peer
                );
                Fate::Gone
            }
        }
    }

    fn flush(&mut self, now: Instant) -> Fate {
        match self.output.write_to(&self.stream) {
            Ok(progress) => {
                if progress {
                    self.progress = now;
                }
                Fate::Stays
            }
            Err(error) => {
                log::debug!("connection from {} broke: {error}", self.peer);
                Fate::Gone
            }
        }
    }

    fn read(&mut self, scratch: &mut [u8]) -> Fate {
        let closing = matches!(self.phase, Phase::Closing { .. });
        let parser = &mut self.parser;
        let taken = socket::read_all(&self.stream, scratch, |bytes| {
            if !closing {
                parser.push(bytes);
            }
        });
        match taken {
            Ok(Reading::Open) => Fate::Stays,
            Ok(Reading::Ended) => {
                self.ended = true;
                Fate::Stays
            }
            Err(error) => {
                log::debug!("connection from {} broke: {error}", self.peer);
                Fate::Gone
            }
        }
    }

    /// Takes requests out of the parser until one must be answered by others.
    fn parse(&mut self, id: ConnectionId, now: Instant, events: &mut Vec<NetworkEvent>) -> Fate {
        while self.phase == Phase::Reading && self.output.len() <= MAX_UNREAD {
            match self.parser.next() {
                Ok(Some((head, body))) => {
                    self.unfinished = None;
                    if self.take(id, head, body, now, events) == Fate::Gone {
                        return Fate::Gone;
                    }
                }
                Ok(None) if self.ended => self.phase = Phase::Closing { until: None },
                Ok(None) => {
                    let idle = self.parser.is_idle();
                    self.unfinished = if idle {
                        None
                    } else {
                        self.unfinished.or(Some(now))
                    };
                    return if self.parser.take_continue() {
                        self.push(CONTINUE.to_vec(), now)
                    } else {
                        Fate::Stays
                    };
                }
                Err(error) => return self.refuse(&error, now),
            }
        }
        Fate::Stays
    }

    /// One request: a message, or a question for others.
    fn take(
        &mut self,
        id: ConnectionId,
        head: RequestHead,
        body: Vec<u8>,
        now: Instant,
        events: &mut Vec<NetworkEvent>,
    ) -> Fate {
        let asked = Asked::of(&head);
        let Some(message) = message::recognise(&head) else {
            self.phase = Phase::Answering { asked, left: None };
            events.push(NetworkEvent::Request {
                connection: id,
                request: message::plain(head, body),
                peer: self.peer,
            });
            return Fate::Stays;
        };
        let message::Message { from, to, name } = message;
        events.push(NetworkEvent::Message {
            from,
            to,
            name,
            body,
            peer: self.peer,
        });
        if !asked.keep {
            self.phase = Phase::Closing { until: None };
        }
        // 2012's senders write and never read.
        if asked.version_1_1 {
            self.push(ACCEPTED.to_vec(), now)
        } else {
            Fate::Stays
        }
    }

    /// Says why it is refused, then closes.
    fn refuse(&mut self, error: &ParseError, now: Instant) -> Fate {
        log::debug!("request from {} refused: {error}", self.peer);
        self.dismiss(&Response::text(error.status(), format!("{error}\n")), now)
    }

    fn dismiss(&mut self, response: &Response, now: Instant) -> Fate {
        self.phase = Phase::Closing { until: None };
        self.unfinished = None;
        self.parser = RequestParser::new(0);
        self.push(encode_response(response, false, false), now)
    }

    /// What follows from the peer's end of its side, and from the end of ours.
    fn settle(&mut self, id: ConnectionId, now: Instant, events: &mut Vec<NetworkEvent>) -> Fate {
        match &mut self.phase {
            Phase::Answering {
                left: left @ None, ..
            } if self.ended => {
                *left = Some(now);
                events.push(NetworkEvent::Closed { connection: id });
                Fate::Stays
            }
            Phase::Streaming { .. } if self.ended => Fate::Gone,
            Phase::Closing { .. } if self.output.is_empty() && self.ended => Fate::Gone,
            Phase::Closing {
                until: until @ None,
            } if self.output.is_empty() => {
                *until = Some(now + DRAIN);
                if self.stream.shutdown(Shutdown::Write).is_ok() {
                    Fate::Stays
                } else {
                    Fate::Gone
                }
            }
            Phase::Reading
            | Phase::Answering { .. }
            | Phase::Streaming { .. }
            | Phase::Closing { .. } => Fate::Stays,
        }
    }

    /// When it is dropped if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let streaming = matches!(self.phase, Phase::Streaming { .. });
        let stalled = (!self.output.is_empty() && !streaming).then(|| self.progress + STALLED);
        let phase = match self.phase {
            Phase::Reading => self.unfinished.map(|since| since + UNFINISHED),
            Phase::Answering { left, .. } => left.map(|since| since + HALF_CLOSED),
            Phase::Streaming { .. } => None,
            Phase::Closing { until } => until,
        };
        earlier(stalled, phase)
    }

    /// The phase after an answer.
    fn after_answer(keep: bool) -> Phase {
        if keep {
            Phase::Reading
        } else {
            Phase::Closing { until: None }
        }
    }
}

/// All connections that others made to us, and the sockets on which they do.
#[derive(Debug, Default)]
pub struct Inbound {
    listeners: Vec<TcpListener>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Connections whose waiting bytes are to be looked at without more of them coming.
    resumed: Vec<ConnectionId>,
    /// Events between two turns.
    pending: Vec<NetworkEvent>,
    paused: Option<Instant>,
    full: bool,
    next: u64,
    pub limits: Limits,
}

impl Inbound {
    pub fn add_listener(&mut self, address: SocketAddrV4) -> std::io::Result<()> {
        self.listeners.push(socket::listen_on(address)?);
        Ok(())
    }

    /// The first listener's address.
    pub fn address(&self) -> Option<SocketAddrV4> {
        match self.listeners.first()?.local_addr() {
            Ok(SocketAddr::V4(address)) => Some(address),
            Ok(SocketAddr::V6(_)) | Err(_) => None,
        }
    }

    pub fn respond(&mut self, id: ConnectionId, response: &Response, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Phase::Answering { asked, .. } = connection.phase else {
            log::warn!(
                "an answer for {} that it did not ask for is dropped",
                connection.peer
            );
            return;
        };
        connection.phase = Connection::after_answer(asked.keep);
        let bytes = encode_response(response, asked.keep, asked.head_only);
        if connection.push(bytes, now) == Fate::Gone {
            self.remove(id);
        }
        self.resumed.push(id);
    }

    pub fn open_stream(&mut self, id: ConnectionId, status: u16, headers: &Headers, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Phase::Answering { asked, left } = connection.phase else {
            return;
        };
        let (chunked, keep) = (asked.version_1_1, asked.version_1_1 && asked.keep);
        connection.phase = Phase::Streaming { chunked, keep };
        let end = if chunked { End::Chunks } else { End::Close };
        let pushed = connection.push(encode_head(status, headers, end, keep), now);
        // Its end was told before; once is enough.
        if pushed == Fate::Gone || left.is_some() {
            self.connections.remove(&id);
        }
    }

    pub fn write_stream(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let Phase::Streaming { chunked, .. } = connection.phase else {
            return false;
        };
        if bytes.is_empty() {
            return true;
        }
        let framed = if chunked {
            encode_chunk(bytes)
        } else {
            bytes.to_vec()
        };
        if connection.push(framed, now) == Fate::Gone {
            self.remove(id);
            return false;
        }
        true
    }

    pub fn close_stream(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Phase::Streaming { chunked, keep } = connection.phase else {
            return;
        };
        connection.phase = Connection::after_answer(keep);
        if chunked && connection.push(b"0\r\n\r\n".to_vec(), now) == Fate::Gone {
            self.remove(id);
        }
        self.resumed.push(id);
    }

    /// Drops a connection; who owes it an answer hears of it.
    fn remove(&mut self, id: ConnectionId) {
        if self
            .connections
            .remove(&id)
            .is_some_and(|connection| connection.owes_an_answer())
        {
            self.pending.push(NetworkEvent::Closed { connection: id });
        }
    }

    pub fn register(&self, set: &mut PollSet) {
        if self.paused.is_none() {
            self.listeners
                .iter()
                .for_each(|listener| set.add(listener.as_raw_fd(), Interest::Read));
        }
        for connection in self.connections.values() {
            if let Some(interest) = connection.interest() {
                set.add(connection.stream.as_raw_fd(), interest);
            }
        }
    }

    /// Whether something is to be done that no descriptor will tell.
    pub fn is_restless(&self) -> bool {
        !self.resumed.is_empty() || !self.pending.is_empty()
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.connections
            .values()
            .map(Connection::deadline)
            .fold(self.paused, earlier)
    }

    /// Writes what can be written now.
    pub fn flush(&mut self, now: Instant) {
        let waiting = self
            .connections
            .iter()
            .filter(|(_, connection)| !connection.output.is_empty());
        let ids: Vec<ConnectionId> = waiting.map(|(id, _)| *id).collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            if connection.flush(now) == Fate::Gone {
                self.remove(id);
            }
            self.resumed.push(id);
        }
    }

    pub fn turn(
        &mut self,
        set: &PollSet,
        now: Instant,
        scratch: &mut [u8],
        events: &mut Vec<NetworkEvent>,
    ) {
        events.append(&mut self.pending);
        let resumed = std::mem::take(&mut self.resumed);
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            if self.turn_one(id, resumed.contains(&id), set, now, scratch, events) == Fate::Gone {
                self.remove(id);
            }
        }
        events.append(&mut self.pending);
        self.accept(set, now);
    }

    fn turn_one(
        &mut self,
        id: ConnectionId,
        resumed: bool,
        set: &PollSet,
        now: Instant,
        scratch: &mut [u8],
        events: &mut Vec<NetworkEvent>,
    ) -> Fate {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Fate::Stays;
        };
        let fd = connection.stream.as_raw_fd();
        let writable = !connection.output.is_empty() && set.is_writable(fd);
        let readable = connection.wants_read() && set.is_readable(fd);
        if writable || readable || resumed {
            let written = if writable {
                connection.flush(now)
            } else {
                Fate::Stays
            };
            let read = if readable {
                connection.read(scratch)
            } else {
                Fate::Stays
            };
            // What came before the connection broke counts.
            let parsed = connection.parse(id, now, events);
            if [written, read, parsed, connection.settle(id, now, events)].contains(&Fate::Gone) {
                return Fate::Gone;
            }
        }
        if connection
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            log::debug!("connection from {} dropped: out of time", connection.peer);
            return Fate::Gone;
        }
        let large = connection.parser.held() > LARGE;
        if large
            && self
                .connections
                .values()
                .map(|other| other.parser.held())
                .sum::<usize>()
                > self.limits.held
        {
            return self.refuse_large(id, now);
        }
        Fate::Stays
    }

    /// Too much is under way already: this one goes.
    fn refuse_large(&mut self, id: ConnectionId, now: Instant) -> Fate {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Fate::Stays;
        };
        log::warn!(
            "request from {} refused: {} bytes of unfinished requests are the limit",
            connection.peer,
            self.limits.held
        );
        connection.dismiss(
            &Response::text(503, "too many large requests at a time, try again later\n"),
            now,
        )
    }

    fn accept(&mut self, set: &PollSet, now: Instant) {
        if self.paused.is_some_and(|until| now >= until) {
            self.paused = None;
        }
        for at in 0..self.listeners.len() {
            if self.paused.is_none() && set.is_readable(self.listeners[at].as_raw_fd()) {
                self.accept_from(at, now);
            }
        }
    }

    fn accept_from(&mut self, at: usize, now: Instant) {
        for _ in 0..ACCEPT_PER_TURN {
            match self.listeners[at].accept() {
                Ok((stream, peer)) => self.admit(stream, peer, now),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                    ) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::warn!(
                        "no connection can be accepted, trying again in {ACCEPT_PAUSE:?}: {error}"
                    );
                    self.paused = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr, now: Instant) {
        if self.connections.len() >= self.limits.connections {
            if !std::mem::replace(&mut self.full, true) {
                log::warn!(
                    "connection from {peer} closed: {} connections are open, which is the limit",
                    self.limits.connections
                );
            }
            return;
        }
        self.full = false;
        if stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true))
            .is_err()
        {
            return;
        }
        self.next += 1;
        self.connections.insert(
            ConnectionId(self.next),
            Connection::new(stream, peer, self.limits.body, now),
        );
    }

    /// Bytes of unfinished requests.
    fn held_bytes(&self) -> usize {
        self.connections
            .values()
            .map(|connection| connection.parser.held())
            .sum()
    }

    /// Memory of unfinished requests and of what waits to be written.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.connections
            .values()
            .map(|connection| connection.parser.capacity() + connection.output.len())
            .sum()
    }

    #[cfg(test)]
    pub fn idle_size() -> usize {
        size_of::<Connection>()
    }

    /// How many connections are open.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.connections.len()
    }
}
