//! The frameworks' own executors: what they said to the agent is said to the slave, by either API, and what the agent said to
//! them is asked of it. Their processes start when they are launched and end when they did.

use std::collections::BTreeMap;

use prost::Message as _;

use super::super::super::*;
use super::allowed;
use super::play::Play;
use super::recording::Entry;
use crate::api::executor::{self as api, Parsed};
use crate::api::v1::{Format, Posted};
use crate::libprocess::{ConnectionId, recordio};
use crate::messages::mesos::executor::Event as ExecutorEvent;
use crate::messages::mesos::internal::ExitedExecutorMessage;
use crate::messages::{from_v1_bytes, from_v1_json, tree};
use crate::slave::executor::Standing;

const EVENT: &str = "mesos.v1.executor.Event";
/// A process that was killed, as wait(2) gives it.
const KILLED: i32 = 9;

impl Play<'_> {
    /// An executor says something by its driver; false if it is none of a framework's own.
    pub(super) fn driver_says(&mut self, place: &str, entry: &Entry) -> bool {
        let received = entry.received();
        let said = FromExecutor::of_driver(&received.from, &received.name, &received.body);
        let Some((speaker, message)) = said.unwrap_or_else(|error| panic!("{place}: {error}")) else { return false };
        self.own_executor_says(place, &entry.from, speaker, message)
    }

    /// An executor calls; false if it is none of a framework's own.
    pub(super) fn client_says(&mut self, place: &str, entry: &Entry) -> bool {
        let (head, body) = entry.request();
        let posted = Posted {
            method: &head.method,
            content_type: head.headers.get("Content-Type"),
            accept: head.headers.get("Accept"),
            stream_id: head.headers.get("Mesos-Stream-Id"),
            body: &body,
        };
        let parsed = api::parse(&posted).unwrap_or_else(|refusal| panic!("{place}: {refusal:?}"));
        let (call, stream) = match parsed {
            Parsed::Subscribe(call, format) => (call, Some((connection(&entry.from), format))),
            Parsed::Call(call) => (call, None),
            Parsed::Heartbeat => return true,
        };
        let (framework, executor) =
            api::caller(&call, |_| true).unwrap_or_else(|refusal| panic!("{place}: {refusal:?}"));
        let via = Via::Http(stream.map(|(connection, _)| connection));
        self.formats.extend(stream);
        let message = FromExecutor::of_call(*call).expect("a call that says something");
        self.own_executor_says(place, &entry.from, Speaker { framework, executor, via }, message)
    }

    fn own_executor_says(&mut self, place: &str, from: &str, speaker: Speaker, message: FromExecutor) -> bool {
        let ids = (speaker.framework.to_string(), speaker.executor.to_string());
        self.executors.insert(from.to_string(), ids.clone());
        if !self.custom.contains(&ids) {
            return false;
        }
        let peer = *self.recording.agent.address.ip();
        let standing = self.slave.as_ref().map(|slave| slave.standing(&speaker.framework, &speaker.executor, peer));
        let expected = match &message {
            FromExecutor::Register | FromExecutor::Subscribe { .. } => Standing::Unregistered,
            FromExecutor::Update(_) | FromExecutor::Message(_) => Standing::Registered,
        };
        if standing != Some(expected) {
            self.findings.differences.push(format!("{place}: the executor is {standing:?} to us"));
        }
        if let FromExecutor::Update(status) = &message {
            self.findings.reported(status.uuid());
        }
        self.event(Event::Executor { speaker, message });
        true
    }

    /// Its process runs as soon as its container is launched.
    pub(super) fn own_executor_runs(&mut self, container: ContainerId) {
        self.event(Event::ExecutorStarted { container, address: None, runs: true });
    }

    /// An executor's connection has ended, and so has the executor; false if it is none of a framework's own.
    pub(super) fn own_executor_gone(&mut self, pid: &str) -> bool {
        let Some(ids) = self.executors.get(pid).filter(|ids| self.custom.contains(*ids)).cloned() else {
            return false;
        };
        let is_its = |executor: &Executor| match executor.conversation.as_ref().and_then(|each| each.reached.as_ref()) {
            Some(Via::Driver(reached)) => reached.to_string() == pid,
            Some(Via::Http(stream)) => *stream == Some(connection(pid)),
            Some(Via::Default) | None => false,
        };
        let named = |executor: &Executor| executor.info.executor_id.value == ids.1;
        if self.container(&ids.0, |executor| named(executor) && is_its(executor)).is_some() {
            self.end_own_executor(&ids);
        }
        true
    }

    /// The process has ended as the recording says, if the slave does not know that yet.
    pub(super) fn end_own_executor(&mut self, ids: &(String, String)) {
        let alive = |executor: &Executor| executor.info.executor_id.value == ids.1 && executor.state.is_alive();
        let Some(container) = self.container(&ids.0, alive) else { return };
        let wait_status = self.recorded_status(ids).filter(|status| *status != -1);
        let told = |executor: &Executor| alive(executor) && executor.state == ExecutorState::Ending;
        let is_ending = self.container(&ids.0, told).is_some();
        if wait_status == Some(KILLED) && is_ending && !self.ended.contains(&container) {
            self.findings
                .differences
                .push(format!("the agent killed executor {} after its grace; ours did not", ids.1));
        }
        self.event(Event::ExecutorEnded { container: container.clone(), wait_status, reason: None, message: None });
        self.event(Event::ContainerGone { container, reason: None });
    }

    /// What the agent will say of the executor's end.
    fn recorded_status(&self, ids: &(String, String)) -> Option<i32> {
        let later = self.recording.entries[self.place..].iter();
        let exits = later.filter(|entry| entry.what.ends_with(".ExitedExecutorMessage"));
        exits
            .map(|entry| ExitedExecutorMessage::decode(entry.received().body.as_slice()).expect("an exit"))
            .find(|exit| (&exit.framework_id.value, &exit.executor_id.value) == (&ids.0, &ids.1))
            .map(|exit| exit.status)
    }

    /// The agent sent an event to an executor: so must we have.
    pub(super) fn expect_event(&mut self, place: &str, entry: &Entry) {
        if self.executors.get(&entry.to).is_none_or(|ids| !self.custom.contains(ids)) {
            return;
        }
        let connection = connection(&entry.to);
        let format = self.formats[&connection];
        let mut decoder = recordio::Decoder::new();
        decoder.push(&entry.raw);
        let record = decoder.next().expect("a record").expect("a whole record");
        let theirs = read(format, &record);
        let about = |event: &ExecutorEvent| (event.r#type(), subject(event));
        let same = |told: &(ConnectionId, ToExecutor)| {
            let event = told.1.to_event().expect("an event for a client");
            told.0 == connection && about(&event) == about(&theirs)
        };
        let Some(index) = self.told.iter().position(same) else {
            let text = format!("{place}: theirs, not ours: {theirs:?}; ours: {:?}", self.told);
            return self.findings.differences.push(text);
        };
        let (_, ours) = self.told.remove(index).expect("that one");
        let ours = api::encode(format, &ours.to_event().expect("an event for a client")).expect("a record");
        self.findings.compared += 1;
        self.findings.compare_leaves(place, EVENT, leaves(format, &ours), leaves(format, &record));
    }

    /// Whatever executors were told has been asked for by now; `stops`: the slave asks all of them to end.
    pub(super) fn settle_events(&mut self, when: &str, stops: bool) {
        for (_, told) in std::mem::take(&mut self.told) {
            match told {
                ToExecutor::Shutdown if stops => self.allow(allowed::ENDS_CONTAINERS),
                told => self.findings.differences.push(format!("ours, not theirs {when}: {told:?}")),
            }
        }
    }
}

fn read(format: Format, record: &[u8]) -> ExecutorEvent {
    match format {
        Format::Json => from_v1_json(EVENT, record).expect("an event in JSON"),
        Format::Protobuf => from_v1_bytes(EVENT, record).expect("an event"),
    }
}

/// The fields of an event as it is written, whose order means nothing.
fn leaves(format: Format, record: &[u8]) -> BTreeMap<String, String> {
    match format {
        Format::Json => {
            let mut found = BTreeMap::new();
            collect(&serde_json::from_slice(record).expect("JSON"), "", &mut found);
            found
        }
        Format::Protobuf => tree::leaves(EVENT, record).into_iter().collect(),
    }
}

fn collect(value: &serde_json::Value, path: &str, found: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            fields.iter().for_each(|(name, value)| collect(value, &format!("{path}{dot}{name}"), found));
        }
        serde_json::Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| collect(value, &format!("{path}[{index}]"), found));
        }
        value => {
            found.insert(path.to_string(), value.to_string());
        }
    }
}

/// What an event is about.
fn subject(event: &ExecutorEvent) -> (String, Vec<u8>) {
    let launched = event.launch.as_ref().map(|launch| (&launch.task.task_id, Vec::new()));
    let killed = event.kill.as_ref().map(|kill| (&kill.task_id, Vec::new()));
    let acknowledged = event.acknowledged.as_ref().map(|each| (&each.task_id, each.uuid.clone()));
    let about = launched.or(killed).or(acknowledged);
    about.map(|(task, uuid)| (task.value.clone(), uuid)).unwrap_or_default()
}

/// `http@127.0.0.1:54182` is a connection of its own.
fn connection(client: &str) -> ConnectionId {
    ConnectionId(client.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a client's port"))
}
