//! One of the tasks that were launched: what was heard of it, and where its output is.
//!
//! ```text
//! Launched ─ first update ─► Following ─ terminal update ─► Draining ─ all output is out ─► Ended
//! ```

use std::time::Instant;

use super::events::{Shown, Target};
use super::outcome::Outcome;
use crate::messages::mesos::{ContainerId, TaskState, TaskStatus};

/// Where a task is.
#[derive(Debug, PartialEq)]
pub(super) enum Stage {
    /// Nothing was heard of it; what is known of where its output will be.
    Launched(Box<Target>),
    Following,
    /// It has ended, and its last update is neither shown nor acknowledged.
    Draining {
        status: Box<TaskStatus>,
        at: Instant,
    },
    Ended,
}

/// A task that was launched.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) id: String,
    pub(super) stage: Stage,
    /// What its end means, once it has come.
    pub(super) outcome: Option<Outcome>,
    last_state: Option<TaskState>,
}

impl Launched {
    pub(super) fn new(id: String, target: Target) -> Launched {
        Launched { id, stage: Stage::Launched(Box::new(target)), outcome: None, last_state: None }
    }

    /// Whether its last update has come.
    pub(super) fn has_ended(&self) -> bool {
        self.outcome.is_some()
    }

    /// Takes note of a state; whether it is another than before.
    pub(super) fn is_new(&mut self, state: TaskState) -> bool {
        self.last_state.replace(state) != Some(state)
    }

    /// The first update tells that there is a sandbox, unless it tells that there will be none, and in most cases its container's id. Of a
    /// group's task the container is nested: its sandbox is in that of its executor.
    pub(super) fn follow(&mut self, status: &TaskStatus, grouped: bool) -> Option<Target> {
        let Stage::Launched(target) = &mut self.stage else {
            return None;
        };
        let mut target = std::mem::take(&mut **target);
        self.stage = Stage::Following;
        if matches!(status.state(), TaskState::TaskError | TaskState::TaskDropped) {
            return None;
        }
        let container = status.container_status.as_ref().and_then(|status| status.container_id.as_ref());
        let (outermost, below) = container.map_or((None, None), nesting);
        target.container = outermost;
        if grouped {
            target.shown = Shown::Output(below.unwrap_or_else(|| format!("tasks/{}", self.id)));
        }
        Some(target)
    }
}

/// The outermost container, and where in its sandbox that of a nested one is (`getContainerPath` in Mesos' `slave/containerizer/mesos/paths`).
fn nesting(container: &ContainerId) -> (Option<String>, Option<String>) {
    let mut path = String::new();
    let mut outermost = container;
    while let Some(parent) = &outermost.parent {
        path = format!("/containers/{}{path}", outermost.value);
        outermost = parent;
    }
    let below = path.strip_prefix('/').map(str::to_string);
    (Some(outermost.value.clone()), below)
}
