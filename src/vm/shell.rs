//! Carries out what a VM's life decides, and brings it what happens: jobs, the ssh connection, QEMU's end, the slave's
//! channel, signals and deadlines meet in one `poll`.

mod telling;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::banner::BannerProbe;
use super::checks::Guest;
use super::collect;
use super::connection::{Master, News};
use super::jobs::{self, Plan};
use super::life::{Action, Event, Failure, Found, JobKind, Life, Settings, Step};
use super::output::Follower;
use super::qemu::Qemu;
use super::record::{self, Record};
use super::ssh::Ssh;
use super::turn::Turn;
use crate::checks::{Runner, Which};
use crate::container::server::{Channel, FromParent};
use crate::container::status::{StatusMaker, Update};
use crate::poll::{Interest, PollSet, Signals, earlier};
use crate::subprocess::Job;

/// The grace period when the child itself is told to end, by a signal.
const SIGNAL_GRACE: Duration = Duration::from_secs(5);

/// How long a killed QEMU may take to be gone before the slave is told that the VM is.
const QEMU_PATIENCE: Duration = Duration::from_secs(2);

/// Everything that the life's actions are carried out with.
pub struct Shell {
    plan: Plan,
    channel: Channel,
    signals: Signals,
    record: Record,
    statuses: StatusMaker,
    life: Life,
    events: VecDeque<Event>,
    jobs: Vec<Running>,
    checks: Runner,
    ssh: Option<Ssh>,
    master: Option<Master>,
    /// Of a task in another container's VM, until it is connected.
    turn: Option<Turn>,
    probe: Option<BannerProbe>,
    /// Where sshd has greeted, until ssh goes on there.
    greeted: Option<TcpStream>,
    followers: Option<[Follower; 2]>,
    sizes: (u64, u64),
    qemu: Option<Qemu>,
    outcome: Option<Update>,
    lost: Vec<String>,
    told: bool,
    exit: bool,
}

#[derive(Debug)]
struct Running {
    kind: JobKind,
    job: Job,
    cancelled: bool,
}

impl Shell {
    /// Begins a VM's life.
    pub fn begin(
        plan: Plan,
        settings: Settings,
        channel: Channel,
        signals: Signals,
        record: Record,
        statuses: StatusMaker,
    ) -> Shell {
        let now = Instant::now();
        let (life, actions) = Life::begin(settings, now);
        let mut shell = Shell {
            plan,
            channel,
            signals,
            record,
            statuses,
            life,
            events: VecDeque::new(),
            jobs: Vec::new(),
            checks: Runner::default(),
            ssh: None,
            master: None,
            turn: None,
            probe: None,
            greeted: None,
            followers: None,
            sizes: (0, 0),
            qemu: None,
            outcome: None,
            lost: Vec::new(),
            told: false,
            exit: false,
        };
        shell.perform(actions, now);
        if shell.plan.spec.joins.is_some() {
            shell.watch_qemu(Qemu::find(&shell.plan.domain()));
        }
        shell
    }

    /// Goes on to the life's end.
    ///
    /// # Errors
    /// What `poll(2)` gives; the slave cleans up then.
    pub fn run(mut self) -> io::Result<()> {
        let mut set = PollSet::new();
        loop {
            while let Some(event) = self.events.pop_front() {
                let now = Instant::now();
                let actions = self.life.handle(event, now);
                self.perform(actions, now);
            }
            if self.exit {
                return Ok(());
            }
            set.clear();
            self.register(&mut set);
            set.wait(self.deadline())?;
            self.turn(&set, Instant::now());
        }
    }

    fn register(&self, set: &mut PollSet) {
        set.add(self.signals.fd(), Interest::Read);
        self.channel.register(set);
        self.jobs.iter().for_each(|running| running.job.register(set));
        self.checks.register(set);
        if let Some(master) = &self.master {
            master.register(set);
        }
        if let Some(probe) = &self.probe {
            probe.register(set);
        }
        if let Some(qemu) = &self.qemu {
            set.add(qemu.fd(), Interest::Read);
        }
        for follower in self.followers.iter().flatten() {
            follower.register(set);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let jobs = self.jobs.iter().filter(|running| !running.cancelled).map(|running| running.job.deadline()).min();
        let turn = self.turn.as_ref().and_then(Turn::deadline);
        let followers = self.followers.iter().flatten().map(Follower::deadline).fold(None, earlier);
        let probe = self.probe.as_ref().and_then(BannerProbe::deadline);
        [self.life.deadline(), self.channel.deadline(), self.checks.deadline(), jobs, followers, probe, turn]
            .into_iter()
            .fold(None, earlier)
    }

    fn turn(&mut self, set: &PollSet, now: Instant) {
        // Before anything opens descriptors: a new one may have the number of one that was ready.
        if self.qemu.as_ref().is_some_and(|qemu| set.is_readable(qemu.fd()) && !qemu.is_running()) {
            self.watch_qemu(None);
        }
        self.turn_signals();
        self.turn_channel(now);
        self.turn_jobs(now);
        self.turn_checks(now);
        self.turn_master();
        if let Some(turn) = self.turn.as_mut()
            && turn.comes(now)
        {
            self.probe = Some(BannerProbe::new(turn.address, 22, now));
        }
        if self.probe.as_mut().is_some_and(|probe| probe.turn(set, now)) {
            self.greeted = self.probe.take().and_then(BannerProbe::into_connection);
            self.events.push_back(Event::BannerSeen);
        }
        self.turn_followers(now);
        if self.life.deadline().is_some_and(|at| now >= at) {
            if let Some(probe) = &self.probe {
                self.events.push_back(Event::Unanswered(probe.last_failure().to_string()));
            }
            self.events.push_back(Event::Tick);
        }
    }

    fn turn_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            log::info!("told to end by {signal}");
            self.events.push_back(Event::Kill { grace: SIGNAL_GRACE });
        }
    }

    fn turn_channel(&mut self, now: Instant) {
        for message in self.channel.turn(now) {
            match message {
                FromParent::Kill { grace } => {
                    log::info!("the slave ends the container, with {} s of grace", grace.as_secs_f64());
                    self.events.push_back(Event::Kill { grace });
                }
                FromParent::Gone => {
                    log::warn!("the slave is gone, and so the container ends");
                    self.events.push_back(Event::ParentGone);
                }
                FromParent::ResourcesChanged(_) => {
                    log::debug!("resources have changed; a running VM keeps its size")
                }
            }
        }
        if self.told && self.channel.is_settled() {
            self.events.push_back(Event::Settled);
        }
    }

    fn turn_jobs(&mut self, now: Instant) {
        let mut ended = Vec::new();
        self.jobs.retain_mut(|running| match running.job.turn(now) {
            Some(end) => {
                if !running.cancelled {
                    ended.push((running.kind, end));
                }
                false
            }
            None => true,
        });
        for (job, end) in ended {
            if let (JobKind::Start, Some(pid)) = (job, jobs::qemu_pid(&end)) {
                self.watch_qemu(Qemu::open(pid, &self.plan.domain()));
            }
            if job == JobKind::Fetch {
                self.channel.send_fetched(end.is_success());
            }
            if job == JobKind::Collect {
                let summary = String::from_utf8_lossy(&end.stdout).into_owned();
                summary.lines().for_each(|line| self.record.note(line));
                self.lost.extend(summary.lines().filter(|line| collect::is_loss(line)).map(str::to_string));
            }
            let understood = self.plan.understand(job, &end, self.ssh.as_ref());
            if let Some(sizes) = understood.sizes {
                self.sizes = sizes;
            }
            self.events.push_front(Event::Ended { job, result: understood.result });
        }
    }

    /// One that cannot be found has ended.
    fn watch_qemu(&mut self, qemu: Option<Qemu>) {
        self.qemu = qemu;
        if self.qemu.is_none() {
            let panic = record::find_panic(&self.plan.console());
            self.events.push_back(Event::QemuGone { panic });
        }
    }

    fn turn_checks(&mut self, now: Instant) {
        let guest = Guest { plan: &self.plan, ssh: self.ssh.as_ref() };
        let ended = self.checks.turn(&guest, now).into_iter();
        self.events.extend(ended.map(|(which, outcome)| Event::Checked { which, outcome }));
    }

    fn check(&mut self, which: Which, by: Option<Instant>, now: Instant) {
        let guest = Guest { plan: &self.plan, ssh: self.ssh.as_ref() };
        let ended = self.checks.start(which, by, &guest, now);
        self.events.extend(ended.map(|outcome| Event::Checked { which, outcome }));
    }

    fn turn_master(&mut self) {
        while let Some(news) = self.master.as_mut().and_then(Master::turn) {
            let event = match news {
                News::Connected { boot_id } => {
                    self.turn = None;
                    Event::Connected { boot_id }
                }
                News::Ran(end) => Event::Launched(self.plan.launched(&end, self.ssh.as_ref())),
                News::Ended(error) => {
                    self.master = None;
                    Event::ConnectionEnded(jobs::ssh_failure(error))
                }
            };
            self.events.push_back(event);
        }
    }

    fn turn_followers(&mut self, now: Instant) {
        let Some(followers) = &mut self.followers else {
            return;
        };
        let (mut notes, mut losses) = (Vec::new(), Vec::new());
        for (follower, name) in followers.iter_mut().zip(["stdout", "stderr"]) {
            if let Some(end) = follower.turn(now) {
                notes.push(format!("{name}: {end}"));
                losses.extend(end.is_loss().then(|| format!("{name} {end}")));
            }
        }
        if notes.len() == 2 {
            self.followers = None;
            self.lost.extend(losses);
            notes.iter().filter(|note| !note.ends_with(": complete")).for_each(|note| self.note(note));
            self.events.push_back(Event::OutputDone);
        }
    }

    fn perform(&mut self, actions: Vec<Action>, now: Instant) {
        for action in actions {
            self.act(action, now);
        }
    }

    fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Start { job, deadline } => self.start(job, deadline),
            Action::Cancel(kind) => self.cancel(|running| running.kind == kind),
            Action::CancelAll => {
                (self.turn, self.probe) = (None, None);
                self.cancel(|_| true);
            }
            Action::Probe(address) if self.plan.spec.joins.is_some() => {
                self.turn = Some(Turn::wait(&self.plan.vm_files(), address, now));
            }
            Action::Probe(address) => self.probe = Some(BannerProbe::new(address, 22, now)),
            Action::Connect { launch } => self.connect(launch),
            Action::Disconnect => self.master = None,
            Action::Follow => self.follow(now),
            Action::FinishOutput => self.finish_output(now),
            Action::StopOutput => self.followers = None,
            Action::Step { step, took } => self.step(step, took),
            Action::Check { which, by } => self.check(which, by, now),
            Action::StopChecks => self.checks.stop(&Guest { plan: &self.plan, ssh: self.ssh.as_ref() }),
            Action::Note(text) => self.note(&text),
            Action::WriteOutcome(report) => self.write_outcome(&report),
            Action::Report(report) => self.report(report),
            Action::KeepConsole => self.keep_console(),
            Action::KillQemu => self.kill_qemu(),
            Action::RemoveFiles => self.remove_files(),
            Action::MarkDone => {
                if let Err(error) = self.plan.directory.mark_done() {
                    log::error!("{error}");
                }
            }
            Action::Exit => self.exit = true,
        }
    }

    fn start(&mut self, kind: JobKind, deadline: Instant) {
        if kind == JobKind::Launcher {
            let result = self.plan.write_launcher().map(|()| Found::Nothing);
            return self.events.push_back(Event::Ended { job: kind, result });
        }
        let started = self.plan.spawn(kind, self.ssh.as_ref()).and_then(|spawn| {
            Job::start(spawn, deadline).map_err(|error| Failure::other(format!("cannot start {kind:?}: {error}")))
        });
        match started {
            Ok(job) => self.jobs.push(Running { kind, job, cancelled: false }),
            Err(failure) => self.events.push_back(Event::Ended { job: kind, result: Err(failure) }),
        }
    }

    fn cancel(&mut self, which: impl Fn(&Running) -> bool) {
        for running in self.jobs.iter_mut().filter(|running| which(running)) {
            running.cancelled = true;
            running.job.cancel();
        }
        // What they have already left in the queue is of no interest either, but the life leaves it alone by itself.
    }

    fn connect(&mut self, launch: bool) {
        let address = self.life.address().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let greeted = self.greeted.take();
        let connected = self.plan.ssh(address).and_then(|ssh| {
            let script = if launch { Some(self.plan.launch(&ssh)?) } else { None };
            let master = Master::connect(&ssh, script, greeted)
                .map_err(|error| Failure::other(format!("cannot start ssh: {error}")))?;
            self.ssh = Some(ssh);
            Ok(master)
        });
        match connected {
            Ok(master) => self.master = Some(master),
            Err(failure) => self.events.push_back(Event::ConnectionEnded(failure)),
        }
    }

    fn follow(&mut self, now: Instant) {
        let Some(ssh) = &self.ssh else { return };
        let sandbox = Path::new(&self.plan.spec.sandbox);
        let open = |name| {
            let owner = Some(self.record.owner());
            Follower::open(sandbox, name, owner, self.plan.disk(), self.plan.fetch(ssh, name), now)
        };
        match open("stdout").and_then(|stdout| Ok([stdout, open("stderr")?])) {
            Ok(followers) => self.followers = Some(followers),
            Err(error) => {
                let loss = format!("output cannot be written to {}: {error}", sandbox.display());
                self.note(&loss);
                self.lost.push(loss);
            }
        }
    }

    fn finish_output(&mut self, now: Instant) {
        match &mut self.followers {
            Some([stdout, stderr]) => {
                stdout.finish(self.sizes.0, now);
                stderr.finish(self.sizes.1, now);
            }
            None => self.events.push_back(Event::OutputDone),
        }
    }

    fn kill_qemu(&mut self) {
        let qemu = self.qemu.take().or_else(|| Qemu::find(&self.plan.domain()));
        let Some(qemu) = qemu else { return };
        match qemu.kill(QEMU_PATIENCE) {
            Ok(()) => log::warn!("QEMU, pid {}, was killed without libvirt", qemu.pid),
            Err(error) => log::error!("cannot kill QEMU, pid {}: {error}", qemu.pid),
        }
    }

    fn remove_files(&mut self) {
        match fs::remove_dir_all(&self.plan.files) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::error!("cannot remove {}: {error}", self.plan.files.display());
            }
            _ => {}
        }
    }
}

/// The signals that end a container.
pub const SIGNALS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];
