//! The way out: output and files come back, the domain goes, the slave hears of it. A task in another container's VM leaves that as it is:
//!
//! ```text
//!                        a domain of ours (`started`)   none
//! the command has ended  destroy, MarkDone              MarkDone
//! it may still run       destroy, MarkDone              no MarkDone: the slave ends the VM, as nobody else can
//! ```

use std::time::Instant;

use super::Life;
use super::deadlines::{COLLECT, COLLECT_KILLED, DESTROY, REPORT};
use super::state::State;
use super::types::{Action, Failure, Found, JobKind, Step};
use crate::container::status::Report;

/// What a life leaves in its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing of the command.
    Nothing,
    /// The command, for all that is known.
    Command,
}

impl Life {
    pub(super) fn collect(&mut self, report: Report, killed: bool, now: Instant) {
        self.decide(report);
        self.step_began = now;
        let until = now + if killed { COLLECT_KILLED } else { COLLECT };
        self.state = State::Collecting { output: false, files: false, until };
        self.actions.push(Action::FinishOutput);
        self.start(JobKind::Collect, until);
    }

    pub(super) fn collected(&mut self, output_done: bool, files_done: bool, now: Instant) {
        let State::Collecting { output, files, .. } = &mut self.state else {
            return;
        };
        *output |= output_done;
        *files |= files_done;
        if *output && *files {
            self.step(Step::Collect, now);
            self.leave(Left::Nothing, now);
        }
    }

    /// The way out when nothing of the command is in the guest, or the guest itself is gone.
    pub(super) fn end(&mut self, report: Report, now: Instant) {
        self.decide(report);
        self.leave(Left::Nothing, now);
    }

    /// The way out when the command may still run in the guest: only with its VM does it certainly end.
    pub(super) fn abandon(&mut self, report: Report, now: Instant) {
        self.decide(report);
        self.leave(Left::Command, now);
    }

    /// The outcome is written down at once: should we be killed from here on, the slave finds it.
    fn decide(&mut self, report: Report) {
        let report = self.watch.explain(report);
        self.actions.push(Action::WriteOutcome(report.clone()));
        self.outcome = Some(report);
    }

    /// What libvirt knows of is destroyed, or there is nothing but files.
    fn leave(&mut self, left: Left, now: Instant) {
        self.actions.extend([Action::CancelAll, Action::StopOutput, Action::Disconnect]);
        if self.started {
            self.step_began = now;
            self.state = State::Destroying;
            self.actions.push(Action::KeepConsole);
            return self.start(JobKind::Destroy, now + DESTROY);
        }
        self.actions.push(Action::RemoveFiles);
        match left {
            Left::Nothing => self.actions.push(Action::MarkDone),
            Left::Command => {
                let note = "the command may still run in the guest, and so its executor's virtual machine has to end";
                self.actions.push(Action::Note(note.to_string()));
            }
        }
        self.report(now);
    }

    pub(super) fn destroyed(&mut self, result: Result<Found, Failure>, now: Instant) {
        let State::Destroying = self.state else {
            return;
        };
        match result {
            Ok(_) => {
                self.step(Step::Destroy, now);
                self.actions.push(Action::MarkDone);
            }
            Err(failure) => {
                // The slave's `vm-worker cleanup` does the rest after us, since there is no `done`.
                self.actions.push(Action::Note(format!("not destroyed through libvirt: {}", failure.text)));
                self.actions.push(Action::KillQemu);
            }
        }
        self.report(now);
    }

    fn report(&mut self, now: Instant) {
        self.state = State::Reporting { until: now + REPORT };
        match self.outcome.take() {
            Some(report) => self.actions.push(Action::Report(report)),
            None => self.exit(),
        }
        if self.orphan {
            self.exit();
        }
    }

    pub(super) fn settled(&mut self) {
        if let State::Reporting { .. } = self.state {
            self.exit();
        }
    }

    pub(super) fn exit(&mut self) {
        self.state = State::Ended;
        self.actions.push(Action::Exit);
    }
}
