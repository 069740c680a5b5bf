//! What a VM's life has to tell: its steps, notes, statuses and outcome, in the log, in the sandbox and to the slave.

use std::io;
use std::time::Duration;

use super::{Shell, Step};
use crate::container::status::{Report, Update};
use crate::container::text::printable;
use crate::messages::mesos::TaskState;

impl Shell {
    pub(super) fn step(&mut self, step: Step, took: Duration) {
        log::info!("{step}: {:.3} s", took.as_secs_f64());
        self.record.step(&step.to_string(), took);
        self.channel.send_step(&step.to_string(), took);
    }

    pub(super) fn note(&mut self, text: &str) {
        log::warn!("{}", printable(text));
        self.record.note(text);
    }

    pub(super) fn write_outcome(&mut self, report: &Report) {
        if let Some(message) = &report.message {
            self.record.note(message);
        }
        let Some(update) = self.update(report) else {
            return;
        };
        if let Err(error) = self.plan.directory.write_outcome(&update) {
            log::error!("{error}");
        }
        self.outcome = Some(update);
        if self.plan.spec.joins.is_some() {
            self.channel.send_decided(report.state);
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        // What checks say goes on for days.
        let level = if report.is_of_check() { log::Level::Debug } else { log::Level::Info };
        log::log!(
            level,
            "{}{}",
            report.state.as_str_name(),
            report.message.as_deref().map(|text| format!(": {}", printable(text))).unwrap_or_default()
        );
        let terminal =
            !matches!(report.state, TaskState::TaskStarting | TaskState::TaskRunning | TaskState::TaskKilling);
        let update =
            if terminal { self.outcome.take().map(|outcome| self.with_losses(outcome)) } else { self.update(&report) };
        if let Some(update) = update {
            self.channel.send_update(update);
        }
        self.told |= terminal;
    }

    /// The terminal update, with what is missing on the host: the note in the sandbox may not have found room there.
    fn with_losses(&self, mut update: Update) -> Update {
        if let (Some(message), false) = (&mut update.status.message, self.lost.is_empty()) {
            message.push_str("; ");
            message.push_str(&self.lost.join("; "));
        }
        update
    }

    fn update(&self, report: &Report) -> Option<Update> {
        self.statuses
            .make(report, self.life.address())
            .inspect_err(|error| log::error!("no random bytes for an update: {error}"))
            .ok()
    }

    pub(super) fn keep_console(&mut self) {
        match self.record.keep_console(&self.plan.console()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("the guest's console is not kept: {error}");
            }
            _ => {}
        }
    }
}
