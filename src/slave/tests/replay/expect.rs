//! What the agent sent, asked of the slave.

use std::time::Duration;

use prost::Message as _;

use super::allowed;
use super::compare::Sent;
use super::play::{BACKOFF, Play};
use super::recording::Received;
use crate::ids::FrameworkId;
use crate::libprocess::Dialect;
use crate::messages::mesos::internal::{
    ExitedExecutorMessage, RunTaskMessage, StatusUpdateAcknowledgementMessage, StatusUpdateMessage,
};
use crate::messages::mesos::task_status::Reason;

/// What a slave sends until it is answered.
const REGISTRATIONS: [&str; 3] = ["RegisterSlaveMessage", "ReregisterSlaveMessage", "AuthenticateMessage"];

impl Play<'_> {
    /// The agent sent this: so must we have.
    pub(super) fn expect(&mut self, place: &str, theirs: &Received) {
        let name = theirs.name.rsplit('.').next().unwrap_or_default();
        if self.is_to_the_child(theirs) {
            return;
        }
        let about = self.subject(name, &theirs.body);
        if self.refused.contains(&about) {
            return self.allow(allowed::NO_DEFAULT_EXECUTOR);
        }
        if name == "ExitedExecutorMessage" && self.custom.contains(&about) {
            self.end_own_executor(&about);
        }
        let is_registration = REGISTRATIONS.contains(&name);
        if is_registration {
            self.await_registration(theirs);
        }
        let Some(ours) = self.take(theirs, is_registration) else {
            match self.excuse(name, &theirs.body) {
                Some(reason) => self.allow(reason),
                None => self.findings.differences.push(format!("{place}: theirs, not ours; ours: {:?}", self.names())),
            }
            return;
        };
        self.findings.compare(place, &ours, theirs);
        if self.is_exit_before_update(name, &ours) {
            self.findings.differences.push(format!("{place}: ours was sent before an update that theirs followed"));
        }
    }

    /// A master gives up what an executor has when it hears of its exit, so that comes after all updates.
    fn is_exit_before_update(&mut self, name: &str, ours: &Sent) -> bool {
        let body = ours.message.body.as_slice();
        match name {
            "StatusUpdateMessage" => {
                let update = StatusUpdateMessage::decode(body).expect("an update").update;
                let executor = update.executor_id.map(|id| id.value).unwrap_or_default();
                let last = self.last_updates.entry((update.framework_id.value, executor)).or_default();
                *last = ours.number.max(*last);
                false
            }
            "ExitedExecutorMessage" => {
                let exit = ExitedExecutorMessage::decode(body).expect("an exit");
                let executor = (exit.framework_id.value, exit.executor_id.value);
                self.last_updates.get(&executor).is_some_and(|last| *last > ours.number)
            }
            _ => false,
        }
    }

    /// Why we do not say what the agent said.
    fn excuse(&self, name: &str, body: &[u8]) -> Option<&'static str> {
        let in_touch = self.slave.as_ref().is_some_and(|slave| slave.registered_master().is_some());
        match name {
            "UpdateSlaveMessage" => Some(allowed::NO_UPDATE_SLAVE),
            "StatusUpdateMessage" | "ExitedExecutorMessage" if !in_touch => Some(allowed::HAS_LEFT),
            "StatusUpdateMessage" if self.findings.is_of_2012 => {
                let update = StatusUpdateMessage::decode(body).expect("an update").update;
                let ids = FrameworkId::try_from(&update.framework_id).expect("a framework's id");
                let frameworks = self.slave.as_ref().map(|slave| slave.frameworks());
                let framework = frameworks.and_then(|frameworks| frameworks.get(&ids));
                let is_gone = framework.is_none_or(|framework| framework.terminating);
                is_gone.then_some(allowed::NOBODY_LISTENS)
            }
            _ => None,
        }
    }

    /// What we say of a task and the agent leaves to its master.
    fn is_left_to_the_master(&self, name: &str, body: &[u8]) -> bool {
        if name != "StatusUpdateMessage" || !self.findings.is_of_2012 {
            return false;
        }
        let StatusUpdateMessage { update, .. } = StatusUpdateMessage::decode(body).expect("an update");
        let executor = update.executor_id.map(|id| id.value).unwrap_or_default();
        let is_custom = self.custom.contains(&(update.framework_id.value, executor));
        is_custom && update.status.reason() == Reason::ExecutorTerminated
    }

    /// It is for the executor of a command task, which here is the container's child.
    fn is_to_the_child(&self, theirs: &Received) -> bool {
        self.executors.get(&theirs.to.to_string()).is_some_and(|ids| !self.custom.contains(ids))
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
        let same = |sent: &Sent| {
            let is_named = sent.message.name == theirs.name && sent.to.address == theirs.to.address;
            is_named && self.subject(name, &sent.message.body) == about
        };
        let mut places: Vec<usize> = (0..self.sent.len()).filter(|place| same(&self.sent[*place])).collect();
        while is_registration && places.len() > 1 {
            self.allow(allowed::ASKS_AGAIN);
            self.sent.remove(places.remove(0));
            places.iter_mut().for_each(|place| *place -= 1);
        }
        self.sent.remove(*places.first()?)
    }

    /// Whatever the slave sent has been asked for by now.
    pub(super) fn settle(&mut self, when: &str, stops: bool) {
        self.settle_events(when, stops);
        for sent in std::mem::take(&mut self.sent) {
            let name = sent.message.name.rsplit('.').next().unwrap_or_default();
            if self.lost && REGISTRATIONS.contains(&name) {
                self.allow(allowed::ASKS_AGAIN);
            } else if REGISTRATIONS.contains(&name) && sent.dialect == Dialect::V2012 {
                self.allow(allowed::COUNTS_PINGS);
            } else if self.refused.contains(&self.subject(name, &sent.message.body)) {
                self.allow(allowed::NO_DEFAULT_EXECUTOR);
            } else if self.is_left_to_the_master(name, &sent.message.body) {
                self.allow(allowed::EACH_TASK);
            } else if stops && name == "ShutdownExecutorMessage" {
                self.allow(allowed::ENDS_CONTAINERS);
            } else {
                self.findings.differences.push(format!("ours, not theirs {when}: {sent:?}"));
            }
        }
    }

    /// What a message is about: a task or an executor of a framework, or an update.
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
            "RunTaskMessage" => {
                let message = RunTaskMessage::decode(body).expect("a task");
                let id = message.framework.id.or(message.framework_id);
                (id.map(|id| id.value).unwrap_or_default(), message.task.task_id.value)
            }
            "StatusUpdateAcknowledgementMessage" => {
                let message = StatusUpdateAcknowledgementMessage::decode(body).expect("an acknowledgement");
                (message.task_id.value, message.uuid.escape_ascii().to_string())
            }
            _ => Default::default(),
        }
    }
}
