//! Executors of the frameworks' own: they register, get tasks, report, are shut down, and end.
//!
//! ```text
//!  container launched ─► executor runs in it ─► registers ─► tasks, updates, messages ─► shut down, or ends by itself
//!       Launching             Launching          Running             Running             Ending          Gone
//!                        └── within --executor_registration_timeout ──┘                └── within its grace ──┘
//! ```
//!
//! A command task's executor is the container's child and speaks another way (`updates`); nothing here is about it.

mod ending;
pub mod message;
mod speaking;

use std::net::Ipv4Addr;
use std::time::Instant;

pub use message::{FromExecutor, Speaker, ToExecutor, Via};

use crate::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::slave::updates::SlaveStatus;
use crate::slave::{ExecutorState, Slave};

/// What is between the slave and an executor of a framework's own.
#[derive(Debug, Default)]
pub struct Conversation {
    /// How it is reached, since it has registered.
    pub(in crate::slave) reached: Option<Via>,
    /// The guest's address; none where the executor is a process of the host.
    pub(in crate::slave) address: Option<Ipv4Addr>,
    /// It runs, and has to register by then.
    pub(in crate::slave) register_by: Option<Instant>,
    /// It was asked to end, and its container is killed then.
    pub(in crate::slave) kill_at: Option<Instant>,
    /// Tasks that wait for it to register, in order.
    pub(in crate::slave) queue: Vec<Together>,
    /// It was sent a task: one that never was, and has none waiting, is of no use to anybody.
    pub(in crate::slave) was_sent_a_task: bool,
    /// What is said of its tasks if it ends without a word about them.
    pub(in crate::slave) end: Option<SlaveStatus>,
}

/// Tasks that came in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Together {
    /// Which.
    pub(in crate::slave) tasks: Vec<TaskId>,
    /// They are a group: the executor gets all of them or none.
    pub(in crate::slave) is_group: bool,
}

impl Conversation {
    /// One with an executor that is being launched, and for which these tasks wait.
    pub(in crate::slave) fn waiting_for(tasks: Together) -> Conversation {
        Conversation { queue: vec![tasks], ..Default::default() }
    }

    /// When time alone changes something.
    pub(in crate::slave) fn deadline(&self) -> Option<Instant> {
        crate::poll::earlier(self.register_by, self.kill_at)
    }

    /// The executor is gone: it will not register, and need not be killed.
    pub(in crate::slave) fn stop_waiting(&mut self) {
        self.register_by = None;
        self.kill_at = None;
    }

    /// A task, and those that were launched with it, need not be sent any more; gives them.
    pub(in crate::slave) fn withdraw(&mut self, task: &TaskId) -> Option<Together> {
        let index = self.queue.iter().position(|together| together.tasks.contains(task))?;
        Some(self.queue.remove(index))
    }

    /// The task waits for the executor to register.
    pub(in crate::slave) fn has_waiting(&self, task: &TaskId) -> bool {
        self.queue.iter().any(|together| together.tasks.contains(task))
    }
}

/// Where an executor that speaks to us stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its framework has nothing here.
    NoFramework,
    /// Its framework has no such executor here.
    NoExecutor,
    /// It is here, and speaks from an address that is not its own.
    Elsewhere,
    /// It has not registered yet.
    Unregistered,
    /// It has.
    Registered,
}

impl Slave {
    /// Whether there is such an executor, speaking from this address: a guest can act for its own executor only.
    pub fn standing(&self, framework: &FrameworkId, executor: &ExecutorId, peer: Ipv4Addr) -> Standing {
        let Some(framework) = self.frameworks.get(framework) else {
            return Standing::NoFramework;
        };
        let executor = framework.executors.get(executor);
        let speaks = executor.filter(|executor| executor.speaks_for_itself());
        let Some((executor, conversation)) =
            speaks.and_then(|executor| Some((executor, executor.conversation.as_ref()?)))
        else {
            return Standing::NoExecutor;
        };
        let is_its_own = match conversation.address {
            // The guest's address may be another's as soon as it is gone.
            Some(address) => address == peer && executor.state != ExecutorState::Gone,
            // Nobody can speak for a guest that has no address yet: not a neighbour, nor anybody on the host's own network.
            None => !self.config.guests,
        };
        if !is_its_own {
            return Standing::Elsewhere;
        }
        match executor.state {
            ExecutorState::Launching => Standing::Unregistered,
            ExecutorState::Running | ExecutorState::Ending | ExecutorState::Gone => Standing::Registered,
        }
    }

    /// Whether a framework has something here.
    pub fn has_framework(&self, framework: &FrameworkId) -> bool {
        self.frameworks.contains_key(framework)
    }

    /// The container of an executor of a framework's own.
    pub fn container_of(&self, framework: &FrameworkId, executor: &ExecutorId) -> Option<&ContainerId> {
        Some(&self.frameworks.get(framework)?.executors.get(executor)?.container)
    }

    /// Whether a container with this address runs here.
    pub fn is_guest(&self, address: Ipv4Addr) -> bool {
        let executors = self.frameworks.values().flat_map(|framework| framework.executors.values());
        let mut conversations = executors.filter_map(|executor| executor.conversation.as_ref());
        conversations.any(|conversation| conversation.address == Some(address))
    }
}
