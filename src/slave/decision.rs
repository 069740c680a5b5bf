//! What becomes of a task, by what its master believes of the executor and what is true of it. Pure functions; the rules are
//! those of `Slave::__run` in Mesos' `src/slave/slave.cpp`.
//!
//! ```text
//!                   no such executor     it runs, or is being launched    it is ending        it is gone, updates wait
//! launch: true      launch               drop; end it, nobody knows it    drop                drop; tell of its exit
//! launch: false     drop                 join                             drop                drop
//! (not said)        launch               join                             drop                drop
//! (in 2012)         launch               join                             drop                launch
//! ```
//!
//! A command task's executor is the task's own: it is launched or, if one of its name is here, the task is dropped.

use super::framework::ExecutorState;

/// What a master wants of the executor (`RunTaskMessage.launch_executor`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// A new one; the master counts it from now on, and has to hear of its exit even if there never was one.
    Launch,
    /// The one that is here.
    Join,
    /// Masters before 1.6 do not say: the one that is here, or else a new one.
    Either,
    /// Nor do those of 2012. They count an executor with the first task that names it, and forget it when they hear of its exit,
    /// as its slave has done then.
    Counted,
}

impl From<Option<bool>> for Wish {
    fn from(launch_executor: Option<bool>) -> Wish {
        match launch_executor {
            Some(true) => Wish::Launch,
            Some(false) => Wish::Join,
            None => Wish::Either,
        }
    }
}

/// What becomes of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A new executor is launched with it.
    Launch,
    /// The executor that is here gets it.
    Join,
    /// It is dropped (REASON_EXECUTOR_TERMINATED).
    Drop {
        /// In words.
        why: &'static str,
        /// The executor that is here is one that the master has given up: it is to end, and its exit sets the master right.
        shut_down: bool,
    },
}

/// What becomes of a task that wants an executor of which this is the state here.
pub(super) fn decide(wish: Wish, is_command: bool, here: Option<ExecutorState>) -> Verdict {
    use ExecutorState::{Ending, Gone, Launching, Running};
    let drop = |why| Verdict::Drop { why, shut_down: false };
    match (wish, here) {
        (Wish::Launch | Wish::Either | Wish::Counted, None) => Verdict::Launch,
        // Whatever the master says, a command task joins nobody.
        (Wish::Join, None) if is_command => Verdict::Launch,
        (Wish::Launch | Wish::Join | Wish::Either | Wish::Counted, Some(_)) if is_command => {
            drop("an executor with the name of the command task is here already")
        }
        (Wish::Join, None) => drop("no executor is to be launched, and there is none running"),
        (Wish::Launch, Some(Launching | Running)) => Verdict::Drop {
            why: "a new executor is to be launched, but there is one already; it will be shut down",
            shut_down: true,
        },
        (Wish::Launch, Some(Ending | Gone)) => drop("a new executor is to be launched, but the old one is still here"),
        (Wish::Join | Wish::Either | Wish::Counted, Some(Launching | Running)) => Verdict::Join,
        (Wish::Join | Wish::Either | Wish::Counted, Some(Ending)) => drop("the executor is terminating"),
        // Its last updates wait for their acknowledgements, which is no affair of the new one.
        (Wish::Counted, Some(Gone)) => Verdict::Launch,
        (Wish::Join | Wish::Either, Some(Gone)) => drop("the executor has terminated"),
    }
}

/// Whether a master has to hear of the exit of an executor that was not launched for a task that is refused: else it counts its
/// resources for ever. `container_failed`: the refusal stands for a container that could not be launched; Mesos' agent has an
/// executor then, and reports the exit of any that is not a command task's, which masters do not count.
pub(super) fn owes_exit(wish: Wish, is_command: bool, here: Option<ExecutorState>, container_failed: bool) -> bool {
    match here {
        // Its own exit will be reported.
        Some(ExecutorState::Launching | ExecutorState::Running | ExecutorState::Ending) => false,
        Some(ExecutorState::Gone) | None => match wish {
            Wish::Launch => !(is_command && container_failed),
            // One is under way to the master already.
            Wish::Join => false,
            Wish::Either => container_failed && !is_command,
            // It counts none for a command task.
            Wish::Counted => !is_command,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [Option<ExecutorState>; 5] = [
        None,
        Some(ExecutorState::Launching),
        Some(ExecutorState::Running),
        Some(ExecutorState::Ending),
        Some(ExecutorState::Gone),
    ];

    /// A letter for each state in `HERE`: launch, join, drop, drop and end it.
    fn letters(wish: Wish, is_command: bool) -> String {
        let letter = |here| match decide(wish, is_command, here) {
            Verdict::Launch => 'L',
            Verdict::Join => 'J',
            Verdict::Drop { shut_down: false, .. } => 'd',
            Verdict::Drop { shut_down: true, .. } => 'E',
        };
        HERE.into_iter().map(letter).collect()
    }

    fn owed(wish: Wish, is_command: bool, container_failed: bool) -> String {
        let letter = |here| if owes_exit(wish, is_command, here, container_failed) { 'x' } else { '-' };
        HERE.into_iter().map(letter).collect()
    }

    #[test]
    fn an_executor_that_others_share_is_launched_joined_or_the_task_dropped() {
        assert_eq!(letters(Wish::Launch, false), "LEEdd");
        assert_eq!(letters(Wish::Join, false), "dJJdd");
        assert_eq!(letters(Wish::Either, false), "LJJdd");
        assert_eq!(letters(Wish::Counted, false), "LJJdL");
    }

    #[test]
    fn a_command_task_has_an_executor_of_its_own_whatever_the_master_says() {
        for wish in [Wish::Launch, Wish::Join, Wish::Either, Wish::Counted] {
            assert_eq!(letters(wish, true), "Ldddd");
        }
    }

    #[test]
    fn an_exit_is_owed_when_the_master_counts_an_executor_that_is_not_here() {
        assert_eq!(owed(Wish::Launch, false, false), "x---x");
        assert_eq!(owed(Wish::Launch, true, false), "x---x");
        assert_eq!(owed(Wish::Join, false, false), "-----");
        assert_eq!(owed(Wish::Either, false, false), "-----");
        assert_eq!(owed(Wish::Counted, false, false), "x---x");
        assert_eq!(owed(Wish::Counted, true, false), "-----");
    }

    #[test]
    fn the_exit_for_a_container_that_failed_is_owed_for_all_but_command_tasks() {
        assert_eq!(owed(Wish::Launch, false, true), "x---x");
        assert_eq!(owed(Wish::Either, false, true), "x---x");
        assert_eq!(owed(Wish::Launch, true, true), "-----");
        assert_eq!(owed(Wish::Either, true, true), "-----");
    }

    #[test]
    fn the_flag_of_the_message_is_the_masters_wish() {
        assert_eq!([Some(true), Some(false), None].map(Wish::from), [Wish::Launch, Wish::Join, Wish::Either]);
    }
}
