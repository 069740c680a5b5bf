//! How much memory frameworks and executors may have of us by what they say of tasks: descriptions, with what is to be handed to an
//! executor that has not registered yet, and statuses. Mesos' agent keeps all of it.
//!
//! ```text
//!  RunTaskMessage ─► TaskInfo, whole, in the executor's queue ─► handed over: without what is the executor's alone ─► completed
//!                    └────────────── one framework's and all frameworks' together are bounded ──────────────┘        └ 1 MiB each
//! ```

use prost::Message;

use super::Slave;
use super::framework::{Executor, Framework, Task};
use super::launch::Assignment;
use super::refusal::Refusal;
use crate::ids::FrameworkId;
use crate::messages::mesos::TaskStatus;
use crate::messages::mesos::task_status::Reason;

/// Most that is kept of one framework's tasks and executors before no more is taken in, in bytes. What comes last may go beyond, so that
/// the largest message fits as long as it is alone.
const OF_ONE: usize = 64 << 20;
/// The same of all frameworks together.
const OF_ALL: usize = 4 * OF_ONE;
/// Most that is kept of one executor's tasks that are over, in bytes.
const COMPLETED: usize = 1 << 20;
/// A status that takes more is not kept whole, in bytes. It has been passed on by then, or waits to be in a place of its own.
const STATUS: usize = 4096;
/// What is left of the message of such a status, in characters.
const MESSAGE: usize = 512;

impl Task {
    /// Its executor or its container has it: what nobody else needs is not kept.
    pub(super) fn handed_over(&mut self) {
        self.info.data = None;
        self.info.executor = None;
        self.described = self.info.encoded_len();
    }

    fn weight(&self) -> usize {
        self.described + self.statuses.iter().map(Message::encoded_len).sum::<usize>()
    }
}

impl Executor {
    /// Forgets the oldest of the tasks that are over, if all of them are too much.
    pub(super) fn slim(&mut self) {
        while self.completed.iter().map(Task::weight).sum::<usize>() > COMPLETED {
            self.completed.pop_front();
        }
    }

    fn weight(&self) -> usize {
        self.info.encoded_len() + self.tasks.values().chain(&self.completed).map(Task::weight).sum::<usize>()
    }
}

impl Framework {
    fn weight(&self) -> usize {
        self.info.encoded_len() + self.executors.values().map(Executor::weight).sum::<usize>()
    }
}

/// What of a status is kept to be told of: never the bytes that are for the scheduler, as masters do it (`Master::updateTask`).
pub(super) fn kept(status: &TaskStatus) -> TaskStatus {
    let whole = TaskStatus { data: None, ..status.clone() };
    if whole.encoded_len() <= STATUS {
        return whole;
    }
    let message = whole.message.map(|text| text.chars().take(MESSAGE).collect());
    TaskStatus { message, labels: None, container_status: None, check_status: None, limitation: None, ..whole }
}

impl Slave {
    /// Why nothing more is taken in for the framework.
    pub(super) fn overweight(&self, assignment: &Assignment) -> Option<Refusal> {
        let framework = FrameworkId::try_from(assignment.framework.id.as_ref()?).ok()?;
        let own = self.frameworks.get(&framework).map_or(0, Framework::weight);
        let whose = match own {
            OF_ONE.. => "of this framework's",
            _ if self.frameworks.values().map(Framework::weight).sum::<usize>() >= OF_ALL => "of all frameworks'",
            _ => return None,
        };
        let text = format!(
            "what this slave has to keep {whose} tasks and executors (data, commands, labels) is as much as it takes; \
             launch it again when some have ended, or say less in each"
        );
        Some(Refusal::Dropped(Reason::InvalidOffers, text))
    }
}
