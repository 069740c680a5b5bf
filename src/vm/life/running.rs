//! What befalls a VM from outside: its connection breaks, its command or QEMU ends, it is to be killed, the slave is gone.

use std::time::{Duration, Instant};

use super::deadlines::{COLLECT_KILLED, ORPHAN_GRACE, ORPHANS, OVERTAKEN};
use super::state::{Handshake, Kill, Link, State};
use super::types::{Action, Cause, Failure, Found, JobKind};
use super::{Life, report};
use crate::container::status::Report;
use crate::messages::mesos::TaskState;

impl Life {
    pub(super) fn connection_ended(&mut self, failure: Failure, now: Instant) {
        match &mut self.state {
            State::AwaitingSsh(Handshake { killed: Some(_), .. }) => {
                self.end(report::killed_during_launch(self.awaits()), now);
            }
            State::AwaitingSsh(handshake) => {
                if !handshake.retry(&failure, now) {
                    let report = report::ssh(&self.settings, self.address, &failure);
                    self.end(report, now);
                }
            }
            State::Bringing => self.end(report::session(&self.settings, &failure), now),
            State::Launching { killed: None, .. } => self.abandon(report::session(&self.settings, &failure), now),
            State::Launching { killed: Some(_), .. } | State::Stopping { .. } => {
                self.abandon(report::killed(None), now);
            }
            State::Holding { link, .. } => link.lose(failure.text, now),
            State::Running { link } => {
                link.lose(failure.text, now);
                self.actions.push(Action::Cancel(JobKind::Wait));
            }
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
            Ok(Found::OutOfMemory(exit)) => self.collect(report::out_of_memory(&self.settings, exit), killed, now),
            Ok(_) => self.abandon(report::lost("the guest did not say how the command ended"), now),
            Err(failure) if killed => {
                self.actions.push(Action::Note(failure.text));
                match failure.cause {
                    Cause::Rebooted => self.end(report::killed(None), now),
                    _ => self.abandon(report::killed(None), now),
                }
            }
            Err(failure) => match failure.cause {
                Cause::Rebooted => self.end(report::rebooted(&self.settings), now),
                Cause::Supervisor => self.abandon(report::lost(&failure.text), now),
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
        let panic = panic.as_deref();
        match &self.state {
            State::AwaitingSsh(Handshake { killed: Some(_), .. }) => self.end(report::killed(None), now),
            State::AwaitingAddress { .. } | State::AwaitingSsh(_) | State::Bringing => {
                self.end(report::ended_at_boot(&self.settings, panic), now);
            }
            State::Launching { killed: None, .. } => self.end(report::ended_at_boot(&self.settings, panic), now),
            State::Holding { .. } | State::Running { .. } => {
                self.end(report::ended_while_running(&self.settings, panic), now);
            }
            State::Launching { killed: Some(_), .. } | State::Stopping { .. } => self.end(report::killed(None), now),
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
            State::AwaitingAddress { .. } | State::AwaitingSsh(_) => self.kill_while_connecting(grace, now),
            State::Bringing => self.end(report::killed_during_launch("was given its files"), now),
            State::Launching { .. } => self.kill_while_launching(grace, now),
            State::Holding { .. } => self.let_go(now),
            State::Running { link: Link::Lost { .. } } => self.abandon(report::killed(None), now),
            State::Running { link: Link::Up } => {
                if self.settings.tells_of_killing && self.watch.tells_of_killing() {
                    self.actions.push(Action::Report(Report::plain(TaskState::TaskKilling)));
                }
                self.stop(Kill::new(grace, now), now);
            }
            State::Stopping { kill, .. } => {
                kill.hasten(grace);
                self.tick(now);
            }
            State::Collecting { until, .. } => *until = (*until).min(now + COLLECT_KILLED),
            State::Destroying | State::Reporting { .. } | State::Ended => {}
        }
    }

    /// TERM now, KILL when it is time.
    pub(super) fn stop(&mut self, kill: Kill, now: Instant) {
        let soon = now + self.dies_within();
        self.state = State::Stopping { kill, give_up_at: None };
        self.start(JobKind::Term, kill.at.map_or(soon, |at| at.max(soon)));
        self.tick(now);
    }

    pub(super) fn parent_gone(&mut self, now: Instant) {
        self.orphan = true;
        match &mut self.state {
            State::Reporting { .. } => self.exit(),
            // Its tasks' slave is gone as well.
            State::Holding { until, .. } => *until = Some(now + ORPHANS),
            _ => self.kill(ORPHAN_GRACE, now),
        }
    }
}
