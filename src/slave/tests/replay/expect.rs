//! What the agent sent, asked of the slave.

use std::time::Duration;

use prost::Message as _;

use super::allowed;
use super::compare::Sent;
use super::play::{BACKOFF, Play};
use super::recording::Received;
use crate::messages::mesos::internal::{ExitedExecutorMessage, StatusUpdateMessage};

impl Play<'_> {
    /// The agent sent this: so must we have.
    pub(super) fn expect(&mut self, place: &str, theirs: &Received) {
        let name = theirs.name.rsplit('.').next().unwrap_or_default();
        if self.custom.contains(&subject(name, &theirs.body)) {
            self.allow(allowed::CUSTOM_EXECUTORS);
            return;
        }
        let is_registration = matches!(name, "RegisterSlaveMessage" | "ReregisterSlaveMessage" | "AuthenticateMessage");
        if is_registration {
            self.await_registration(theirs);
        }
        let Some(ours) = self.take(theirs, is_registration) else {
            match name {
                "UpdateSlaveMessage" => self.allow(allowed::NO_UPDATE_SLAVE),
                "ReregisterSlaveMessage" if self.thawed() => self.allow(allowed::LATE_PINGS),
                _ => self.findings.differences.push(format!("{place}: theirs, not ours; ours: {:?}", self.names())),
            }
            return;
        };
        self.findings.compare(place, &ours, theirs);
    }

    pub(super) fn allow(&mut self, reason: &'static str) {
        self.findings.used.insert(reason);
    }

    /// The agent's process was frozen until a moment ago.
    fn thawed(&self) -> bool {
        let moment = Duration::from_secs_f64(BACKOFF);
        let thaws = self.recording.entries.iter().filter(|entry| entry.what == "SIGCONT");
        thaws.map(|entry| self.instant(entry.at)).any(|at| (at..at + moment).contains(&self.now))
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
        let about = subject(name, &theirs.body);
        let same = |sent: &Sent| sent.message.name == theirs.name && subject(name, &sent.message.body) == about;
        while is_registration && self.sent.iter().filter(|sent| same(sent)).count() > 1 {
            self.allow(allowed::ASKS_AGAIN);
            let first = self.sent.iter().position(same)?;
            self.sent.remove(first);
        }
        let place = self.sent.iter().position(same)?;
        self.sent.remove(place)
    }

    /// Whatever the slave sent has been asked for by now.
    pub(super) fn settle(&mut self, when: &str) {
        for sent in std::mem::take(&mut self.sent) {
            let name = sent.message.name.rsplit('.').next().unwrap_or_default();
            if self.custom.contains(&subject(name, &sent.message.body)) {
                self.allow(allowed::CUSTOM_EXECUTORS_REFUSED);
            } else {
                self.findings.differences.push(format!("ours, not theirs {when}: {sent:?}"));
            }
        }
    }
}

/// What a message is about: a task or an executor of a framework.
fn subject(name: &str, body: &[u8]) -> (String, String) {
    match name {
        "StatusUpdateMessage" => {
            let update = StatusUpdateMessage::decode(body).expect("an update").update;
            (update.framework_id.value, update.status.task_id.value)
        }
        "ExitedExecutorMessage" => {
            let message = ExitedExecutorMessage::decode(body).expect("an exit");
            (message.framework_id.value, message.executor_id.value)
        }
        _ => Default::default(),
    }
}
