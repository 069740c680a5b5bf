//! The life of one virtual machine: what to do next, decided without doing anything and without a clock.
//!
//! ```text
//! Preparing ─► Starting ─► AwaitingAddress ─► AwaitingSsh ─► Launching ─► Running ──► Collecting ─► Destroying ─► Reporting ─► Ended
//!  overlay,     libvirt     DHCP lease, or     ssh master      the command   │  ▲           ▲            ▲
//!  keys                     sshd's greeting                    starts  kill ─┤  └ reconnect │            │
//!                                                                            └► Stopping ───┘            │
//!  a failure, a kill or the VM's end in any state ───────────────────────────────────────────────────────┘
//! ```
//!
//! Files that the command names are fetched beside all that comes before the connection. Then, `Bringing`, they go into the guest, before `Launching`.
//!
//! That is one of three shapes ([`Shape`]). The other two have a part of it each. With the default executor a VM holds tasks, and each of
//! them is a container that joins it:
//!
//! ```text
//! Holder  Preparing ─► Starting ─► AwaitingAddress ─► AwaitingSsh ─► Holding ─────────────────────────────► Destroying ─► Reporting ─► Ended
//! Joined  Preparing ────────────────────────────────► AwaitingSsh ─► Launching ─► Running ─► Collecting ──────────────► Reporting ─► Ended
//! ```
//!
//! Where they part is decided in `shape.rs`; what is left to be undone, in `ending.rs`.
//!
//! The shell (`shell.rs`) carries out the [`Action`]s and brings their results as [`Event`]s.

mod deadlines;
mod ending;
mod launching;
mod report;
mod running;
mod shape;
mod state;
#[cfg(test)]
mod tests;
mod types;
mod watching;

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::checks::Watch;
use crate::container::status::Report;
use crate::messages::mesos::TaskState;
use crate::poll::earlier;
use deadlines::{FOREVER, PREPARE};
use state::{Files, Link, State};
pub use types::{Action, Cause, Event, Failure, Found, JobKind, Settings, Shape, Step};

/// The life.
#[derive(Debug)]
pub struct Life {
    settings: Settings,
    state: State,
    step_began: Instant,
    boot_by: Instant,
    address: Option<Ipv4Addr>,
    boot_id: Option<String>,
    outcome: Option<Report>,
    /// There may be a domain of ours.
    started: bool,
    orphan: bool,
    watch: Watch,
    files: Files,
    actions: Vec<Action>,
}

impl Life {
    /// A life that begins now, and its first actions.
    pub fn begin(mut settings: Settings, now: Instant) -> (Life, Vec<Action>) {
        let left = shape::preparations(&settings);
        let fetches = settings.fetches;
        let mut life = Life {
            boot_by: now + PREPARE + settings.boot_timeout,
            watch: std::mem::take(&mut settings.watch),
            settings,
            state: State::Preparing { left: left.clone() },
            step_began: now,
            address: None,
            boot_id: None,
            outcome: None,
            started: false,
            orphan: false,
            files: if fetches { Files::Fetching } else { Files::None },
            actions: vec![Action::Report(Report::plain(TaskState::TaskStarting))],
        };
        for job in left {
            life.start(job, now + PREPARE);
        }
        if fetches {
            life.start(JobKind::Fetch, now + FOREVER);
        }
        let actions = std::mem::take(&mut life.actions);
        (life, actions)
    }

    /// Takes an event and gives what is to be done.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Ended { job, result } => self.job_ended(job, result, now),
            Event::BannerSeen => self.banner_seen(now),
            Event::Connected { boot_id } => self.connected(boot_id, now),
            Event::Launched(result) => self.launched(result, now),
            Event::Unanswered(why) => self.unanswered(why),
            Event::ConnectionEnded(failure) => self.connection_ended(failure, now),
            Event::OutputDone => self.collected(true, false, now),
            Event::QemuGone { panic } => self.qemu_gone(panic, now),
            Event::Kill { grace } => self.kill(grace, now),
            Event::ParentGone => self.parent_gone(now),
            Event::Settled => self.settled(),
            Event::Checked { which, outcome } => self.check_ended(which, outcome, now),
            Event::Tick => {
                self.tick(now);
                self.look(now);
            }
        }
        self.stop_watching();
        std::mem::take(&mut self.actions)
    }

    /// When a [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        earlier(self.state_deadline(), self.watch.deadline())
    }

    fn state_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Starting { doomed } => doomed.as_ref().map(|(_, until)| *until),
            State::AwaitingAddress { by } | State::Launching { by, .. } => Some(*by),
            State::AwaitingSsh(handshake) => earlier(Some(handshake.by), handshake.retry_at),
            State::Holding { link, until } => earlier(link.deadline(), *until),
            State::Running { link } => link.deadline(),
            State::Stopping { kill, give_up_at } => earlier(kill.at, *give_up_at),
            State::Collecting { until, .. } | State::Reporting { until } => Some(*until),
            State::Preparing { .. } | State::Bringing | State::Destroying | State::Ended => None,
        }
    }

    /// The guest's address, once it is known.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self.settings.shape {
            Shape::Command | Shape::Holder => self.address,
            Shape::Joined(address) => Some(address),
        }
    }

    fn start(&mut self, job: JobKind, deadline: Instant) {
        self.actions.push(Action::Start { job, deadline });
    }

    fn step(&mut self, step: Step, now: Instant) {
        let took = now.saturating_duration_since(self.step_began);
        self.step_began = now;
        self.actions.push(Action::Step { step, took });
    }

    fn job_ended(&mut self, job: JobKind, result: Result<Found, Failure>, now: Instant) {
        match job {
            JobKind::Launcher | JobKind::Overlay | JobKind::ClientKey | JobKind::HostKey => {
                self.prepared(job, result, now);
            }
            JobKind::Start => self.start_ended(result, now),
            JobKind::Lease => self.lease_ended(result, now),
            JobKind::Fetch => self.fetched(result, now),
            JobKind::Bring => self.brought(result, now),
            JobKind::Launch => self.launched(result.map(|_| ()), now),
            JobKind::Wait => self.command_ended(result, now),
            // What they were to achieve is seen by `Wait`, and its deadline stands.
            JobKind::Term | JobKind::Kill => {}
            JobKind::Collect => {
                if let Err(failure) = result {
                    self.actions.push(Action::Note(format!("files were not collected: {}", failure.text)));
                }
                self.collected(false, true, now);
            }
            JobKind::Destroy => self.destroyed(result, now),
        }
    }

    fn tick(&mut self, now: Instant) {
        let dies_by = now + self.dies_within();
        match &mut self.state {
            State::Starting { doomed } => {
                if let Some((report, _)) = doomed.take_if(|(_, until)| now >= *until) {
                    self.actions.push(Action::Cancel(JobKind::Start));
                    self.end(report, now);
                }
            }
            State::AwaitingAddress { by } if now >= *by => {
                let report = report::lease(&self.settings, &Failure::deadline());
                self.end(report, now);
            }
            State::AwaitingSsh(_) => self.look_at_handshake(now),
            State::Launching { by, killed } if now >= *by => {
                let report = match killed {
                    Some(_) => report::killed(None),
                    None => report::launch(&self.settings, &Failure::deadline()),
                };
                self.abandon(report, now);
            }
            State::Holding { until: Some(until), .. } if now >= *until => self.let_go(now),
            State::Holding { link, .. } | State::Running { link } => match link {
                Link::Lost { until, why, .. } if now >= *until => {
                    let report = report::unreachable(&self.settings, why);
                    self.abandon(report, now);
                }
                Link::Lost { retry_at, .. } => {
                    if retry_at.take_if(|at| now >= *at).is_some() {
                        self.actions.push(Action::Connect { launch: false });
                    }
                }
                Link::Up => {}
            },
            State::Stopping { kill, give_up_at } => {
                if kill.at.take_if(|at| now >= *at).is_some() {
                    *give_up_at = Some(dies_by);
                    self.start(JobKind::Kill, dies_by);
                } else if give_up_at.is_some_and(|at| now >= at) {
                    self.abandon(report::killed(None), now);
                }
            }
            State::Collecting { until, .. } if now >= *until => {
                self.actions.push(Action::Note("output and files did not all come back in time".to_string()));
                self.collected(true, true, now);
            }
            State::Reporting { until } if now >= *until => self.exit(),
            State::AwaitingAddress { .. }
            | State::Collecting { .. }
            | State::Reporting { .. }
            | State::Preparing { .. }
            | State::Bringing
            | State::Launching { .. }
            | State::Destroying
            | State::Ended => {}
        }
    }
}
