//! From the overlay to the command's start.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::deadlines::{FOREVER, LIBVIRT, OVERTAKEN};
use super::state::{Files, Handshake, Link, State};
use super::types::{Action, Cause, Failure, Found, JobKind, Step};
use super::{Life, report};
use crate::container::status::Report;
use crate::messages::mesos::TaskState;

impl Life {
    pub(super) fn prepared(&mut self, job: JobKind, result: Result<Found, Failure>, now: Instant) {
        let State::Preparing { left } = &mut self.state else {
            return;
        };
        if let Err(failure) = result {
            let report = report::prepare(&self.settings, job, &failure);
            return self.end(report, now);
        }
        left.retain(|other| *other != job);
        if left.is_empty() {
            self.all_prepared(now);
        }
    }

    pub(super) fn boot(&mut self, now: Instant) {
        self.step(Step::Overlay, now);
        self.state = State::Starting { doomed: None };
        self.started = true;
        self.boot_by = now + self.settings.boot_timeout;
        self.start(JobKind::Start, (now + LIBVIRT).min(self.boot_by));
    }

    pub(super) fn start_ended(&mut self, result: Result<Found, Failure>, now: Instant) {
        let State::Starting { doomed } = &mut self.state else {
            return;
        };
        if let Some((report, _)) = doomed.take() {
            return self.end(report, now);
        }
        match result {
            Ok(found) => {
                self.step(Step::Start, now);
                self.state = State::AwaitingAddress { by: self.boot_by };
                self.start(JobKind::Lease, self.boot_by);
                if let Found::Address(address) = found {
                    self.probe(address);
                }
            }
            Err(failure) => self.end(report::start(&self.settings, &failure), now),
        }
    }

    pub(super) fn probe(&mut self, address: Ipv4Addr) {
        if self.address != Some(address) {
            self.address = Some(address);
            self.actions.push(Action::Probe(address));
        }
    }

    pub(super) fn lease_ended(&mut self, result: Result<Found, Failure>, now: Instant) {
        let State::AwaitingAddress { by } = self.state else {
            return;
        };
        match result {
            Ok(Found::Address(address)) => {
                self.step(Step::Address, now);
                self.state = State::AwaitingSsh(Handshake::new(by));
                self.probe(address);
            }
            Ok(_) => self.end(report::lease(&self.settings, &Failure::other("the worker named no address")), now),
            Err(failure) => self.end(report::lease(&self.settings, &failure), now),
        }
    }

    pub(super) fn banner_seen(&mut self, now: Instant) {
        match self.state {
            State::AwaitingAddress { by } => {
                // Who answers at the reserved address has got it; the lease need not be looked for any longer.
                self.actions.push(Action::Cancel(JobKind::Lease));
                self.step(Step::Address, now);
                self.state = State::AwaitingSsh(Handshake::new(by));
                self.connect_to_launch();
            }
            State::AwaitingSsh(_) => self.connect_to_launch(),
            _ => {}
        }
    }

    /// The connection's first session starts the command. The slave takes an executor's word from its guest's address only, and so
    /// has to know that before.
    fn connect_to_launch(&mut self) {
        if self.settings.is_executor {
            self.actions.push(Action::Report(Report::plain(TaskState::TaskStarting)));
        }
        self.connect();
    }

    pub(super) fn connect(&mut self) {
        let launch = self.launches_at_once();
        if let State::AwaitingSsh(handshake) = &mut self.state {
            handshake.begins = launch;
        }
        self.actions.push(Action::Connect { launch });
    }

    /// No connection yet.
    pub(super) fn look_at_handshake(&mut self, now: Instant) {
        let State::AwaitingSsh(handshake) = &mut self.state else { return };
        if now < handshake.by {
            if handshake.retry_at.take_if(|at| now >= *at).is_some() {
                self.connect();
            }
            return;
        }
        let begins = handshake.begins;
        let report = match handshake.killed {
            Some(_) => report::killed_during_launch(self.awaits()),
            None => report::ssh_deadline(&self.settings, self.address, handshake.last.as_deref()),
        };
        match begins {
            true => self.abandon(report, now),
            false => self.end(report, now),
        }
    }

    pub(super) fn fetched(&mut self, result: Result<Found, Failure>, now: Instant) {
        if let Err(failure) = result {
            return self.not_fetched(report::fetch(&failure), now);
        }
        self.files = Files::Fetched;
        if let State::Bringing = self.state {
            self.bring(now);
        }
    }

    fn not_fetched(&mut self, report: Report, now: Instant) {
        match &mut self.state {
            State::Starting { doomed } => {
                doomed.get_or_insert((report, now + OVERTAKEN));
            }
            State::Preparing { .. } | State::AwaitingAddress { .. } | State::AwaitingSsh(_) | State::Bringing => {
                self.end(report, now);
            }
            State::Launching { .. }
            | State::Holding { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Collecting { .. }
            | State::Destroying
            | State::Reporting { .. }
            | State::Ended => {}
        }
    }

    /// A guest that takes the files slowly is let; one that is gone is noticed by its connection.
    pub(super) fn bring(&mut self, now: Instant) {
        self.state = State::Bringing;
        self.start(JobKind::Bring, now + FOREVER);
    }

    pub(super) fn brought(&mut self, result: Result<Found, Failure>, now: Instant) {
        let State::Bringing = self.state else { return };
        match result {
            Ok(_) => {
                self.step(Step::Files, now);
                let by = self.launching(now);
                self.start(JobKind::Launch, by);
            }
            Err(failure) => self.end(report::bring(&self.settings, &failure), now),
        }
    }

    /// Until when the launcher has to be heard of.
    pub(super) fn launching(&mut self, now: Instant) -> Instant {
        let by = now + self.launch_time();
        self.state = State::Launching { by, killed: None };
        by
    }

    pub(super) fn unanswered(&mut self, why: String) {
        if let State::AwaitingSsh(handshake) = &mut self.state {
            handshake.last = Some(why);
        }
    }

    pub(super) fn connected(&mut self, boot_id: String, now: Instant) {
        match &self.state {
            State::AwaitingSsh(handshake) => {
                let told = handshake.killed;
                self.boot_id = Some(boot_id);
                self.step(Step::Ssh, now);
                self.reached(now);
                if let (Some(kill), State::Launching { by, killed }) = (told, &mut self.state) {
                    (*by, *killed) = (kill.known_by(*by), Some(kill));
                }
            }
            State::Holding { .. } | State::Running { .. } => self.connected_again(&boot_id, now),
            _ => {}
        }
    }

    fn connected_again(&mut self, boot_id: &str, now: Instant) {
        if self.boot_id.as_deref() != Some(boot_id) {
            return self.end(report::rebooted(&self.settings), now);
        }
        self.actions.push(Action::Note("connected again".to_string()));
        match &mut self.state {
            State::Holding { link, .. } => *link = Link::Up,
            _ => {
                self.state = State::Running { link: Link::Up };
                self.start(JobKind::Wait, now + FOREVER);
            }
        }
    }

    pub(super) fn launched(&mut self, result: Result<(), Failure>, now: Instant) {
        let State::Launching { killed, .. } = self.state else { return };
        match (result, killed) {
            (Ok(()), None) => {
                self.step(Step::Run, now);
                self.state = State::Running { link: Link::Up };
                self.actions.push(Action::Report(Report::plain(TaskState::TaskRunning)));
                self.watch.begin(now);
                self.start(JobKind::Wait, now + FOREVER);
                self.actions.push(Action::Follow);
            }
            (Ok(()), Some(kill)) => {
                self.step(Step::Run, now);
                self.start(JobKind::Wait, now + FOREVER);
                self.actions.push(Action::Follow);
                self.stop(kill, now);
            }
            (Err(failure), _) => self.not_started(&failure, killed.is_some(), now),
        }
    }

    fn not_started(&mut self, failure: &Failure, killed: bool, now: Instant) {
        let report = match killed {
            true => report::killed_during_launch("was given the command"),
            false => report::launch(&self.settings, failure),
        };
        match failure.cause {
            // The launcher says so before it starts anything.
            Cause::NoUser | Cause::Fatal => self.end(report, now),
            Cause::Deadline | Cause::KeyRefused | Cause::Rebooted | Cause::Supervisor | Cause::Other => {
                self.abandon(report, now);
            }
        }
    }
}
