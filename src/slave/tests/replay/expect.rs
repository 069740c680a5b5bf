//! What the agent sent, asked of the slave.

use std::time::Duration;

use prost::Message as _;

use super::allowed;
use super::compare::Sent;
use super::play::{BACKOFF, Play};
use super::recording::Received;
use crate::libprocess::Dialect;
use crate::messages::mesos::internal::{ExitedExecutorMessage, StatusUpdateMessage};

/// What a slave sends until it is answered.
const REGISTRATIONS: [&str; 3] = ["RegisterSlaveMessage", "ReregisterSlaveMessage", "AuthenticateMessage"];

impl Play<'_> {
    /// The agent sent this: so must we have.
    pub(super) fn expect(&mut self, place: &str, theirs: &Received) {
        let name = theirs.name.rsplit('.').next().unwrap_or_default();
        if self.custom.contains(&self.subject(name, &theirs.body)) {
            self.allow(allowed::CUSTOM_EXECUTORS);
            return;
        }
        let is_registration = REGISTRATIONS.contains(&name);
        if is_registration {
            self.await_registration(theirs);
        }
        let Some(ours) = self.take(theirs, is_registration) else {
            match name {
                "UpdateSlaveMessage" => self.allow(allowed::NO_UPDATE_SLAVE),
                _ => self.findings.differences.push(format!("{place}: theirs, not ours; ours: {:?}", self.names())),
            }
            return;
        };
        self.findings.compare(place, &ours, theirs);
    }

    pub(super) fn allow(&mut self, reason: &'static str) {
        self.findings.used.insert(reason.into());
    }

    fn names(&self) -> Vec<&str> {
        self.sent.iter().map(|sent| sent.message.name.as_str()).collect()
    }

    /// Gives our own jitter its time.
    fn await_registration(&mut self, theirs: &Received) {
        let latest = self.now + Duration::from_secs_f64(BACKOFF);
        let due = self.deadline().filter(|deadline| *deadline <= latest);
        if let Some(due) = due.filter(|_| !self.sent.iter().any(|sent| sent.message.name == theirs.name)) {
            self.pass(due);
        }
    }

    /// The first of our messages with the same name about the same thing; the last where we asked again and again.
    fn take(&mut self, theirs: &Received, is_registration: bool) -> Option<Sent> {
        let name = theirs.name.rsplit('.').next().unwrap_or_default();
        let about = self.subject(name, &theirs.body);
        let same = |sent: &Sent| sent.message.name == theirs.name && self.subject(name, &sent.message.body) == about;
        let mut places: Vec<usize> = (0..self.sent.len()).filter(|place| same(&self.sent[*place])).collect();
        while is_registration && places.len() > 1 {
            self.allow(allowed::ASKS_AGAIN);
            self.sent.remove(places.remove(0));
            places.iter_mut().for_each(|place| *place -= 1);
        }
        self.sent.remove(*places.first()?)
    }

    /// Whatever the slave sent has been asked for by now.
    pub(super) fn settle(&mut self, when: &str) {
        for sent in std::mem::take(&mut self.sent) {
            let name = sent.message.name.rsplit('.').next().unwrap_or_default();
            if self.lost && REGISTRATIONS.contains(&name) {
                self.allow(allowed::ASKS_AGAIN);
            } else if REGISTRATIONS.contains(&name) && sent.dialect == Dialect::V2012 {
                self.allow(allowed::COUNTS_PINGS);
            } else if self.custom.contains(&self.subject(name, &sent.message.body)) {
                self.allow(allowed::CUSTOM_EXECUTORS_REFUSED);
            } else {
                self.findings.differences.push(format!("ours, not theirs {when}: {sent:?}"));
            }
        }
    }

    /// What a message is about: a task or an executor of a framework.
    fn subject(&self, name: &str, body: &[u8]) -> (String, String) {
        match name {
            "StatusUpdateMessage" => {
                let update = StatusUpdateMessage::decode(body).expect("an update").update;
                (update.framework_id.value, update.status.task_id.value)
            }
            "ExitedExecutorMessage" => {
                let message = ExitedExecutorMessage::decode(body).expect("an exit");
                let executor = (message.framework_id.value, message.executor_id.value);
                // Of a command task's executor the task's id is what both know.
                let task = self.commands.get(&executor).map(ToString::to_string);
                (executor.0, task.unwrap_or(executor.1))
            }
            _ => Default::default(),
        }
    }
}
