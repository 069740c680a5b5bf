//! Executors that the slave has forgotten, kept for `/state` and `/files`: who looks for the output of a task that has
//! just ended finds it. How many are kept is bounded, and how much of what frameworks wrote into them.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use prost::Message;

use super::state::Executor;
use crate::ids::{ContainerId, ExecutorId, FrameworkId};
use crate::messages::mesos::{self, TaskState};
use crate::slave::{self, Slave, is_terminal};

/// How many executors are kept. (Mesos: 50 frameworks with 150 executors each.)
const KEPT: usize = 200;

/// How much they may take together, in bytes of their messages: names, labels and statuses have no limit of their own.
const KEPT_BYTES: usize = 1 << 20;

/// The executors that are gone, oldest first.
#[derive(Debug, Default)]
pub struct History {
    executors: VecDeque<Entry>,
    bytes: usize,
    forgotten: BTreeMap<TaskState, u64>,
    forgotten_executors: u64,
}

#[derive(Debug)]
struct Entry {
    framework: mesos::FrameworkInfo,
    executor: Executor,
    bytes: usize,
    sandbox: Sandbox,
}

/// Where an executor's sandbox can be read, by a name without its container's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The virtual path.
    pub name: String,
    /// The directory.
    pub directory: PathBuf,
}

impl History {
    /// No executor.
    pub fn new() -> History {
        History::default()
    }

    /// Keeps a container's executor as the slave knows it now. To be called when the container is gone, before
    /// the slave hears of it, when it still knows it, and again after, when it may have given its tasks their last states.
    /// The result are the sandboxes of those that had to go, to be detached.
    #[must_use]
    pub fn remember(&mut self, slave: &Slave, container: &ContainerId) -> Vec<Sandbox> {
        let Some(entry) = find(slave, container) else {
            return Vec::new();
        };
        self.bytes += entry.bytes;
        match self.executors.iter_mut().find(|each| each.executor.container == entry.executor.container) {
            Some(place) => self.bytes -= std::mem::replace(place, entry).bytes,
            None => self.executors.push_back(entry),
        }
        let mut sandboxes = Vec::new();
        while self.executors.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.executors.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.count(&oldest.executor);
            sandboxes.push(oldest.sandbox);
        }
        sandboxes
    }

    fn count(&mut self, executor: &Executor) {
        for task in executor.tasks.iter().filter(|task| is_terminal(task.state())) {
            *self.forgotten.entry(task.state()).or_default() += 1;
        }
        self.forgotten_executors += 1;
    }

    pub(super) fn executors(&self) -> impl Iterator<Item = (&mesos::FrameworkInfo, &Executor)> {
        self.executors.iter().map(|each| (&each.framework, &each.executor))
    }

    pub(super) fn forgotten(&self) -> &BTreeMap<TaskState, u64> {
        &self.forgotten
    }

    pub(super) fn forgotten_executors(&self) -> u64 {
        self.forgotten_executors
    }
}

fn find(slave: &Slave, container: &ContainerId) -> Option<Entry> {
    slave.frameworks().iter().find_map(|(id, framework)| {
        let (executor_id, executor) = framework.executors.iter().find(|(_, each)| each.container == *container)?;
        Some(entry(id, framework, executor_id, executor))
    })
}

fn entry(
    id: &FrameworkId,
    framework: &slave::Framework,
    executor_id: &ExecutorId,
    executor: &slave::Executor,
) -> Entry {
    let mut info = framework.info.clone();
    info.id.get_or_insert_with(|| id.to_proto());
    let sandbox = Sandbox { name: slave::virtual_sandbox(id, executor_id), directory: executor.sandbox.clone() };
    let mut executor = Executor::of(id, executor_id, executor);
    // Not shown, and the longest part of it.
    executor.info.command = None;
    let tasks: usize = executor.tasks.iter().map(Message::encoded_len).sum();
    Entry { bytes: info.encoded_len() + executor.info.encoded_len() + tasks, framework: info, executor, sandbox }
}
