//! How it all ended, and what exit status that is.

use super::scheduler::Interrupt;
use crate::messages::mesos::{TaskState, TaskStatus};

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended, with this exit status of its own (128 and the signal's number after a signal).
    Command(u8),
    /// The user ended it.
    Interrupted(Interrupt),
    /// Something else is the matter.
    Failed(String),
}

impl Outcome {
    /// Our own exit status.
    pub fn exit_status(&self) -> u8 {
        match self {
            Outcome::Command(status) => *status,
            Outcome::Interrupted(why) => why.exit_status(),
            Outcome::Failed(_) => 1,
        }
    }
}

/// What a terminal status means, after a kill of ours or without one. `whose`: the task, for people.
pub fn of(status: &TaskStatus, killed: Option<Interrupt>, whose: &str) -> Outcome {
    let message = status.message();
    match (status.state(), killed) {
        (TaskState::TaskFinished, _) => Outcome::Command(0),
        (TaskState::TaskKilled, Some(why)) => Outcome::Interrupted(why),
        (TaskState::TaskFailed, _) => match command_status(message) {
            Some(status) => Outcome::Command(status),
            None => Outcome::Failed(described(&format!("{whose} failed"), message)),
        },
        (state, _) => Outcome::Failed(described(&format!("{whose} ended as {}", state.as_str_name()), message)),
    }
}

fn described(what: &str, message: &str) -> String {
    match message.is_empty() {
        true => what.to_string(),
        false => format!("{what}: {message}"),
    }
}

/// Reads Mesos' command executor: `Command exited with status 3`, `Command terminated with signal Killed`.
fn command_status(message: &str) -> Option<u8> {
    if let Some(status) = message.strip_prefix("Command exited with status ") {
        let digits = status.split(|c: char| !c.is_ascii_digit()).next()?;
        return digits.parse().ok();
    }
    let signal = message.strip_prefix("Command terminated with signal ")?;
    Some(128 + signal_number(signal)?)
}

/// A signal by number, by name, or in the words of `strsignal(3)`, which Mesos writes.
fn signal_number(text: &str) -> Option<u8> {
    let text = text.split(" (").next()?.trim().trim_end_matches('.');
    if let Ok(number @ 1..=64) = text.parse::<u8>() {
        return Some(number);
    }
    if let Some(number) = text.strip_prefix("Unknown signal ").and_then(|number| number.parse().ok()) {
        return Some(number).filter(|number| (1..=64).contains(number));
    }
    let by_words = SIGNALS.iter().find(|(_, words)| *words == text).map(|(number, _)| *number);
    by_words.or_else(|| {
        let signal: nix::sys::signal::Signal = text.parse().ok()?;
        u8::try_from(signal as i32).ok()
    })
}

/// The words of the C library (glibc, C locale) for Linux' signals.
const SIGNALS: [(u8, &str); 31] = [
    (1, "Hangup"),
    (2, "Interrupt"),
    (3, "Quit"),
    (4, "Illegal instruction"),
    (5, "Trace/breakpoint trap"),
    (6, "Aborted"),
    (7, "Bus error"),
    (8, "Floating point exception"),
    (9, "Killed"),
    (10, "User defined signal 1"),
    (11, "Segmentation fault"),
    (12, "User defined signal 2"),
    (13, "Broken pipe"),
    (14, "Alarm clock"),
    (15, "Terminated"),
    (16, "Stack fault"),
    (17, "Child exited"),
    (18, "Continued"),
    (19, "Stopped (signal)"),
    (20, "Stopped"),
    (21, "Stopped (tty input)"),
    (22, "Stopped (tty output)"),
    (23, "Urgent I/O condition"),
    (24, "CPU time limit exceeded"),
    (25, "File size limit exceeded"),
    (26, "Virtual timer expired"),
    (27, "Profiling timer expired"),
    (28, "Window changed"),
    (29, "I/O possible"),
    (30, "Power failure"),
    (31, "Bad system call"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(state: TaskState, message: &str, killed: Option<Interrupt>) -> Outcome {
        let status = TaskStatus { state: state as i32, message: Some(message.to_string()), ..TaskStatus::default() };
        of(&status, killed, "the task")
    }

    fn failed(message: &str) -> u8 {
        outcome(TaskState::TaskFailed, message, None).exit_status()
    }

    #[test]
    fn the_commands_own_status_is_ours() {
        assert_eq!(outcome(TaskState::TaskFinished, "Command exited with status 0", None).exit_status(), 0);
        assert_eq!(failed("Command exited with status 3"), 3);
        assert_eq!(failed("Command exited with status 127: not found"), 127);
        assert_eq!(failed("Command terminated with signal Killed"), 137);
        assert_eq!(failed("Command terminated with signal Segmentation fault (core dumped)"), 139);
        assert_eq!(failed("Command terminated with signal SIGTERM"), 143);
        assert_eq!(failed("Command terminated with signal 9"), 137);
    }

    #[test]
    fn what_is_not_the_commands_fault_is_1_and_says_why() {
        let failed = outcome(TaskState::TaskFailed, "no lease within 60 s", None);
        assert_eq!(failed, Outcome::Failed("the task failed: no lease within 60 s".to_string()));
        let lost = outcome(TaskState::TaskLost, "", None);
        assert_eq!(lost, Outcome::Failed("the task ended as TASK_LOST".to_string()));
        assert_eq!(super::super::outcome::Outcome::exit_status(&lost), 1);
    }

    #[test]
    fn a_kill_of_ours_is_the_users_and_one_of_others_a_failure() {
        let text = "Command terminated with signal Terminated";
        assert_eq!(outcome(TaskState::TaskKilled, text, Some(Interrupt::CtrlC)).exit_status(), 130);
        assert_eq!(outcome(TaskState::TaskKilled, text, Some(Interrupt::Timeout)).exit_status(), 124);
        assert_eq!(outcome(TaskState::TaskKilled, text, None).exit_status(), 1);
    }
}
