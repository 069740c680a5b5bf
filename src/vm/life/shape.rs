//! Where the three shapes of a life part: what is prepared, what comes then, what is done in a guest that is reached, and what a kill means there.
//! What their ends leave to be undone is decided by what was begun (`ending.rs`).

use std::time::{Duration, Instant};

use super::deadlines::{KILL, KILL_JOINED, LAUNCH};
use super::state::{Files, Handshake, Kill, Link, State};
use super::types::{Action, JobKind, Settings, Shape};
use super::{Life, report};
use crate::container::status::Report;
use crate::messages::mesos::TaskState;

/// What has to be there before a VM is started, or joined.
pub(super) fn preparations(settings: &Settings) -> Vec<JobKind> {
    let mut jobs = match settings.shape {
        Shape::Command => vec![JobKind::Launcher, JobKind::Overlay],
        Shape::Holder => vec![JobKind::Overlay],
        // The keys are the holder's.
        Shape::Joined(_) => return vec![JobKind::Launcher],
    };
    if settings.makes_keys {
        jobs.extend([JobKind::ClientKey, JobKind::HostKey]);
    }
    jobs
}

impl Life {
    pub(super) fn all_prepared(&mut self, now: Instant) {
        match self.settings.shape {
            Shape::Command | Shape::Holder => self.boot(now),
            Shape::Joined(address) => {
                self.state = State::AwaitingSsh(Handshake::new(now + self.settings.boot_timeout));
                self.probe(address);
            }
        }
    }

    /// Without files, the connection's first session starts the command.
    pub(super) fn launches_at_once(&self) -> bool {
        match self.settings.shape {
            Shape::Command | Shape::Joined(_) => self.files == Files::None,
            Shape::Holder => false,
        }
    }

    /// The first connection to the guest is there.
    pub(super) fn reached(&mut self, now: Instant) {
        match (self.settings.shape, self.files) {
            (Shape::Holder, _) => {
                self.state = State::Holding { link: Link::Up, until: None };
                self.actions.push(Action::Report(Report::plain(TaskState::TaskRunning)));
            }
            (Shape::Command | Shape::Joined(_), Files::None) => {
                self.launching(now);
            }
            (Shape::Command | Shape::Joined(_), Files::Fetching) => self.state = State::Bringing,
            (Shape::Command | Shape::Joined(_), Files::Fetched) => self.bring(now),
        }
    }

    /// A guest that has but one command to begin does it soon. A group's tasks begin all at the same time, which takes a guest as much as a
    /// boot; and to give one of them up ends them all.
    pub(super) fn launch_time(&self) -> Duration {
        match self.settings.shape {
            Shape::Command | Shape::Holder => LAUNCH,
            Shape::Joined(_) => LAUNCH.max(self.settings.boot_timeout),
        }
    }

    /// What a kill that comes before the connection interrupts.
    pub(super) fn awaits(&self) -> &'static str {
        match self.settings.shape {
            Shape::Command | Shape::Holder => "booted",
            Shape::Joined(_) => "was connected to",
        }
    }

    /// Before there is a connection nothing has begun, but that which is being made may begin the command.
    pub(super) fn kill_while_connecting(&mut self, grace: Duration, now: Instant) {
        match (self.settings.shape, &mut self.state) {
            (Shape::Joined(_), State::AwaitingSsh(Handshake { begins: true, killed, by, .. })) => {
                Kill::ahead(killed, by, grace, now);
            }
            _ => self.end(report::killed_during_launch(self.awaits()), now),
        }
    }

    /// With its own VM the command ends in any case. In another's it may be beginning right now: it is killed as soon as that is known.
    pub(super) fn kill_while_launching(&mut self, grace: Duration, now: Instant) {
        let State::Launching { by, killed } = &mut self.state else { return };
        match self.settings.shape {
            Shape::Command | Shape::Holder => self.end(report::killed_during_launch("was given the command"), now),
            Shape::Joined(_) => Kill::ahead(killed, by, grace, now),
        }
    }

    /// How long the guest may take to carry out a KILL.
    pub(super) fn dies_within(&self) -> Duration {
        match self.settings.shape {
            Shape::Command | Shape::Holder => KILL,
            Shape::Joined(_) => KILL_JOINED,
        }
    }

    /// Nothing is run in a holder's VM but its tasks, and whoever ends it has ended those.
    pub(super) fn let_go(&mut self, now: Instant) {
        self.end(report::let_go(), now);
    }
}
