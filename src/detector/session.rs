//! The core of the ZooKeeper client: one session over one connection at a time, and one question, who leads, asked again whenever
//! a watch says that the answer may have changed. No sockets, no clock.
//!
//! ```text
//!   Waiting ──► Connecting ──► Greeting ──► Up: children ─► data ─► (watch) ─► children ...
//!      ▲            │              │         │      └ no such path ─► exists ─► (watch) ─► children
//!      └────────────┴──────────────┴─────────┘
//!        refused, silent, closed, nonsense: the next server, after a full round with a back-off
//! ```
//!
//! A connection that breaks does not end the session: the next server is asked to go on with it, and the leader stays the leader.
//! Only when no server could be reached for the session's time is nobody known to lead any more, and a new session is begun, as
//! Mesos does (`GroupProcess::timedout`). A server that says that the session is over gives a new one at once; since ours
//! only watches, nothing was lost with the old one.

use std::time::{Duration, Instant};

use super::election;
use super::wire::{self, Code, Frames, Reply, SessionId, WireError};
use crate::flags::ZooKeeper;
use crate::libprocess::Pid;
use crate::poll::{Backoff, earlier};
use crate::random::Random;

/// What is asked of the servers, which allow 2 to 20 of their ticks (of 2 s); `MASTER_DETECTOR_ZK_SESSION_TIMEOUT`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// What is taken for a session's time, whatever a server says.
const SESSION_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// From the wish for a connection to the server's first frame: so short that a second server gets its chance within a session.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Before another server is tried, as long as not all have been.
const NEXT_SERVER: Duration = Duration::from_millis(100);
/// Between rounds over all servers. Less than a session's time, so that a server that returns is found in time.
const ROUND: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Before a question is asked again that a server refused.
const REFUSED: Duration = Duration::from_secs(10);

/// What can happen to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// The connection that was asked for is there.
    Connected,
    /// The connection brought bytes.
    Bytes(&'a [u8]),
    /// The connection could not be made, or is gone.
    Failed(String),
    /// Nothing but time has passed.
    Tick,
}

/// What a session wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the server of this place in the list.
    Connect(usize),
    /// Send bytes over the connection.
    Send(Vec<u8>),
    /// Forget the connection, or the attempt at one.
    Disconnect,
    /// This master leads now.
    Detected(Pid),
    /// Nobody is known to lead.
    Lost,
}

#[derive(Debug)]
enum State {
    /// Until the next server's turn.
    Waiting { until: Instant },
    /// The shell is at it.
    Connecting { until: Instant },
    /// We have spoken first, the server has not answered.
    Greeting { until: Instant, frames: Frames },
    /// The session goes on.
    Up(Up),
}

#[derive(Debug)]
struct Up {
    frames: Frames,
    asked: Asked,
    xid: i32,
    /// Something changed after the question that is on its way was asked.
    changed: bool,
    sent: Instant,
}

/// The one question that is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// None: a watch will tell.
    Nothing,
    /// None; it was refused and will be asked again.
    Later(Instant),
    Children,
    Exists,
    Data {
        node: String,
    },
}

/// The session, and what it has found out.
#[derive(Debug)]
pub struct Session {
    zookeeper: ZooKeeper,
    /// Places in the list of servers, shuffled, so that a cluster's slaves spread over them.
    order: Vec<usize>,
    turn: usize,
    state: State,
    session: SessionId,
    /// How long the session outlives a connection, as agreed with the server.
    timeout: Duration,
    last_zxid: i64,
    /// When a server last said anything in this session.
    heard: Instant,
    /// Connections in a row that came to nothing.
    failures: usize,
    rounds: Backoff,
    random: Random,
    leader: Option<(String, Pid)>,
    /// That there is no master has been said.
    told: bool,
    outputs: Vec<Output>,
}

impl Session {
    /// A session that begins with its first tick.
    pub fn new(zookeeper: ZooKeeper, mut random: Random, now: Instant) -> Session {
        let mut order: Vec<usize> = (0..zookeeper.servers.len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
        }
        Session {
            zookeeper,
            order,
            turn: 0,
            state: State::Waiting { until: now },
            session: SessionId::default(),
            timeout: SESSION_TIMEOUT,
            last_zxid: 0,
            heard: now,
            failures: 0,
            rounds: Backoff::new(ROUND.0, ROUND.1),
            random,
            leader: None,
            told: false,
            outputs: Vec::new(),
        }
    }

    /// Where the servers are.
    pub fn zookeeper(&self) -> &ZooKeeper {
        &self.zookeeper
    }

    /// When [`Input::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let expiry = (self.session.id != 0).then(|| self.heard + self.timeout);
        match &self.state {
            State::Waiting { until } | State::Connecting { until } | State::Greeting { until, .. } => {
                earlier(Some(*until), expiry)
            }
            State::Up(up) => {
                let again = match up.asked {
                    Asked::Later(at) => Some(at),
                    Asked::Nothing | Asked::Children | Asked::Exists | Asked::Data { .. } => None,
                };
                let ping = up.sent + self.timeout / 3;
                earlier(again, Some(ping.min(self.silence())))
            }
        }
    }

    /// When a silent server is given up, early enough to go on with the session elsewhere.
    fn silence(&self) -> Instant {
        self.heard + self.timeout * 2 / 3
    }

    /// Takes an input in and gives what follows from it, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        match input {
            Input::Connected => self.connected(),
            Input::Bytes(bytes) => self.bytes(bytes, now),
            Input::Failed(why) => self.fail(&why, now),
            Input::Tick => {}
        }
        self.deadlines(now);
        std::mem::take(&mut self.outputs)
    }

    /// The last bytes to send, if there is a session to end.
    pub fn farewell(&self) -> Option<Vec<u8>> {
        match &self.state {
            State::Up(up) => Some(wire::close(up.xid.wrapping_add(1))),
            State::Waiting { .. } | State::Connecting { .. } | State::Greeting { .. } => None,
        }
    }

    fn server(&self) -> String {
        let place = self.order[self.turn % self.order.len()];
        let (host, port) = &self.zookeeper.servers[place];
        format!("{host}:{port}")
    }

    fn connected(&mut self) {
        if let State::Connecting { until } = self.state {
            let first = wire::connect(&self.session, self.last_zxid, SESSION_TIMEOUT.as_millis() as i32);
            self.outputs.push(Output::Send(first));
            self.state = State::Greeting { until, frames: Frames::default() };
        }
    }

    fn bytes(&mut self, bytes: &[u8], now: Instant) {
        let mut fresh = bytes;
        loop {
            let next = match &mut self.state {
                State::Greeting { frames, .. } | State::Up(Up { frames, .. }) => {
                    frames.push(std::mem::take(&mut fresh));
                    frames.next()
                }
                State::Waiting { .. } | State::Connecting { .. } => return,
            };
            let done = match next {
                Ok(None) => return,
                Ok(Some(frame)) => self.frame(&frame, now),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                return self.fail(&error.to_string(), now);
            }
        }
    }

    fn frame(&mut self, frame: &[u8], now: Instant) -> Result<(), WireError> {
        match &self.state {
            State::Greeting { .. } => self.greeted(wire::read_connected(frame)?, now),
            State::Up(_) => {
                self.heard = now;
                self.reply(wire::read_reply(frame)?, now)?;
            }
            State::Waiting { .. } | State::Connecting { .. } => {}
        }
        Ok(())
    }

    fn greeted(&mut self, answer: wire::Connected, now: Instant) {
        if answer.timeout_ms <= 0 || answer.session.id == 0 {
            log::info!("ZooKeeper's session {:?} is over; beginning a new one", self.session);
            self.forget_session();
            return self.fail("the session is over", now);
        }
        self.timeout = Duration::from_millis(answer.timeout_ms as u64).clamp(SESSION_LIMITS.0, SESSION_LIMITS.1);
        self.session = answer.session;
        self.heard = now;
        log::info!("ZooKeeper at {} answers, session {:?}", self.server(), self.session);
        let State::Greeting { frames, .. } = &mut self.state else {
            return;
        };
        let frames = std::mem::take(frames);
        self.state = State::Up(Up { frames, asked: Asked::Nothing, xid: 0, changed: false, sent: now });
        if let Some(credentials) = &self.zookeeper.credentials {
            self.outputs.push(Output::Send(wire::auth(credentials.secret())));
        }
        self.ask(Asked::Children, now);
    }

    fn ask(&mut self, question: Asked, now: Instant) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        up.xid = up.xid.checked_add(1).unwrap_or(1);
        up.sent = now;
        let path = &self.zookeeper.path;
        let request = match &question {
            Asked::Nothing | Asked::Later(_) => return,
            Asked::Children => {
                // What changed until now is in the answer.
                up.changed = false;
                wire::get_children(up.xid, path)
            }
            Asked::Exists => wire::exists(up.xid, path),
            Asked::Data { node } => wire::get_data(up.xid, &format!("{path}/{node}")),
        };
        up.asked = question;
        self.outputs.push(Output::Send(request));
    }

    fn reply(&mut self, reply: Reply, now: Instant) -> Result<(), WireError> {
        match reply {
            Reply::Pong => {
                self.failures = 0;
                self.rounds = Backoff::new(ROUND.0, ROUND.1);
            }
            Reply::Auth(Code::OK) => {}
            Reply::Auth(code) => {
                self.fail(&format!("it does not take the user and password of --master ({code})"), now)
            }
            Reply::Event { path } => self.event(path, now),
            Reply::Answer { xid, zxid, code, body } => {
                let State::Up(up) = &mut self.state else {
                    return Ok(());
                };
                let asked = std::mem::replace(&mut up.asked, Asked::Nothing);
                if up.xid != xid || matches!(asked, Asked::Nothing | Asked::Later(_)) {
                    return Err(WireError::Unasked(xid));
                }
                self.last_zxid = self.last_zxid.max(zxid);
                self.answer(asked, code, body, now)?;
                self.ask_again(now);
            }
        }
        Ok(())
    }

    fn event(&mut self, path: &str, now: Instant) {
        let ours = path.strip_prefix(self.zookeeper.path.as_str());
        if let (Some(rest), State::Up(up)) = (ours, &mut self.state)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            up.changed = true;
            self.ask_again(now);
        }
    }

    fn ask_again(&mut self, now: Instant) {
        if let State::Up(Up { changed: true, asked: Asked::Nothing | Asked::Later(_), .. }) = self.state {
            self.ask(Asked::Children, now);
        }
    }

    fn answer(&mut self, asked: Asked, code: Code, body: &[u8], now: Instant) -> Result<(), WireError> {
        match (asked, code) {
            (Asked::Nothing | Asked::Later(_), _) => {}
            (Asked::Children, Code::OK) => match election::leader(&wire::read_children(body)?) {
                Some(node) => self.ask(Asked::Data { node: node.to_string() }, now),
                None => self.nobody("no master has announced itself"),
            },
            (Asked::Children, Code::NO_NODE) => {
                self.nobody("there is no such path yet");
                self.ask(Asked::Exists, now);
            }
            (Asked::Exists, Code::OK) => self.ask(Asked::Children, now),
            (Asked::Exists, Code::NO_NODE) => {}
            (Asked::Data { node }, Code::OK) => self.found(node, wire::read_data(body)?),
            // Gone since the children were read.
            (Asked::Data { .. }, Code::NO_NODE) => self.ask(Asked::Children, now),
            (Asked::Children | Asked::Exists | Asked::Data { .. }, Code::NO_AUTH) => self.refused(now),
            (Asked::Children | Asked::Exists | Asked::Data { .. }, code) => {
                if code == Code::SESSION_EXPIRED {
                    self.forget_session();
                }
                self.fail(&format!("it answers: {code}"), now);
            }
        }
        Ok(())
    }

    fn found(&mut self, node: String, data: &[u8]) {
        match election::address(&node, data) {
            Ok(pid) => {
                let leader = (node, pid);
                if self.leader.as_ref() != Some(&leader) {
                    self.outputs.push(Output::Detected(leader.1.clone()));
                    self.leader = Some(leader);
                    self.told = false;
                }
            }
            Err(error) => {
                log::error!("the leading master's node {}/{node} is of no use: {error}", self.zookeeper.path);
                self.nobody("the leading master cannot be read");
            }
        }
    }

    fn refused(&mut self, now: Instant) {
        let advice = match self.zookeeper.credentials {
            Some(_) => "the user and password of --master do not have the right",
            None => "give --master as zk://user:password@...",
        };
        self.nobody(&format!("ZooKeeper does not let us read it; {advice}"));
        if let State::Up(up) = &mut self.state {
            up.asked = Asked::Later(now + REFUSED);
        }
    }

    /// Nobody leads; that is told once.
    fn nobody(&mut self, why: &str) {
        if self.leader.take().is_some() {
            self.outputs.push(Output::Lost);
        }
        if !std::mem::replace(&mut self.told, true) {
            log::warn!("no master is known at {}: {why}; waiting", self.zookeeper);
        }
    }

    /// A server counts transactions for all sessions: only a new session may go to one that has seen fewer.
    fn forget_session(&mut self) {
        self.session = SessionId::default();
        self.last_zxid = 0;
        self.timeout = SESSION_TIMEOUT;
    }

    fn fail(&mut self, why: &str, now: Instant) {
        if matches!(self.state, State::Waiting { .. }) {
            return;
        }
        let server = self.server();
        if self.failures == 0 {
            log::warn!("ZooKeeper at {server}: {why}; trying the next server");
        } else {
            log::debug!("ZooKeeper at {server}: {why}");
        }
        self.outputs.push(Output::Disconnect);
        self.failures = self.failures.saturating_add(1);
        self.turn = (self.turn + 1) % self.order.len();
        let limit = if self.failures % self.order.len() != 0 { NEXT_SERVER } else { self.rounds.next_wait() };
        let until = now + limit / 2 + self.random.duration_up_to(limit / 2);
        self.state = State::Waiting { until };
    }

    fn deadlines(&mut self, now: Instant) {
        match &self.state {
            State::Waiting { until } if *until <= now => {
                self.outputs.push(Output::Connect(self.order[self.turn]));
                self.state = State::Connecting { until: now + CONNECT_TIMEOUT };
            }
            State::Connecting { until } | State::Greeting { until, .. } if *until <= now => {
                self.fail("no answer in time", now);
            }
            State::Waiting { .. } | State::Connecting { .. } | State::Greeting { .. } => {}
            State::Up(_) => self.keep_up(now),
        }
        let up = matches!(self.state, State::Up(_));
        if !up && self.session.id != 0 && self.heard + self.timeout <= now {
            let seconds = self.timeout.as_secs();
            self.forget_session();
            self.nobody(&format!("no server of ZooKeeper could be reached for {seconds} s"));
        }
    }

    fn keep_up(&mut self, now: Instant) {
        let silence = self.silence();
        let State::Up(up) = &mut self.state else {
            return;
        };
        if silence <= now {
            return self.fail("it has fallen silent", now);
        }
        if up.sent + self.timeout / 3 <= now {
            up.sent = now;
            self.outputs.push(Output::Send(wire::ping()));
        }
        if matches!(up.asked, Asked::Later(at) if at <= now) {
            self.ask(Asked::Children, now);
        }
    }
}
