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
//! The shell (`shell.rs`) carries out the [`Action`]s and brings their results as [`Event`]s.

mod report;
#[cfg(test)]
mod tests;
mod types;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::container::status::Report;
use crate::messages::mesos::TaskState;
use crate::poll::{Backoff, earlier};
use crate::subprocess::Exit;
pub use types::{Action, Cause, Event, Failure, Found, JobKind, Settings, Step};

/// How long the overlay and the keys may take: they are local, and take milliseconds.
const PREPARE: Duration = Duration::from_secs(30);
/// How long one libvirt operation may take; it is milliseconds unless libvirtd is stopped, and a second when it probes QEMU.
const LIBVIRT: Duration = Duration::from_secs(30);
/// How long `destroy` may take. Less than the slave's own slack after a kill, so that QEMU is killed in time without libvirt.
const DESTROY: Duration = Duration::from_secs(10);
/// How long launching may take.
const LAUNCH: Duration = Duration::from_secs(30);
/// How long a key may be refused before it is believed: a guest may start its sshd before its keys are in place.
const REFUSED: Duration = Duration::from_secs(10);
/// How long output and files may take to come back; and when the container was killed.
const COLLECT: Duration = Duration::from_secs(60);
const COLLECT_KILLED: Duration = Duration::from_secs(5);
/// How long the guest may take to die of KILL before the VM is destroyed under it.
const KILL: Duration = Duration::from_secs(5);
/// How long a lost connection is tried to be made again.
const RECONNECT: Duration = Duration::from_secs(120);
/// How long a `start` that was overtaken by a kill may go on: cut short it might still reach libvirt after our `destroy`.
const OVERTAKEN: Duration = Duration::from_secs(5);
/// How long the terminal update may wait to be acknowledged.
const REPORT: Duration = Duration::from_secs(10);
/// The grace period when the slave is gone.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// Of a job that ends when the command does.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86400);

#[derive(Debug)]
enum State {
    Preparing { left: Vec<JobKind> },
    Starting { doomed: Option<(Report, Instant)> },
    AwaitingAddress { by: Instant },
    AwaitingSsh(Handshake),
    Launching,
    Running { link: Link },
    Stopping { kill_at: Option<Instant>, give_up_at: Option<Instant> },
    Collecting { output: bool, files: bool, until: Instant },
    Destroying,
    Reporting { until: Instant },
    Ended,
}

/// From sshd's greeting to a connection that works.
#[derive(Debug)]
struct Handshake {
    by: Instant,
    retry_at: Option<Instant>,
    backoff: Backoff,
    refused_until: Option<Instant>,
    last: Option<String>,
}

/// The connection while the command runs.
#[derive(Debug)]
enum Link {
    Up,
    Lost { until: Instant, retry_at: Option<Instant>, backoff: Backoff, why: String },
}

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
    started: bool,
    orphan: bool,
    actions: Vec<Action>,
}

impl Life {
    /// A life that begins now, and its first actions.
    pub fn begin(settings: Settings, now: Instant) -> (Life, Vec<Action>) {
        let mut left = vec![JobKind::Overlay];
        if settings.makes_keys {
            left.extend([JobKind::ClientKey, JobKind::HostKey]);
        }
        let mut life = Life {
            boot_by: now + PREPARE + settings.boot_timeout,
            settings,
            state: State::Preparing { left: left.clone() },
            step_began: now,
            address: None,
            boot_id: None,
            outcome: None,
            started: false,
            orphan: false,
            actions: vec![Action::Report(Report::plain(TaskState::TaskStarting))],
        };
        for job in left {
            life.start(job, now + PREPARE);
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
            Event::ConnectionEnded(failure) => self.connection_ended(failure, now),
            Event::OutputDone => self.collected(true, false, now),
            Event::QemuGone { panic } => self.qemu_gone(panic, now),
            Event::Kill { grace } => self.kill(grace, now),
            Event::ParentGone => self.parent_gone(now),
            Event::Settled => self.settled(),
            Event::Tick => self.tick(now),
        }
        std::mem::take(&mut self.actions)
    }

    /// When a [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Starting { doomed } => doomed.as_ref().map(|(_, until)| *until),
            State::AwaitingAddress { by } => Some(*by),
            State::AwaitingSsh(handshake) => earlier(Some(handshake.by), handshake.retry_at),
            State::Running { link: Link::Lost { until, retry_at, .. } } => earlier(Some(*until), *retry_at),
            State::Stopping { kill_at, give_up_at } => earlier(*kill_at, *give_up_at),
            State::Collecting { until, .. } | State::Reporting { until } => Some(*until),
            State::Preparing { .. }
            | State::Launching
            | State::Running { link: Link::Up }
            | State::Destroying
            | State::Ended => None,
        }
    }

    /// The guest's address, once it is known.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.address
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
            JobKind::Overlay | JobKind::ClientKey | JobKind::HostKey => self.prepared(job, result, now),
            JobKind::Start => self.start_ended(result, now),
            JobKind::Lease => self.lease_ended(result, now),
            JobKind::Launch => self.launched(result, now),
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

    fn prepared(&mut self, job: JobKind, result: Result<Found, Failure>, now: Instant) {
        let State::Preparing { left } = &mut self.state else {
            return;
        };
        if let Err(failure) = result {
            let report = report::prepare(&self.settings, job, &failure);
            return self.end(report, now);
        }
        left.retain(|other| *other != job);
        if left.is_empty() {
            self.step(Step::Overlay, now);
            self.state = State::Starting { doomed: None };
            self.started = true;
            self.boot_by = now + self.settings.boot_timeout;
            self.start(JobKind::Start, (now + LIBVIRT).min(self.boot_by));
        }
    }

    fn start_ended(&mut self, result: Result<Found, Failure>, now: Instant) {
        let State::Starting { doomed } = &mut self.state else {
            return;
        };
        if let Some((report, _)) = doomed.take() {
            return self.destroy(report, now);
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

    fn probe(&mut self, address: Ipv4Addr) {
        if self.address != Some(address) {
            self.address = Some(address);
            self.actions.push(Action::Probe(address));
        }
    }

    fn lease_ended(&mut self, result: Result<Found, Failure>, now: Instant) {
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

    fn banner_seen(&mut self, now: Instant) {
        match self.state {
            State::AwaitingAddress { by } => {
                // Who answers at the reserved address has got it; the lease need not be looked for any longer.
                self.actions.push(Action::Cancel(JobKind::Lease));
                self.step(Step::Address, now);
                self.state = State::AwaitingSsh(Handshake::new(by));
                self.actions.push(Action::Connect);
            }
            State::AwaitingSsh(_) => self.actions.push(Action::Connect),
            _ => {}
        }
    }

    fn connected(&mut self, boot_id: String, now: Instant) {
        match &self.state {
            State::AwaitingSsh(_) => {
                self.boot_id = Some(boot_id);
                self.step(Step::Ssh, now);
                self.state = State::Launching;
                self.start(JobKind::Launch, now + LAUNCH);
            }
            State::Running { link: Link::Lost { .. } } if self.boot_id.as_deref() == Some(boot_id.as_str()) => {
                self.actions.push(Action::Note("connected again".to_string()));
                self.state = State::Running { link: Link::Up };
                self.start(JobKind::Wait, now + FOREVER);
            }
            State::Running { .. } => self.end(report::rebooted(), now),
            _ => {}
        }
    }

    fn connection_ended(&mut self, failure: Failure, now: Instant) {
        match &mut self.state {
            State::AwaitingSsh(handshake) => {
                if !handshake.retry(&failure, now) {
                    let report = report::ssh(&self.settings, self.address, &failure);
                    self.end(report, now);
                }
            }
            State::Launching => self.end(report::session(&failure), now),
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

    fn launched(&mut self, result: Result<Found, Failure>, now: Instant) {
        let State::Launching = self.state else { return };
        match result {
            Ok(_) => {
                self.step(Step::Run, now);
                self.state = State::Running { link: Link::Up };
                self.actions.push(Action::Report(Report::plain(TaskState::TaskRunning)));
                self.start(JobKind::Wait, now + FOREVER);
                self.actions.push(Action::Follow);
            }
            Err(failure) => self.end(report::launch(&self.settings, &failure), now),
        }
    }

    fn command_ended(&mut self, result: Result<Found, Failure>, now: Instant) {
        let killed = match &self.state {
            State::Running { link: Link::Up } => false,
            State::Stopping { .. } => true,
            _ => return,
        };
        match result {
            Ok(Found::CommandEnded(exit)) => self.collect(exit, killed, now),
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

    fn collect(&mut self, exit: Exit, killed: bool, now: Instant) {
        let report = if killed { report::killed(Some(exit)) } else { report::exited(exit) };
        self.decide(report);
        self.step_began = now;
        let until = now + if killed { COLLECT_KILLED } else { COLLECT };
        self.state = State::Collecting { output: false, files: false, until };
        self.actions.push(Action::FinishOutput);
        self.start(JobKind::Collect, until);
    }

    fn collected(&mut self, output_done: bool, files_done: bool, now: Instant) {
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

    fn qemu_gone(&mut self, panic: Option<String>, now: Instant) {
        match &self.state {
            State::AwaitingAddress { .. } | State::AwaitingSsh(_) | State::Launching => {
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

    fn kill(&mut self, grace: Duration, now: Instant) {
        match &mut self.state {
            State::Preparing { .. } => self.end(report::killed_during_launch("was prepared"), now),
            State::Starting { doomed } => {
                let report = report::killed_during_launch("was started");
                doomed.get_or_insert((report, now + OVERTAKEN));
            }
            State::AwaitingAddress { .. } | State::AwaitingSsh(_) => {
                self.end(report::killed_during_launch("booted"), now);
            }
            State::Launching => {
                self.end(report::killed_during_launch("was given the command"), now);
            }
            State::Running { link: Link::Lost { .. } } => self.end(report::killed(None), now),
            State::Running { link: Link::Up } => {
                self.state = State::Stopping { kill_at: now.checked_add(grace), give_up_at: None };
                self.start(JobKind::Term, now + KILL.max(grace));
                self.tick(now);
            }
            State::Stopping { kill_at: Some(at), .. } => {
                *at = now.checked_add(grace).map_or(*at, |sooner| sooner.min(*at));
            }
            State::Collecting { until, .. } => *until = (*until).min(now + COLLECT_KILLED),
            State::Stopping { kill_at: None, .. } | State::Destroying | State::Reporting { .. } | State::Ended => {}
        }
    }

    fn parent_gone(&mut self, now: Instant) {
        self.orphan = true;
        match self.state {
            State::Reporting { .. } => self.exit(),
            _ => self.kill(ORPHAN_GRACE, now),
        }
    }

    fn settled(&mut self) {
        if let State::Reporting { .. } = self.state {
            self.exit();
        }
    }

    fn tick(&mut self, now: Instant) {
        match &mut self.state {
            State::Starting { doomed } => {
                if let Some((report, _)) = doomed.take_if(|(_, until)| now >= *until) {
                    self.actions.push(Action::Cancel(JobKind::Start));
                    self.destroy(report, now);
                }
            }
            State::AwaitingAddress { by } if now >= *by => {
                let report = report::lease(&self.settings, &Failure::deadline());
                self.end(report, now);
            }
            State::AwaitingSsh(handshake) => {
                if now >= handshake.by {
                    let last = handshake.last.clone();
                    let report = report::ssh_deadline(&self.settings, self.address, last.as_deref());
                    self.end(report, now);
                } else if handshake.retry_at.take_if(|at| now >= *at).is_some() {
                    self.actions.push(Action::Connect);
                }
            }
            State::Running { link: Link::Lost { until, retry_at, why, .. } } => {
                if now >= *until {
                    let report = report::unreachable(why);
                    self.end(report, now);
                } else if retry_at.take_if(|at| now >= *at).is_some() {
                    self.actions.push(Action::Connect);
                }
            }
            State::Stopping { kill_at, give_up_at } => {
                if kill_at.take_if(|at| now >= *at).is_some() {
                    *give_up_at = Some(now + KILL);
                    self.start(JobKind::Kill, now + KILL);
                } else if give_up_at.is_some_and(|at| now >= at) {
                    self.destroy(report::killed(None), now);
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
            | State::Launching
            | State::Running { link: Link::Up }
            | State::Destroying
            | State::Ended => {}
        }
    }

    /// The way out for everything that goes wrong: what libvirt knows of is destroyed, or there is nothing but files.
    fn end(&mut self, report: Report, now: Instant) {
        if self.started {
            return self.destroy(report, now);
        }
        self.decide(report);
        self.actions.extend([Action::CancelAll, Action::RemoveFiles, Action::MarkDone]);
        self.report(now);
    }

    /// The outcome is written down at once: should we be killed from here on, the slave finds it.
    fn decide(&mut self, report: Report) {
        self.actions.push(Action::WriteOutcome(report.clone()));
        self.outcome = Some(report);
    }

    fn destroy(&mut self, report: Report, now: Instant) {
        self.decide(report);
        self.destroy_now(now);
    }

    fn destroy_now(&mut self, now: Instant) {
        self.step_began = now;
        self.state = State::Destroying;
        self.actions.extend([Action::CancelAll, Action::StopOutput, Action::Disconnect, Action::KeepConsole]);
        self.start(JobKind::Destroy, now + DESTROY);
    }

    fn destroyed(&mut self, result: Result<Found, Failure>, now: Instant) {
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

    fn exit(&mut self) {
        self.state = State::Ended;
        self.actions.push(Action::Exit);
    }
}

impl Handshake {
    fn new(by: Instant) -> Handshake {
        Handshake {
            by,
            retry_at: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            refused_until: None,
            last: None,
        }
    }

    /// Whether there is any use in another try.
    fn retry(&mut self, failure: &Failure, now: Instant) -> bool {
        let hopeless = match failure.cause {
            Cause::Fatal => true,
            Cause::KeyRefused => now >= *self.refused_until.get_or_insert((now + REFUSED).min(self.by)),
            Cause::Deadline | Cause::NoUser | Cause::Rebooted | Cause::Supervisor | Cause::Other => false,
        };
        self.last = Some(failure.text.clone());
        self.retry_at = Some(now + self.backoff.next_wait());
        !hopeless
    }
}

impl Link {
    fn lose(&mut self, reason: String, now: Instant) {
        match self {
            Link::Up => {
                *self = Link::Lost {
                    until: now + RECONNECT,
                    retry_at: Some(now),
                    backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(10)),
                    why: reason,
                };
            }
            Link::Lost { retry_at, backoff, why, .. } => {
                *retry_at = Some(now + backoff.next_wait());
                *why = reason;
            }
        }
    }
}
