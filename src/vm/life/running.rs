//! What befalls a VM from outside: its connection breaks, its command or QEMU ends, it is to be killed, the slave is gone.

use std::time::{Duration, Instant};

use super::deadlines::{COLLECT_KILLED, KILL, ORPHAN_GRACE, OVERTAKEN};
use super::state::{Link, State};
use super::types::{Action, Cause, Failure, Found, JobKind};
use super::{Life, report};
use crate::container::status::Report;
use crate::messages::mesos::TaskState;

impl Life {
    pub(super) fn connection_ended(&mut self, failure: Failure, now: Instant) {
        match &mut self.state {
            State::AwaitingSsh(handshake) => {
                if !handshake.retry(&failure, now) {
                    let report = report::ssh(&self.settings, self.address, &failure);
                    self.end(report, now);
                }
            }
            State::Bringing | State::Launching { .. } => self.end(report::session(&failure), now),
            State::Running { link } => {
                link.lose(failure.text, now);
                self.actions.push(Action::Cancel(JobKind::Wait));
            }
            State::Stopping { .. } => self.destroy(report::killed(None), now),
            State::Collecting { .. } => self.collected(true, true, now),
            State::Preparing { .. }
            | State::Starting { .. }
            | State::AwaitingAddress { .. }
            | State::Destroying
            | State::Reporting { .. }
            | State::Ended => {}
        }
    }

    pub(super) fn command_ended(&mut self, result: Result<Found, Failure>, now: Instant) {
        let killed = match &self.state {
            State::Running { link: Link::Up } => false,
            State::Stopping { .. } => true,
            _ => return,
        };
        match result {
            Ok(Found::CommandEnded(exit) | Found::OutOfMemory(exit)) if killed => {
                self.collect(report::killed(Some(exit)), killed, now);
            }
            Ok(Found::CommandEnded(exit)) => self.collect(report::exited(exit), killed, now),
            Ok(Found::OutOfMemory(exit)) => self.collect(report::out_of_memory(exit), killed, now),
            Ok(_) => self.end(report::lost("the guest did not say how the command ended"), now),
            Err(failure) if killed => {
                self.actions.push(Action::Note(failure.text));
                self.destroy(report::killed(None), now);
            }
            Err(failure) => match failure.cause {
                Cause::Rebooted => self.end(report::rebooted(), now),
                Cause::Supervisor => self.end(report::lost(&failure.text), now),
                // The session is broken, and so perhaps the connection: a new one tells.
                Cause::Deadline | Cause::KeyRefused | Cause::Fatal | Cause::NoUser | Cause::Other => {
                    self.actions.push(Action::Disconnect);
                    if let State::Running { link } = &mut self.state {
                        link.lose(failure.text, now);
                    }
                }
            },
        }
    }

    pub(super) fn qemu_gone(&mut self, panic: Option<String>, now: Instant) {
        match &self.state {
            State::AwaitingAddress { .. } | State::AwaitingSsh(_) | State::Bringing | State::Launching { .. } => {
                self.end(report::ended_at_boot(panic.as_deref()), now);
            }
            State::Running { .. } => self.end(report::ended_while_running(panic.as_deref()), now),
            State::Stopping { .. } => self.destroy(report::killed(None), now),
            State::Collecting { .. } => self.collected(true, true, now),
            State::Preparing { .. }
            | State::Starting { .. }
            | State::Destroying
            | State::Reporting { .. }
            | State::Ended => {}
        }
    }

    pub(super) fn kill(&mut self, grace: Duration, now: Instant) {
        match &mut self.state {
            State::Preparing { .. } => self.end(report::killed_during_launch("was prepared"), now),
            State::Starting { doomed } => {
                let report = report::killed_during_launch("was started");
                doomed.get_or_insert((report, now + OVERTAKEN));
            }
            State::AwaitingAddress { .. } | State::AwaitingSsh(_) => {
                self.end(report::killed_during_launch("booted"), now);
            }
            State::Bringing => self.end(report::killed_during_launch("was given its files"), now),
            State::Launching { .. } => {
                self.end(report::killed_during_launch("was given the command"), now);
            }
            State::Running { link: Link::Lost { .. } } => self.end(report::killed(None), now),
            State::Running { link: Link::Up } => {
                if self.settings.tells_of_killing && self.watch.tells_of_killing() {
                    self.actions.push(Action::Report(Report::plain(TaskState::TaskKilling)));
                }
                self.state = State::Stopping { began: now, kill_at: now.checked_add(grace), give_up_at: None };
                self.start(JobKind::Term, now + KILL.max(grace));
                self.tick(now);
            }
            // It can only hasten the end: its grace period counts from the first kill (`CommandExecutor::kill` in Mesos).
            State::Stopping { began, kill_at: Some(at), .. } => {
                *at = began.checked_add(grace).map_or(*at, |sooner| sooner.min(*at));
                self.tick(now);
            }
            State::Collecting { until, .. } => *until = (*until).min(now + COLLECT_KILLED),
            State::Stopping { kill_at: None, .. } | State::Destroying | State::Reporting { .. } | State::Ended => {}
        }
    }

    pub(super) fn parent_gone(&mut self, now: Instant) {
        self.orphan = true;
        match self.state {
            State::Reporting { .. } => self.exit(),
            _ => self.kill(ORPHAN_GRACE, now),
        }
    }
}
