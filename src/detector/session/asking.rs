//! The question, who leads: asked of the server that the session is at, again whenever a watch says that the answer may have
//! changed. One question is on its way at a time.
//!
//! A node with the lowest number that is no master's, or cannot be understood, is passed over with a warning and the next one
//! counts. (Mesos' agent ends itself then. Its masters take such a node for the leader's too, so none of them leads, and the one
//! that we ask to take us in does not answer until the node is gone.)

use std::time::{Duration, Instant};

use super::super::election;
use super::super::wire::{self, Code, Reply, WireError};
use super::{Output, ROUND, Session, State, Up};
use crate::poll::Backoff;

/// Before a question is asked again that a server refused.
const REFUSED: Duration = Duration::from_secs(10);
/// How many nodes may be looked at before one says where a master is.
const MAX_CANDIDATES: usize = 8;

/// The one question that is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// None: a watch will tell.
    Nothing,
    /// None; it was refused and will be asked again.
    Later(Instant),
    Children,
    Exists,
    Data {
        node: String,
        /// Those that count if this one says nothing, the next one last.
        others: Vec<String>,
    },
}

impl Session {
    pub(super) fn ask(&mut self, question: Asked, now: Instant) {
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
            Asked::Data { node, .. } => wire::get_data(up.xid, &format!("{path}/{node}")),
        };
        up.asked = question;
        self.outputs.push(Output::Send(request));
    }

    pub(super) fn reply(&mut self, reply: Reply, now: Instant) -> Result<(), WireError> {
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
            (Asked::Children, Code::OK) => self.children(&wire::read_children(body)?, now),
            (Asked::Children, Code::NO_NODE) => {
                self.nobody("there is no such path yet");
                self.ask(Asked::Exists, now);
            }
            (Asked::Exists, Code::OK) => self.ask(Asked::Children, now),
            (Asked::Exists, Code::NO_NODE) => {}
            (Asked::Data { node, others }, Code::OK) => self.data(node, others, wire::read_data(body)?, now),
            // Gone since the children were read.
            (Asked::Data { .. }, Code::NO_NODE) => self.ask(Asked::Children, now),
            (Asked::Children | Asked::Exists | Asked::Data { .. }, Code::NO_AUTH) => self.refused(now),
            (Asked::Children | Asked::Exists | Asked::Data { .. }, code) => {
                self.fail(&format!("it answers: {code}"), now);
                if code == Code::SESSION_EXPIRED {
                    self.expire("the session with ZooKeeper is over");
                }
            }
        }
        Ok(())
    }

    fn children(&mut self, names: &[&str], now: Instant) {
        self.useless.retain(|node| names.contains(&node.as_str()));
        let candidates = election::candidates(names).into_iter().take(MAX_CANDIDATES);
        let mut others: Vec<String> = candidates.map(str::to_string).collect();
        others.reverse();
        match others.pop() {
            Some(node) => self.ask(Asked::Data { node, others }, now),
            None => self.nobody("no master has announced itself"),
        }
    }

    fn data(&mut self, node: String, mut others: Vec<String>, data: &[u8], now: Instant) {
        let error = match election::address(&node, data) {
            Ok(pid) => {
                let leader = (node, pid);
                if self.leader.as_ref() != Some(&leader) {
                    self.outputs.push(Output::Detected(leader.1.clone()));
                    self.leader = Some(leader);
                    self.told = false;
                }
                return;
            }
            Err(error) => error,
        };
        if !self.useless.contains(&node) {
            log::warn!("the node {}/{node} is passed over, it names no master: {error}", self.zookeeper.path);
            self.useless.push(node);
        }
        match others.pop() {
            Some(node) => self.ask(Asked::Data { node, others }, now),
            None => self.nobody("no node names a master"),
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
    pub(super) fn nobody(&mut self, why: &str) {
        if self.leader.take().is_some() {
            self.outputs.push(Output::Lost);
        }
        if !std::mem::replace(&mut self.told, true) {
            log::warn!("no master is known at {}: {why}; waiting", self.zookeeper);
        }
    }
}
