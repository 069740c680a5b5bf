//! The child's loop: the slave's channel, the command, the signals and the deadlines.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::checks::{Runner, Watch};
use crate::container::directory::RuntimeDirectory;
use crate::container::server::{Channel, FromParent};
use crate::container::status::{Report, StatusMaker, command_ended, tells_of_killing};
use crate::fetcher;
use crate::messages::container::Spec;
use crate::messages::mesos::TaskState;
use crate::messages::mesos::task_status::Reason;
use crate::poll::{PollSet, Signals, earlier};
use crate::subprocess::{Exit, Job, JobEnd, Subprocess};

use super::start::start;
use super::tree;

/// Between TERM and KILL when nobody says otherwise: the slave is gone, or we are told to end (Mesos'
/// `EXECUTOR_SHUTDOWN_GRACE_PERIOD`).
const GRACE: Duration = Duration::from_secs(5);
/// Fetching ends by itself when nothing comes any more; a large file may take its time.
const FETCHING: Duration = Duration::from_secs(10 * 365 * 86400);
/// KILL is repeated while something forks faster than it is found.
const AGAIN: Duration = Duration::from_millis(20);
/// Such a fight ends: what is left after so many rounds is the slave's to find by our session.
const ROUNDS: u32 = 500;

#[derive(Debug)]
enum State {
    /// What the command names is brought into its sandbox, or, being killed, no more.
    Fetching { job: Job, killed: bool },
    /// The command runs.
    Running(Subprocess),
    /// It is to end since the one time: KILL at the other.
    Stopping(Subprocess, Instant, Instant),
    /// Nothing runs here but what joins.
    Holding,
    /// It has ended; the rest of its processes are being killed.
    Sweeping { exit: Exit, killed: bool, rounds: u32, next: Instant },
    /// The terminal status is sent and to be acknowledged.
    Reporting,
}

/// A container of one process tree.
pub struct Child {
    directory: RuntimeDirectory,
    pub(super) spec: Spec,
    channel: Channel,
    maker: StatusMaker,
    signals: Signals,
    state: State,
    abandoned: bool,
    pub(super) watch: Watch,
    pub(super) checks: Runner,
}

impl Child {
    /// Takes over what the slave left.
    ///
    /// # Errors
    /// Signals that cannot be blocked.
    pub fn new(directory: RuntimeDirectory, spec: Spec, channel: Channel) -> Result<Child, String> {
        let maker = StatusMaker::new(&spec);
        let signals = Signals::block(&[Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT])
            .map_err(|error| format!("cannot block signals: {error}"))?;
        let (state, watch) = (State::Reporting, spec.task.as_ref().map(Watch::new).unwrap_or_default());
        let (abandoned, checks) = (false, Runner::default());
        Ok(Child { directory, spec, channel, maker, signals, state, abandoned, watch, checks })
    }

    /// The whole life: starting, running, reporting, and nothing left.
    ///
    /// # Errors
    /// What keeps a status from being made or written; the slave finds it in the log.
    pub fn run(mut self) -> Result<(), String> {
        self.report(&Report::plain(TaskState::TaskStarting))?;
        if self.spec.holds_tasks() {
            self.state = State::Holding;
            self.report(&Report::plain(TaskState::TaskRunning))?
        } else if fetcher::is_wanted(&self.spec) {
            self.fetch()?
        } else {
            self.begin()?
        }
        let mut set = PollSet::new();
        while !self.is_over() {
            set.clear();
            self.register(&mut set);
            let watching = earlier(self.watch.deadline(), self.checks.deadline());
            set.wait([self.deadline(), self.channel.deadline(), watching].into_iter().fold(None, earlier))
                .map_err(|error| error.to_string())?;
            self.turn(Instant::now())?;
        }
        self.directory.mark_done().map_err(|error| error.to_string())
    }

    fn fetch(&mut self) -> Result<(), String> {
        match Job::start(fetcher::job(&self.directory), Instant::now() + FETCHING) {
            Ok(job) => {
                self.state = State::Fetching { job, killed: false };
                Ok(())
            }
            Err(error) => self.conclude(&not_launched(format!("cannot start the fetcher: {error}"))),
        }
    }

    /// All is there that the command may need.
    fn begin(&mut self) -> Result<(), String> {
        match start(&self.spec) {
            Ok(process) => {
                self.state = State::Running(process);
                self.watch.begin(Instant::now());
                self.report(&Report::plain(TaskState::TaskRunning))
            }
            Err(error) => self.conclude(&not_launched(error.to_string())),
        }
    }

    fn fetched(&mut self, end: &JobEnd, killed: bool) -> Result<(), String> {
        self.state = State::Reporting;
        if killed {
            return self.conclude(&Report {
                reason: Some(Reason::TaskKilledDuringLaunch),
                message: Some("killed while files were fetched".to_string()),
                ..Report::plain(TaskState::TaskKilled)
            });
        }
        self.channel.send_fetched(end.is_success());
        if end.is_success() { self.begin() } else { self.conclude(&not_launched(fetcher::failure(end))) }
    }

    /// A slave that is gone for good reads the outcome from the directory.
    fn is_over(&self) -> bool {
        matches!(self.state, State::Reporting) && (self.channel.is_settled() || self.abandoned)
    }

    fn register(&self, set: &mut PollSet) {
        set.add(self.signals.fd(), crate::poll::Interest::Read);
        self.channel.register(set);
        self.checks.register(set);
        match &self.state {
            State::Fetching { job, .. } => job.register(set),
            State::Running(process) | State::Stopping(process, _, _) => process.register(set),
            State::Holding | State::Sweeping { .. } | State::Reporting => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Stopping(_, _, deadline) => Some(*deadline),
            State::Sweeping { next, .. } => Some(*next),
            State::Fetching { .. } | State::Running(_) | State::Holding | State::Reporting => None,
        }
    }

    fn turn(&mut self, now: Instant) -> Result<(), String> {
        for event in self.channel.turn(now) {
            match event {
                FromParent::Kill { grace } => self.kill(grace, now)?,
                FromParent::Gone => {
                    self.abandoned = true;
                    self.kill(GRACE, now)?;
                }
                FromParent::ResourcesChanged(_) => {} // nothing here limits a process to its resources
            }
        }
        while let Some(signal) = self.signals.next().map_err(|error| error.to_string())? {
            if signal != Signal::SIGCHLD {
                self.kill(GRACE, now)?;
            }
        }
        self.look(now)?;
        self.advance(now)?;
        self.stop_watching();
        Ok(())
    }

    /// The command runs, and nobody wants its end.
    pub(super) fn is_undisturbed(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// TERM now, KILL after the grace period. A later kill can only hasten that: its grace period counts from the first
    /// (`CommandExecutor::kill` in Mesos).
    pub(super) fn kill(&mut self, grace: Duration, now: Instant) -> Result<(), String> {
        let after = |began: Instant| began.checked_add(grace).unwrap_or(now + GRACE);
        if matches!(self.state, State::Running(_)) && tells_of_killing(&self.spec) && self.watch.tells_of_killing() {
            self.report(&Report::plain(TaskState::TaskKilling))?;
        }
        self.state = match std::mem::replace(&mut self.state, State::Reporting) {
            State::Fetching { mut job, .. } => {
                job.cancel();
                State::Fetching { job, killed: true }
            }
            State::Running(process) => {
                tree::signal(Signal::SIGTERM);
                State::Stopping(process, now, after(now))
            }
            State::Stopping(process, began, deadline) => State::Stopping(process, began, deadline.min(after(began))),
            State::Holding => return self.conclude(&let_go()),
            other @ (State::Sweeping { .. } | State::Reporting) => other,
        };
        Ok(())
    }

    fn advance(&mut self, now: Instant) -> Result<(), String> {
        if let State::Fetching { job, killed } = &mut self.state {
            let killed = *killed;
            return job.turn(now).map_or(Ok(()), |end| self.fetched(&end, killed));
        }
        if let State::Running(process) | State::Stopping(process, _, _) = &mut self.state {
            let task = process.pid();
            if let Some(exit) = process.try_wait() {
                let killed = matches!(self.state, State::Stopping(..));
                self.state = State::Sweeping { exit, killed, rounds: 0, next: now };
            } else {
                let others: Vec<_> = self.checks.pids().chain([task]).collect();
                tree::reap_orphans(&others);
            }
        }
        match &mut self.state {
            State::Stopping(_, _, deadline) if now >= *deadline => {
                tree::signal(Signal::SIGKILL);
                *deadline = now + AGAIN;
            }
            State::Sweeping { exit, killed, rounds, next } if now >= *next => {
                tree::reap_orphans(&[]);
                if tree::signal(Signal::SIGKILL) == 0 || *rounds == ROUNDS {
                    let report = ended(*exit, *killed);
                    self.state = State::Reporting;
                    return self.conclude(&report);
                }
                (*rounds, *next) = (*rounds + 1, now + AGAIN);
            }
            State::Fetching { .. }
            | State::Running(_)
            | State::Holding
            | State::Stopping(..)
            | State::Sweeping { .. }
            | State::Reporting => {}
        }
        Ok(())
    }

    pub(super) fn report(&mut self, report: &Report) -> Result<(), String> {
        let update = self.maker.make(report, None).map_err(|error| format!("no random bytes: {error}"))?;
        self.channel.send_update(update);
        Ok(())
    }

    /// The terminal status: written before it is sent.
    fn conclude(&mut self, report: &Report) -> Result<(), String> {
        let report = self.watch.explain(report.clone());
        let update = self.maker.make(&report, None).map_err(|error| format!("no random bytes: {error}"))?;
        self.directory.write_outcome(&update).map_err(|error| error.to_string())?;
        self.channel.send_update(update);
        Ok(())
    }
}

/// As Mesos' agent reports a container that could not be launched (`Slave::executorLaunched`).
fn not_launched(why: String) -> Report {
    Report { reason: Some(Reason::ContainerLaunchFailed), message: Some(why), ..Report::plain(TaskState::TaskFailed) }
}

/// A holder is not needed any more. What is run in the executor's place, the slave itself, has ended as it should.
fn let_go() -> Report {
    Report {
        message: Some("the executor's container was told to end".to_string()),
        exit: Some(Exit::Status(0)),
        ..Report::plain(TaskState::TaskKilled)
    }
}

/// As Mesos' command executor reports an end (`CommandExecutor::reaped`): the way of the end as the message, and no reason.
fn ended(exit: Exit, killed: bool) -> Report {
    let state = match exit {
        _ if killed => TaskState::TaskKilled,
        Exit::Status(0) => TaskState::TaskFinished,
        Exit::Status(_) | Exit::Signal(_) => TaskState::TaskFailed,
    };
    Report { message: Some(command_ended(exit)), exit: Some(exit), ..Report::plain(state) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_mesos_tells_it() {
        let told = |exit, killed| {
            let report = ended(exit, killed);
            assert_eq!(report.reason, None);
            (report.state, report.message.unwrap_or_default())
        };
        assert_eq!(told(Exit::Status(0), false), (TaskState::TaskFinished, "Command exited with status 0".into()));
        assert_eq!(told(Exit::Status(1), false), (TaskState::TaskFailed, "Command exited with status 1".into()));
        assert_eq!(
            told(Exit::Signal(9), false),
            (TaskState::TaskFailed, "Command terminated with signal Killed".into())
        );
        assert_eq!(
            told(Exit::Signal(15), true),
            (TaskState::TaskKilled, "Command terminated with signal Terminated".into())
        );
        assert_eq!(told(Exit::Status(0), true), (TaskState::TaskKilled, "Command exited with status 0".into()));
    }
}
