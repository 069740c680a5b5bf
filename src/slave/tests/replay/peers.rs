//! What others say to the agent, said to the slave: the master's messages as they are, the executors' out of containers.

use std::time::Duration;

use prost::Message as _;

use super::super::super::*;
use super::play::Play;
use super::recording::{Entry, Received, Sender};
use crate::ids::TaskId;
use crate::libprocess::Dialect;
use crate::messages::from_v1_bytes;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::{TaskStatus, executor};

/// What a killed task has when nobody says otherwise, as in the recordings.
const KILL_GRACE: Duration = Duration::from_secs(3);

impl Play<'_> {
    /// Something came to the agent.
    pub(super) fn heard(&mut self, place: &str, entry: &Entry) {
        let sender = self.recording.sender(entry);
        if sender == Sender::Master {
            self.lost = entry.what == "closed";
            self.shows(entry);
        }
        match (entry.what.as_str(), sender) {
            ("202", _) => {}
            ("closed", Sender::Master) => {
                self.dialect = Dialect::Unknown;
                self.event(Event::Exited(self.master()));
            }
            ("closed", _) if self.own_executor_gone(&entry.from) => {}
            ("closed", _) => self.executor_gone(&entry.from),
            (_, Sender::Master) => self.master_says(place, &entry.received()),
            (_, _) => self.executor_says(place, entry),
        }
    }

    /// By how the master speaks it shows what it is.
    fn shows(&mut self, entry: &Entry) {
        let dialect = match entry.what.as_str() {
            "closed" => return,
            "202" => Dialect::V1,
            _ if entry.is_of_2012() => Dialect::V2012,
            _ => Dialect::V1,
        };
        if dialect != self.dialect {
            self.dialect = dialect;
            self.event(Event::Shown { address: self.recording.master, dialect });
        }
    }

    fn master_says(&mut self, place: &str, received: &Received) {
        let Received { from, to, name, body, .. } = received;
        if is_authenticatee(&to.id) {
            let message = FromAuthenticator::decode(name, body).unwrap_or_else(|error| panic!("{place}: {error}"));
            return self.event(Event::Authentication { from: from.clone(), to: to.id.clone(), message });
        }
        let mut message = FromMaster::decode(name, body).unwrap_or_else(|error| panic!("{place}: {error}"));
        self.note(&mut message);
        let to_kill = self.to_kill(&message);
        self.event(Event::Message { from: from.clone(), message });
        if to_kill.is_some_and(|container| !self.killed.contains(&(container, KILL_GRACE))) {
            self.findings.differences.push(format!("{place}: the container is not killed: {:?}", self.killed));
        }
    }

    /// Keeps what is needed later of a master's message, and puts our own uuids into it.
    fn note(&mut self, message: &mut FromMaster) {
        match message {
            FromMaster::RunTask(run) => {
                self.put_own_version(&mut run.resource_version_uuids);
                let id = run.framework.id.as_ref().or(run.framework_id.as_ref());
                let framework = id.map_or("", |id| id.value.as_str()).to_string();
                let task = run.task.task_id.value.clone();
                if let Some(executor) = &run.task.executor {
                    self.custom.insert((framework.clone(), executor.executor_id.value.clone()));
                }
                self.tasks.insert((framework, task), (**run).clone());
            }
            FromMaster::RunTaskGroup(run) => {
                self.put_own_version(&mut run.resource_version_uuids);
                let framework = run.framework.id.as_ref().map_or("", |id| id.value.as_str()).to_string();
                self.refused.insert((framework.clone(), run.executor.executor_id.value.clone()));
                let tasks = run.task_group.tasks.iter().map(|task| (framework.clone(), task.task_id.value.clone()));
                self.refused.extend(tasks);
            }
            FromMaster::Acknowledge(acknowledgement) => {
                acknowledgement.uuid = self.findings.own_bytes("uuid", &acknowledgement.uuid);
            }
            _ => {}
        }
    }

    /// The master names the version of the resources that it was told.
    fn put_own_version(&self, versions: &mut [ResourceVersionUuid]) {
        for version in versions {
            version.uuid.value = self.findings.own_bytes("run", &version.uuid.value);
        }
    }

    /// The container that has to be killed now.
    fn to_kill(&self, message: &FromMaster) -> Option<ContainerId> {
        let FromMaster::KillTask(kill) = message else { return None };
        self.container(&kill.framework_id.value, |executor| {
            executor.tasks.contains_key(&TaskId::new(kill.task_id.value.clone()).expect("a task id"))
        })
    }

    pub(super) fn container(&self, framework: &str, which: impl Fn(&Executor) -> bool) -> Option<ContainerId> {
        let frameworks = self.slave.as_ref()?.frameworks();
        let framework = frameworks.get(&FrameworkId::new(framework).ok()?)?;
        framework.executors.values().find(|executor| which(executor)).map(|executor| executor.container.clone())
    }

    /// What an executor says: a framework's own to the slave itself, a command task's out of its container.
    fn executor_says(&mut self, place: &str, entry: &Entry) {
        if entry.what.starts_with('/') {
            if self.client_says(place, entry) {
                return;
            }
            let call: executor::Call = from_v1_bytes("mesos.v1.executor.Call", &entry.request().1).expect("a call");
            let ids = (call.framework_id.value.clone(), call.executor_id.value.clone());
            self.executors.insert(entry.from.clone(), ids.clone());
            if let Some(update) = call.update {
                self.executor_reports(place, &ids.0, &ids.1, update.status);
            }
            return;
        }
        let Received { from, name, body, .. } = entry.received();
        let dialect = if entry.is_of_2012() { Dialect::V2012 } else { Dialect::V1 };
        self.dialects.insert(from.address, dialect);
        if self.driver_says(place, entry) {
            return;
        }
        match name.rsplit('.').next().unwrap_or_default() {
            "RegisterExecutorMessage" => {
                let message = RegisterExecutorMessage::decode(body.as_slice()).expect("an executor");
                self.executors.insert(from.to_string(), (message.framework_id.value, message.executor_id.value));
            }
            "ReregisterExecutorMessage" => {
                let message = ReregisterExecutorMessage::decode(body.as_slice()).expect("an executor");
                self.executors.insert(from.to_string(), (message.framework_id.value, message.executor_id.value));
            }
            "StatusUpdateMessage" => {
                let update = StatusUpdateMessage::decode(body.as_slice()).expect("an update").update;
                let executor = update.executor_id.map(|id| id.value).unwrap_or_default();
                let mut status = update.status;
                status.uuid = status.uuid.or(update.uuid);
                status.timestamp.get_or_insert(update.timestamp);
                self.executor_reports(place, &update.framework_id.value, &executor, status);
            }
            // In 0.9 schedulers say this themselves.
            "StatusUpdateAcknowledgementMessage" => {
                let mut message = FromMaster::decode(&name, &body).expect("an acknowledgement");
                self.note(&mut message);
                self.event(Event::Message { from, message });
            }
            other => panic!("{place}: {other} of an executor"),
        }
    }

    fn executor_reports(&mut self, place: &str, framework: &str, executor: &str, status: TaskStatus) {
        if self.refused.contains(&(framework.to_string(), executor.to_string())) {
            return;
        }
        let (uuid, task) = (status.uuid().to_vec(), status.task_id.value.clone());
        self.findings.reported(&uuid);
        self.commands.insert((framework.into(), executor.into()), TaskId::new(task.clone()).expect("a task id"));
        self.report(framework, &task, status);
        if !self.acknowledged.contains(&uuid) {
            self.findings.differences.push(format!("{place}: not taken over from the container"));
        }
    }

    /// The container of a command task reports it.
    pub(super) fn report(&mut self, framework: &str, task: &str, status: TaskStatus) {
        let task = TaskId::new(task).expect("a task id");
        let Some(container) = self.container(framework, |each| each.tasks.contains_key(&task)) else { return };
        // What the agent adds is not the child's to say.
        let status = TaskStatus { slave_id: None, executor_id: None, container_status: None, ..status };
        self.event(Event::ContainerStatus { container, status: Box::new(status) });
    }

    fn executor_gone(&mut self, pid: &str) {
        let Some(executor) = self.executors.get(pid).cloned() else { return };
        let Some(task) = self.commands.get(&executor).cloned() else { return };
        let (framework, _) = executor;
        let named = |each: &Executor| each.info.executor_id.value == task.as_str();
        let find = |each: &Executor| named(each) && each.state != ExecutorState::Gone;
        let Some(container) = self.container(&framework, find) else { return };
        let open = self.container(&framework, |each| {
            each.container == container && each.tasks.values().any(|task| !is_terminal(task.state))
        });
        let reason = open.map(|_| "the executor is gone".to_string());
        self.event(Event::ContainerGone { container, reason });
    }
}
