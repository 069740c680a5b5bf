//! The way out: output and files come back, the domain goes, the slave hears of it.

use std::time::Instant;

use super::Life;
use super::deadlines::{COLLECT, COLLECT_KILLED, DESTROY, REPORT};
use super::state::State;
use super::types::{Action, Failure, Found, JobKind, Step};
use crate::container::status::Report;

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
            self.destroy_now(now);
        }
    }

    /// The way out for everything that goes wrong: what libvirt knows of is destroyed, or there is nothing but files.
    pub(super) fn end(&mut self, report: Report, now: Instant) {
        if self.started {
            return self.destroy(report, now);
        }
        self.decide(report);
        self.actions.extend([Action::CancelAll, Action::RemoveFiles, Action::MarkDone]);
        self.report(now);
    }

    /// The outcome is written down at once: should we be killed from here on, the slave finds it.
    pub(super) fn decide(&mut self, report: Report) {
        let report = self.watch.explain(report);
        self.actions.push(Action::WriteOutcome(report.clone()));
        self.outcome = Some(report);
    }

    pub(super) fn destroy(&mut self, report: Report, now: Instant) {
        self.decide(report);
        self.destroy_now(now);
    }

    pub(super) fn destroy_now(&mut self, now: Instant) {
        self.step_began = now;
        self.state = State::Destroying;
        self.actions.extend([Action::CancelAll, Action::StopOutput, Action::Disconnect, Action::KeepConsole]);
        self.start(JobKind::Destroy, now + DESTROY);
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

    pub(super) fn report(&mut self, now: Instant) {
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
