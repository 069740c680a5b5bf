//! One connection that somebody made to us: where it stands and what follows from what it sends.
//!
//! ```text
//! Reading ── message ──► Reading (1.1: 202)        Answering ── respond ─────► Reading
//! Reading ── request ──► Answering                 Answering ── open_stream ─► Streaming ── close_stream ─► Reading
//! Reading, Answering, Streaming ── last request, malformed, end ──► Closing: write what waits, shut down, await the peer's end
//! ```
//!
//! While a request is being answered the next ones wait in the parser, so that answers come in order.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::buffer::Output;
use super::dialect::{self, Dialect};
use super::http::{Response, encode_response};
use super::message;
use super::network::{ConnectionId, NetworkEvent};
use super::parse::{ParseError, RequestHead, RequestParser};
use super::socket::{self, Reading};
use crate::poll::{Interest, earlier};

/// From the first byte of a request to its last; a peer that stops in between is dropped.
const UNFINISHED: Duration = Duration::from_secs(30);
/// How long a peer may read nothing of an answer.
const STALLED: Duration = Duration::from_secs(60);
/// How long an answer may still come for a client that has ended its side.
const HALF_CLOSED: Duration = Duration::from_secs(30);
/// How long the peer's end is awaited after ours: closing at once could lose our last answer to a reset.
const DRAIN: Duration = Duration::from_secs(5);
/// Unread answers above which a peer's requests wait.
const MAX_UNREAD: usize = 1024 * 1024;
/// Requests that may wait behind an unanswered one, in bytes.
const MAX_PIPELINED: usize = 64 * 1024;

/// The answer to a message: exactly what Mesos 1.11 sends, without the date.
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What is kept of a request until its answer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub keep: bool,
    pub head_only: bool,
    pub version_1_1: bool,
}

impl Asked {
    /// What the head says of the answer.
    pub fn of(head: &RequestHead) -> Asked {
        Asked { keep: head.keeps_alive(), head_only: head.method == "HEAD", version_1_1: head.version_1_1 }
    }
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
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
pub enum Fate {
    Stays,
    Gone,
}

#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub parser: RequestParser,
    pub output: Output,
    pub phase: Phase,
    /// The peer sends no more.
    ended: bool,
    /// Since when a request is unfinished.
    unfinished: Option<Instant>,
    /// When the peer last took something of what waits for it.
    progress: Instant,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(stream: TcpStream, peer: SocketAddr, max_body: usize, now: Instant) -> Connection {
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

    /// Whether there is room for more of what the peer sends.
    pub fn wants_read(&self) -> bool {
        let room = match self.phase {
            Phase::Reading => self.output.len() <= MAX_UNREAD,
            Phase::Answering { .. } | Phase::Streaming { .. } => self.parser.held() < MAX_PIPELINED,
            Phase::Closing { .. } => true,
        };
        room && !self.ended
    }

    /// What is awaited of the socket; nothing while others owe it an answer and enough waits behind that.
    pub fn interest(&self) -> Option<Interest> {
        match (self.wants_read(), !self.output.is_empty()) {
            (true, true) => Some(Interest::Both),
            (true, false) => Some(Interest::Read),
            (false, true) => Some(Interest::Write),
            (false, false) => None,
        }
    }

    /// Whether somebody is to be told when it ends.
    pub fn owes_an_answer(&self) -> bool {
        match self.phase {
            Phase::Answering { left, .. } => left.is_none(),
            Phase::Streaming { .. } => true,
            Phase::Reading | Phase::Closing { .. } => false,
        }
    }

    /// Adds bytes to what waits to be written.
    pub fn push(&mut self, bytes: Vec<u8>, now: Instant) -> Fate {
        if self.output.is_empty() {
            self.progress = now;
        }
        match self.output.push(bytes) {
            Ok(()) => Fate::Stays,
            Err(_) => {
                log::warn!("connection from {} dropped: it does not read what it asked for", self.peer);
                Fate::Gone
            }
        }
    }

    /// Writes what the peer takes now.
    pub fn flush(&mut self, now: Instant) -> Fate {
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

    /// Takes what has come; while closing, only to throw it away.
    pub fn read(&mut self, scratch: &mut [u8]) -> Fate {
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
    pub fn parse(&mut self, id: ConnectionId, now: Instant, events: &mut Vec<NetworkEvent>) -> Fate {
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
                    self.unfinished = if idle { None } else { self.unfinished.or(Some(now)) };
                    return if self.parser.take_continue() { self.push(CONTINUE.to_vec(), now) } else { Fate::Stays };
                }
                Err(error) => return self.refuse(&error, now),
            }
        }
        Fate::Stays
    }

    /// One request: a message, or a question for others.
    pub fn take(
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
            events.push(NetworkEvent::Request { connection: id, request: message::plain(head, body), peer: self.peer });
            return Fate::Stays;
        };
        let message::Message { from, to, name } = message;
        let dialect = dialect::shown_by(&head, &from, self.peer);
        if dialect != Dialect::Unknown {
            events.push(NetworkEvent::Shown { address: from.address, dialect });
        }
        events.push(NetworkEvent::Message { from, to, name, body, peer: self.peer });
        if !asked.keep {
            self.phase = Phase::Closing { until: None };
        }
        // 2012's senders write and never read; what came back would be taken for a broken request.
        if asked.version_1_1 { self.push(ACCEPTED.to_vec(), now) } else { Fate::Stays }
    }

    /// Says why it is refused, then closes.
    pub fn refuse(&mut self, error: &ParseError, now: Instant) -> Fate {
        log::debug!("request from {} refused: {error}", self.peer);
        self.dismiss(&Response::text(error.status(), format!("{error}\n")), now)
    }

    /// Answers and closes; what came after is ignored.
    pub fn dismiss(&mut self, response: &Response, now: Instant) -> Fate {
        self.phase = Phase::Closing { until: None };
        self.unfinished = None;
        self.parser = RequestParser::new(0);
        self.push(encode_response(response, false, false), now)
    }

    /// What follows from the peer's end of its side, and from the end of ours.
    pub fn settle(&mut self, id: ConnectionId, now: Instant, events: &mut Vec<NetworkEvent>) -> Fate {
        match &mut self.phase {
            Phase::Answering { left: left @ None, .. } if self.ended => {
                *left = Some(now);
                events.push(NetworkEvent::Closed { connection: id });
                Fate::Stays
            }
            Phase::Streaming { .. } if self.ended => Fate::Gone,
            Phase::Closing { .. } if self.output.is_empty() && self.ended => Fate::Gone,
            Phase::Closing { until: until @ None } if self.output.is_empty() => {
                *until = Some(now + DRAIN);
                if self.stream.shutdown(Shutdown::Write).is_ok() { Fate::Stays } else { Fate::Gone }
            }
            Phase::Reading | Phase::Answering { .. } | Phase::Streaming { .. } | Phase::Closing { .. } => Fate::Stays,
        }
    }

    /// When it is dropped if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
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
    pub fn after_answer(keep: bool) -> Phase {
        if keep { Phase::Reading } else { Phase::Closing { until: None } }
    }
}
