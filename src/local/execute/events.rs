//! What goes into the scheduler and what comes out of it. Tasks go by their place among those that are launched.

use std::time::Instant;

use super::outcome::Outcome;
use crate::messages::mesos::TaskState;
use crate::messages::mesos::scheduler::{Call, Event as FromMaster};

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// An event of the master's stream.
    Master(Box<FromMaster>),
    /// The master cannot be talked with any more.
    Lost(String),
    /// The user has had enough; what the exit status will be.
    Interrupt(Interrupt),
    /// All output of a task is out.
    Drained(usize),
    /// Nothing but time has passed.
    Tick,
}

/// Why the work is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C.
    CtrlC,
    /// SIGTERM or SIGHUP.
    Terminate,
    /// Nobody reads our output any more.
    BrokenPipe,
    /// `--timeout` has passed.
    Timeout,
}

impl Interrupt {
    /// The exit status: 128 and the signal's number, or that of `timeout(1)`.
    pub fn exit_status(self) -> u8 {
        match self {
            Interrupt::CtrlC => 130,
            Interrupt::Terminate => 143,
            Interrupt::BrokenPipe => 141,
            Interrupt::Timeout => 124,
        }
    }

    /// In words.
    pub(super) fn text(self) -> &'static str {
        match self {
            Interrupt::CtrlC => "interrupted",
            Interrupt::Terminate => "asked to end",
            Interrupt::BrokenPipe => "nobody reads the output any more",
            Interrupt::Timeout => "the time is up",
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Post a call to the master.
    Call(Box<Call>),
    /// Tell the user that a task has this state, why, and since when. The last state is told after the last output.
    State(usize, TaskState, Option<String>, Instant),
    /// Tell the user something.
    Say(String),
    /// Find a task's sandbox at this agent and show what is written to it. The place behind the last task is their executor's.
    Follow(usize, Box<Target>),
    /// A task has ended: show the rest, then tell [`Event::Drained`].
    Drain(usize),
    /// Leave with this outcome.
    Exit(Outcome),
}

/// Where a task's output is to be found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// The agent's address, a name or a number.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The framework's id.
    pub framework: String,
    /// The task's id.
    pub task: String,
    /// The container's id, when the task's status told it: of a nested container, that of the outermost one around it.
    pub container: Option<String>,
    /// What of it is shown.
    pub shown: Shown,
}

/// What is shown of a container's sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Shown {
    /// The output of the one task, and the steps of its VM's life.
    #[default]
    All,
    /// Those steps alone, of a VM that tasks share.
    Steps,
    /// The output of a task that has a sandbox of its own in it, at this place.
    Output(String),
}
