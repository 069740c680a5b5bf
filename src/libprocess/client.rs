//! HTTP requests that we make. Each has a connection for itself while it lasts; one that may be kept waits for the next request
//! to the same address. Requests under way at the same time are answered in any order.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::buffer::Output;
use super::http::{Request, Response, encode_request};
use super::network::{CONNECT_TIMEOUT, NetworkEvent, RequestId};
use super::parse::{ParseError, ResponseParser, ResponsePart};
use super::socket::{self, Reading};
use crate::poll::{Interest, PollSet, earlier};

/// Longest body of a whole response, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Most connections that wait for another request.
const MAX_IDLE: usize = 16;

/// Why a request has no whole answer.
#[derive(Debug)]
pub enum ClientError {
    /// No connection within [`CONNECT_TIMEOUT`].
    ConnectTimeout,
    /// No whole answer in time.
    Timeout,
    /// No connection.
    Connect(io::Error),
    /// The connection broke.
    Broken(io::Error),
    /// The connection ended before the answer did.
    Ended,
    /// The answer is no HTTP.
    Malformed(ParseError),
    /// The answer is too long.
    TooLarge,
    /// A method or path that cannot be sent.
    Unsendable,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::ConnectTimeout => {
                write!(f, "no connection within {} s", CONNECT_TIMEOUT.as_secs())
            }
            ClientError::Timeout => write!(f, "no answer in time"),
            ClientError::Connect(error) => write!(f, "cannot connect: {error}"),
            ClientError::Broken(error) => write!(f, "connection broke: {error}"),
            ClientError::Ended => write!(f, "connection closed before the answer was complete"),
            ClientError::Malformed(error) => write!(f, "malformed answer: {error}"),
            ClientError::TooLarge => write!(f, "answer longer than {MAX_BODY} bytes"),
            ClientError::Unsendable => write!(f, "method or path has characters that a request cannot have"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Connect(error) | ClientError::Broken(error) => Some(error),
            ClientError::Malformed(error) => Some(error),
            ClientError::ConnectTimeout
            | ClientError::Timeout
            | ClientError::Ended
            | ClientError::TooLarge
            | ClientError::Unsendable => None,
        }
    }
}

/// How the answer is handed on.
#[derive(Debug)]
enum Answer {
    /// At its end, in one piece.
    Whole(Response),
    /// As it comes.
    Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting { deadline: Instant },
    Open,
}

/// Whether an exchange goes on; at its end, whether its connection may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Goes,
    Done { keep: bool },
}

#[derive(Debug)]
struct Exchange {
    to: SocketAddrV4,
    stream: TcpStream,
    state: State,
    output: Output,
    parser: ResponseParser,
    answer: Answer,
    deadline: Option<Instant>,
}

impl Exchange {
    fn interest(&self) -> Interest {
        match self.state {
            State::Connecting { .. } => Interest::Write,
            State::Open if self.output.is_empty() => Interest::Read,
            State::Open => Interest::Both,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Connecting { deadline } => earlier(Some(deadline), self.deadline),
            State::Open => self.deadline,
        }
    }

    fn turn(
        &mut self,
        id: RequestId,
        set: &PollSet,
        now: Instant,
        scratch: &mut [u8],
        events: &mut Vec<NetworkEvent>,
    ) -> Result<Step, ClientError> {
        let fd = self.stream.as_raw_fd();
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        if let State::Connecting { deadline } = self.state {
            if set.is_writable(fd) && socket::finish_connect(&self.stream).map_err(ClientError::Connect)? {
                self.state = State::Open;
            } else if deadline <= now {
                return Err(ClientError::ConnectTimeout);
            } else {
                return if late { Err(ClientError::Timeout) } else { Ok(Step::Goes) };
            }
        }
        // A server may refuse a request before it has read it all: its answer counts, not our broken write.
        let written = if set.is_writable(fd) { self.output.write_to(&self.stream).map(|_| ()) } else { Ok(()) };
        if set.is_readable(fd) {
            let step = self.read(id, scratch, events)?;
            if step != Step::Goes {
                return Ok(step);
            }
        }
        written.map_err(ClientError::Broken)?;
        if late { Err(ClientError::Timeout) } else { Ok(Step::Goes) }
    }

    fn read(&mut self, id: RequestId, scratch: &mut [u8], events: &mut Vec<NetworkEvent>) -> Result<Step, ClientError> {
        let parser = &mut self.parser;
        let taken = socket::read_all(&self.stream, scratch, |bytes| parser.push(bytes));
        while let Some(part) = self.parser.next().map_err(ClientError::Malformed)? {
            let step = self.take(id, part, events)?;
            if step != Step::Goes {
                return Ok(step);
            }
        }
        match taken.map_err(ClientError::Broken)? {
            Reading::Open => Ok(Step::Goes),
            Reading::Ended if self.parser.until_close() => self.take(id, ResponsePart::End { keep: false }, events),
            Reading::Ended => Err(ClientError::Ended),
        }
    }

    fn take(&mut self, id: RequestId, part: ResponsePart, events: &mut Vec<NetworkEvent>) -> Result<Step, ClientError> {
        match (part, &mut self.answer) {
            (ResponsePart::Head(head), Answer::Whole(response)) => {
                (response.status, response.headers) = (head.status, head.headers);
            }
            (ResponsePart::Head(head), Answer::Stream) => {
                events.push(NetworkEvent::StreamHead { request: id, status: head.status, headers: head.headers });
            }
            (ResponsePart::Data(bytes), Answer::Whole(response)) => {
                if response.body.len() + bytes.len() > MAX_BODY {
                    return Err(ClientError::TooLarge);
                }
                response.body.extend_from_slice(&bytes);
            }
            (ResponsePart::Data(bytes), Answer::Stream) => events.push(NetworkEvent::StreamData { request: id, bytes }),
            (ResponsePart::End { keep }, Answer::Whole(response)) => {
                events.push(NetworkEvent::Response { request: id, response: std::mem::take(response) });
                return Ok(Step::Done { keep: keep && self.parser.is_idle() && self.output.is_empty() });
            }
            (ResponsePart::End { .. }, Answer::Stream) => {
                events.push(NetworkEvent::RequestEnded { request: id, error: None });
                return Ok(Step::Done { keep: false });
            }
        }
        Ok(Step::Goes)
    }
}

/// All requests under way, and connections that wait for the next.
#[derive(Debug, Default)]
pub struct Client {
    exchanges: BTreeMap<RequestId, Exchange>,
    idle: Vec<(SocketAddrV4, TcpStream)>,
    pending: Vec<NetworkEvent>,
    next: u64,
}

impl Client {
    /// Begins a request whose whole answer is wanted.
    pub fn request(&mut self, to: SocketAddrV4, request: &Request, timeout: Duration, now: Instant) -> RequestId {
        self.begin(to, request, Answer::Whole(Response::default()), now.checked_add(timeout), now)
    }

    /// Begins a request whose answer is wanted as it comes.
    pub fn request_stream(&mut self, to: SocketAddrV4, request: &Request, now: Instant) -> RequestId {
        self.begin(to, request, Answer::Stream, None, now)
    }

    /// Forgets a request.
    pub fn cancel(&mut self, id: RequestId) {
        self.exchanges.remove(&id);
        self.pending.retain(|event| !matches!(event, NetworkEvent::RequestEnded { request, .. } if *request == id));
    }

    fn begin(
        &mut self,
        to: SocketAddrV4,
        request: &Request,
        answer: Answer,
        deadline: Option<Instant>,
        now: Instant,
    ) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        match self.exchange(to, request, answer, deadline, now) {
            Ok(exchange) => {
                self.exchanges.insert(id, exchange);
            }
            Err(error) => self.pending.push(ended(id, to, &error)),
        }
        id
    }

    fn exchange(
        &mut self,
        to: SocketAddrV4,
        request: &Request,
        answer: Answer,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<Exchange, ClientError> {
        let bytes = encode_request(request, &to.to_string(), true).ok_or(ClientError::Unsendable)?;
        let mut output = Output::default();
        output.push(bytes).map_err(|_| ClientError::TooLarge)?;
        let kept = if matches!(answer, Answer::Whole(_)) { self.take_idle(to) } else { None };
        let (stream, state) = match kept {
            Some(stream) => (stream, State::Open),
            None => {
                let stream = socket::begin_connect(to).map_err(ClientError::Connect)?;
                (stream, State::Connecting { deadline: now + CONNECT_TIMEOUT })
            }
        };
        let parser = ResponseParser::new(request.method == "HEAD");
        Ok(Exchange { to, stream, state, output, parser, answer, deadline })
    }

    /// A kept connection to that address that is still good.
    fn take_idle(&mut self, to: SocketAddrV4) -> Option<TcpStream> {
        while let Some(at) = self.idle.iter().position(|(address, _)| *address == to) {
            let (_, stream) = self.idle.swap_remove(at);
            if socket::is_idle(&stream) {
                return Some(stream);
            }
        }
        None
    }

    /// Adds all descriptors.
    pub fn register(&self, set: &mut PollSet) {
        self.exchanges.values().for_each(|exchange| set.add(exchange.stream.as_raw_fd(), exchange.interest()));
        self.idle.iter().for_each(|(_, stream)| set.add(stream.as_raw_fd(), Interest::Read));
    }

    /// Whether something is to be done that no descriptor will tell.
    pub fn is_restless(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next time at which a request fails if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.exchanges.values().map(Exchange::deadline).fold(None, earlier)
    }

    /// Reads and writes what can be.
    pub fn turn(&mut self, set: &PollSet, now: Instant, scratch: &mut [u8], events: &mut Vec<NetworkEvent>) {
        events.append(&mut self.pending);
        self.idle.retain(|(_, stream)| !set.is_readable(stream.as_raw_fd()));
        let ids: Vec<RequestId> = self.exchanges.keys().copied().collect();
        for id in ids {
            let Some(exchange) = self.exchanges.get_mut(&id) else {
                continue;
            };
            match exchange.turn(id, set, now, scratch, events) {
                Ok(Step::Goes) => {}
                Ok(Step::Done { keep }) => self.finish(id, keep),
                Err(error) => {
                    events.push(ended(id, exchange.to, &error));
                    self.finish(id, false);
                }
            }
        }
    }

    fn finish(&mut self, id: RequestId, keep: bool) {
        if let Some(exchange) = self.exchanges.remove(&id)
            && keep
            && self.idle.len() < MAX_IDLE
        {
            self.idle.push((exchange.to, exchange.stream));
        }
    }

    /// How many connections wait for another request.
    #[cfg(test)]
    pub fn idle_count(&self) -> usize {
        self.idle.len()
    }
}

fn ended(id: RequestId, to: SocketAddrV4, error: &ClientError) -> NetworkEvent {
    NetworkEvent::RequestEnded { request: id, error: Some(format!("{to}: {error}")) }
}
