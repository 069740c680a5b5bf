//! Executors that the slave has forgotten, kept for `/state` and `/files`: who looks for the output of a task that has
//! just ended finds it. How many are kept is bounded.

use std::collections::{BTreeMap, VecDeque};

use super::state::Executor;
use crate::ids::ContainerId;
use crate::messages::mesos::{self, TaskState};
use crate::slave::{Slave, is_terminal};

/// How many executors are kept. (Mesos: 50 frameworks with 150 executors each.)
const KEPT: usize = 500;

/// The executors that are gone, oldest first.
#[derive(Debug, Default)]
pub struct History {
    executors: VecDeque<(mesos::FrameworkInfo, Executor)>,
    forgotten: BTreeMap<TaskState, u64>,
    forgotten_executors: u64,
}

impl History {
    /// No executor.
    pub fn new() -> History {
        History::default()
    }

    /// Keeps a container's executor as the slave knows it now. To be called when the container is gone, before
    /// the slave hears of it, when it still knows it, and again after, when it may have given its tasks their last states.
    /// The result is the directory of the oldest executor, if that had to go: its sandbox is to be detached.
    pub fn remember(&mut self, slave: &Slave, container: &ContainerId) -> Option<String> {
        let (info, executor) = find(slave, container)?;
        match self.executors.iter_mut().find(|(_, each)| each.container == executor.container) {
            Some(place) => *place = (info, executor),
            None => self.executors.push_back((info, executor)),
        }
        if self.executors.len() <= KEPT {
            return None;
        }
        let (_, oldest) = self.executors.pop_front()?;
        for task in oldest.tasks.iter().filter(|task| is_terminal(task.state())) {
            *self.forgotten.entry(task.state()).or_default() += 1;
        }
        self.forgotten_executors += 1;
        Some(oldest.directory)
    }

    pub(super) fn executors(&self) -> impl Iterator<Item = (&mesos::FrameworkInfo, &Executor)> {
        self.executors.iter().map(|(info, executor)| (info, executor))
    }

    pub(super) fn forgotten(&self) -> &BTreeMap<TaskState, u64> {
        &self.forgotten
    }

    pub(super) fn forgotten_executors(&self) -> u64 {
        self.forgotten_executors
    }
}

fn find(slave: &Slave, container: &ContainerId) -> Option<(mesos::FrameworkInfo, Executor)> {
    slave.frameworks().iter().find_map(|(framework_id, framework)| {
        let (executor_id, executor) = framework.executors.iter().find(|(_, each)| each.container == *container)?;
        let mut info = framework.info.clone();
        info.id.get_or_insert_with(|| framework_id.to_proto());
        Some((info, Executor::of(framework_id, executor_id, executor)))
    })
}
