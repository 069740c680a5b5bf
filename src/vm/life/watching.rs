//! The watch over a command task, while its command runs and is not being ended: what it wants done.

use std::time::Instant;

use super::Life;
use super::state::State;
use super::types::Action;
use crate::checks::{Outcome, Which, watch};

impl Life {
    pub(super) fn check_ended(&mut self, which: Which, outcome: Outcome, now: Instant) {
        let wanted = self.watch.ended(which, outcome, now);
        self.obey(wanted, now);
    }

    /// What is due of the watch.
    pub(super) fn look(&mut self, now: Instant) {
        let wanted = self.watch.tick(now);
        self.obey(wanted, now);
    }

    fn obey(&mut self, wanted: Vec<watch::Action>, now: Instant) {
        for action in wanted {
            match action {
                watch::Action::Run { which, by } => self.actions.push(Action::Check { which, by }),
                watch::Action::Tell(report) => self.actions.push(Action::Report(report)),
                watch::Action::Note(text) => self.actions.push(Action::Note(text)),
                watch::Action::Kill { grace } => self.kill(grace, now),
            }
        }
    }

    /// After each event: the watch ends with the state that it belongs to.
    pub(super) fn stop_watching(&mut self) {
        if self.watch.is_on() && !matches!(self.state, State::Running { .. }) {
            self.watch.stop();
            self.actions.push(Action::StopChecks);
        }
    }
}
