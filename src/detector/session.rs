//! The core of the ZooKeeper client: one session over one connection at a time, and one question, who leads (`asking`). No sockets,
//! no clock.
//!
//! ```text
//!   Waiting ──► Looking ──► Connecting ──► Greeting ──► Up: children ─► data ─► (watch) ─► children ...
//!      ▲           │             │             │         │      └ no such path ─► exists ─► (watch) ─► children
//!      └───────────┴─────────────┴─────────────┴─────────┘
//!        refused, silent, closed, nonsense: the next server, after a full round with a back-off
//! ```
//!
//! A connection that breaks does not end the session: the next server is asked to go on with it, and the leader stays the leader.
//! The session is over when a server says so, or when none took it for the session's time: a server cannot tell us of an end while
//! we do not reach it. Then nobody is known to lead any more, and a new session is begun; as with Mesos' agent, a leader that is
//! found again is registered with again (`GroupProcess::timedout` and `expired` in `src/zookeeper/group.cpp`).

mod asking;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::wire::{self, Frames, SessionId, WireError};
use crate::flags::ZooKeeper;
use crate::libprocess::Pid;
use crate::poll::{Backoff, earlier};
use crate::random::Random;

use asking::Asked;

/// What is asked of the servers, which allow 2 to 20 of their ticks (of 2 s); `MASTER_DETECTOR_ZK_SESSION_TIMEOUT`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// What is taken for a session's time, whatever a server says.
const SESSION_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// For the name of a server, as long as there is no session to lose: a resolver passes over its own dead servers in 5 s each.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// Before another server is tried, as long as not all have been.
const NEXT_SERVER: Duration = Duration::from_millis(100);
/// Between rounds over all servers. Less than a session's time, so that a server that returns is found in time.
const ROUND: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// What can happen to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// The server's address is known, and the connection begun.
    Resolved,
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
    /// The shell is at the server's name.
    Looking { until: Instant },
    /// The shell is at the connection.
    Connecting { until: Instant },
    /// We have spoken first, the server has not answered. `resumes`: we asked to go on with a session.
    Greeting { until: Instant, frames: Frames, resumes: bool },
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
    /// When the session is over, if no server takes it until then. None: it goes on, or there is none.
    expiry: Option<Instant>,
    /// Connections in a row that came to nothing.
    failures: usize,
    rounds: Backoff,
    random: Random,
    leader: Option<(String, Pid)>,
    /// That there is no master has been said.
    told: bool,
    /// Nodes of which it has been said that they name no master, out of those that are there.
    useless: Vec<String>,
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
            expiry: None,
            failures: 0,
            rounds: Backoff::new(ROUND.0, ROUND.1),
            random,
            leader: None,
            told: false,
            useless: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Where the servers are.
    pub fn zookeeper(&self) -> &ZooKeeper {
        &self.zookeeper
    }

    /// When [`Input::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until }
            | State::Looking { until }
            | State::Connecting { until }
            | State::Greeting { until, .. } => earlier(Some(*until), self.expiry),
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
            Input::Resolved => self.resolved(now),
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
            State::Waiting { .. } | State::Looking { .. } | State::Connecting { .. } | State::Greeting { .. } => None,
        }
    }

    fn server(&self) -> String {
        let place = self.order[self.turn % self.order.len()];
        let (host, port) = &self.zookeeper.servers[place];
        format!("{host}:{port}")
    }

    /// For one server to answer: so short that others get their chance within a session, as in ZooKeeper's own clients.
    fn patience(&self) -> Duration {
        self.timeout / 3
    }

    fn resolved(&mut self, now: Instant) {
        if let State::Looking { .. } = self.state {
            self.state = State::Connecting { until: now + self.patience() };
        }
    }

    fn connected(&mut self) {
        if let State::Connecting { until } = self.state {
            let first = wire::connect(&self.session, self.last_zxid, SESSION_TIMEOUT.as_millis() as i32);
            self.outputs.push(Output::Send(first));
            self.state = State::Greeting { until, frames: Frames::default(), resumes: self.session.id != 0 };
        }
    }

    fn frames(&mut self) -> Option<&mut Frames> {
        match &mut self.state {
            State::Greeting { frames, .. } | State::Up(Up { frames, .. }) => Some(frames),
            State::Waiting { .. } | State::Looking { .. } | State::Connecting { .. } => None,
        }
    }

    fn bytes(&mut self, bytes: &[u8], now: Instant) {
        if let Some(frames) = self.frames() {
            frames.push(bytes);
        }
        // A frame may end the connection, and with it those after it.
        while let Some(frames) = self.frames() {
            let done = match frames.next() {
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
        match self.state {
            State::Greeting { resumes, .. } => match wire::read_connected(frame)? {
                answer if answer.timeout_ms <= 0 || answer.session.id == 0 => self.turned_away(resumes, now),
                answer => self.greeted(answer, now),
            },
            State::Up(_) => {
                self.heard = now;
                self.reply(wire::read_reply(frame)?, now)?;
            }
            State::Waiting { .. } | State::Looking { .. } | State::Connecting { .. } => {}
        }
        Ok(())
    }

    fn greeted(&mut self, answer: wire::Connected, now: Instant) {
        self.timeout = Duration::from_millis(answer.timeout_ms as u64).clamp(SESSION_LIMITS.0, SESSION_LIMITS.1);
        self.session = answer.session;
        (self.heard, self.expiry) = (now, None);
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

    /// The server knows no such session. It gives a new one to who asks for none, and so it is asked at once; unless we did.
    fn turned_away(&mut self, resumes: bool, now: Instant) {
        self.fail("it says that the session is over", now);
        if resumes {
            self.expire("the session with ZooKeeper is over");
            self.state = State::Waiting { until: now };
        }
    }

    /// The session is over, and with it what we knew. A server counts transactions for all sessions: only a new session may go to
    /// one that has seen fewer.
    fn expire(&mut self, why: &str) {
        self.session = SessionId::default();
        self.last_zxid = 0;
        self.timeout = SESSION_TIMEOUT;
        self.expiry = None;
        self.nobody(why);
    }

    fn fail(&mut self, why: &str, now: Instant) {
        if matches!(self.state, State::Waiting { .. }) {
            return;
        }
        let server = self.server();
        let is_news = self.failures == 0 || matches!(self.state, State::Up(_));
        if matches!(self.state, State::Up(_)) {
            self.expiry = Some(now + self.timeout);
        }
        if is_news {
            log::warn!("ZooKeeper at {server}: {why}; trying the next server");
        } else {
            log::debug!("ZooKeeper at {server}: {why}");
        }
        self.outputs.push(Output::Disconnect);
        self.failures = self.failures.saturating_add(1);
        if self.failures == self.order.len() {
            log::warn!("no server of {} serves; trying again, at least every {} s", self.zookeeper, ROUND.1.as_secs());
        }
        self.turn = (self.turn + 1) % self.order.len();
        let limit = if self.failures.is_multiple_of(self.order.len()) { self.rounds.next_wait() } else { NEXT_SERVER };
        let until = now + limit / 2 + self.random.duration_up_to(limit / 2);
        self.state = State::Waiting { until };
    }

    fn deadlines(&mut self, now: Instant) {
        if self.expiry.is_some_and(|expiry| expiry <= now) {
            self.expire(&format!("no server of ZooKeeper could be reached for {} s", self.timeout.as_secs()));
        }
        match &self.state {
            State::Waiting { until } if *until <= now => {
                self.outputs.push(Output::Connect(self.order[self.turn]));
                let limit = if self.session.id == 0 { LOOKUP_TIMEOUT } else { self.patience() };
                self.state = State::Looking { until: now + limit };
            }
            State::Looking { until } if *until <= now => self.fail("its name could not be looked up in time", now),
            State::Connecting { until } | State::Greeting { until, .. } if *until <= now => {
                self.fail("no answer in time", now);
            }
            State::Waiting { .. } | State::Looking { .. } | State::Connecting { .. } | State::Greeting { .. } => {}
            State::Up(_) => self.keep_up(now),
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
