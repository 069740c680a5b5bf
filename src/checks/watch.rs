//! Decides when a task's checks are run and what follows from their results; no I/O and no clock.
//!
//! ```text
//!              delay                        interval
//!   begin ───────────────► run ──► result ───────────► run ──► …        until stop: the task ends, or is being ended
//! ```
//!
//! A check says only what changed. A health check says each failure, once the grace period is over or a check has passed, and each change to
//! healthy; after `consecutive_failures` of them the task is killed. A result that could not be had (no connection to the
//! guest) is none: nothing follows from it.

use std::time::{Duration, Instant};

use super::Which;
use crate::container::kill_policy::grace_of;
use crate::container::status::{Answer, Report, command_ended};
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{CheckInfo, HealthCheck, TaskInfo, TaskState};
use crate::poll::earlier;
use crate::subprocess::Exit;

/// A check that could not be performed is not tried again at once, whatever its interval.
const UNAVAILABLE: Duration = Duration::from_secs(1);

/// How many notes a task may cause: its checks' results are its own doing, and logs grow.
const NOTES: u32 = 100;
/// Longest part of a reason that is noted, in characters: it may be a guest's word.
const LONGEST_REASON: usize = 300;

/// What came of running a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was performed.
    Answered(Answer),
    /// It was performed and has no answer: its time was over, the server is not there or makes no sense.
    Failed(String),
    /// It could not be performed.
    Unavailable(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run a check.
    Run {
        /// Which.
        which: Which,
        /// When it has to be over.
        by: Option<Instant>,
    },
    /// Tell of the running task.
    Tell(Report),
    /// Tell the operator.
    Note(String),
    /// Kill the task.
    Kill {
        /// From TERM to KILL.
        grace: Duration,
    },
}

/// Why the task is killed, if it is the watch that wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Unhealthy,
    OutOfTime,
}

/// When one check is run.
#[derive(Debug, Clone)]
struct Schedule {
    delay: Duration,
    interval: Duration,
    timeout: Option<Duration>,
    /// None: it is running, or will never run.
    next: Option<Instant>,
    /// The last result was none, which has been noted.
    troubled: bool,
}

#[derive(Debug, Clone)]
struct Health {
    schedule: Schedule,
    grace: Duration,
    limit: u32,
    initializing: bool,
    failures: u32,
}

/// What is watched of one task. The default watches nothing.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    check: Option<Schedule>,
    health: Option<Health>,
    most: Option<Duration>,
    kill_grace: Duration,
    began: Option<Instant>,
    complete_by: Option<Instant>,
    answer: Option<Answer>,
    healthy: Option<bool>,
    cause: Option<Cause>,
    notes: u32,
}

/// Seconds of a message; what no duration can hold is as good as for ever.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

impl Schedule {
    fn new(delay: f64, interval: f64, timeout: f64) -> Schedule {
        let timeout = Some(duration(timeout)).filter(|timeout| !timeout.is_zero());
        Schedule { delay: duration(delay), interval: duration(interval), timeout, next: None, troubled: false }
    }

    fn of_check(check: &CheckInfo) -> Schedule {
        Schedule::new(check.delay_seconds(), check.interval_seconds(), check.timeout_seconds())
    }

    fn of_health(check: &HealthCheck) -> Schedule {
        Schedule::new(check.delay_seconds(), check.interval_seconds(), check.timeout_seconds())
    }

    fn due(&mut self, which: Which, now: Instant) -> Option<Action> {
        self.next.take_if(|at| now >= *at)?;
        Some(Action::Run { which, by: self.timeout.and_then(|timeout| now.checked_add(timeout)) })
    }

    fn ended(&mut self, outcome: &Outcome, now: Instant) {
        let least = if matches!(outcome, Outcome::Unavailable(_)) { UNAVAILABLE } else { Duration::ZERO };
        self.next = now.checked_add(self.interval.max(least));
    }

    /// Whether this trouble is a new one: what goes on for days is said once.
    fn is_news(&mut self, trouble: bool) -> bool {
        !std::mem::replace(&mut self.troubled, trouble) && trouble
    }
}

impl Watch {
    /// What a command task asks for.
    pub fn new(task: &TaskInfo) -> Watch {
        let most = task.max_completion_time.as_ref().map_or(0, |most| most.nanoseconds.max(0));
        Watch {
            check: task.check.as_ref().map(Schedule::of_check),
            health: task.health_check.as_ref().map(|check| Health {
                schedule: Schedule::of_health(check),
                grace: duration(check.grace_period_seconds()),
                limit: check.consecutive_failures(),
                initializing: true,
                failures: 0,
            }),
            most: (most > 0).then(|| Duration::from_nanos(most.unsigned_abs())),
            kill_grace: grace_of(None, task.kill_policy.as_ref()),
            ..Watch::default()
        }
    }

    /// The task has begun.
    pub fn begin(&mut self, now: Instant) {
        self.began = Some(now);
        self.complete_by = self.most.and_then(|most| now.checked_add(most));
        for schedule in self.schedules() {
            schedule.next = now.checked_add(schedule.delay);
        }
    }

    /// The task has ended, or is being ended: nothing more is run, and no result means anything.
    pub fn stop(&mut self) {
        self.began = None;
        self.complete_by = None;
        for schedule in self.schedules() {
            schedule.next = None;
        }
    }

    /// Whether the task is watched now.
    pub fn is_on(&self) -> bool {
        self.began.is_some()
    }

    /// When [`Watch::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let check = self.check.as_ref().and_then(|schedule| schedule.next);
        let health = self.health.as_ref().and_then(|health| health.schedule.next);
        [check, health, self.complete_by].into_iter().fold(None, earlier)
    }

    /// Runs what is due.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.complete_by.take_if(|by| now >= *by).is_some() {
            self.cause = Some(Cause::OutOfTime);
            let note = "the task's max_completion_time is over".to_string();
            // Mesos leaves it no time either (`CommandExecutor::taskCompletionTimeout`).
            return vec![Action::Note(note), Action::Kill { grace: Duration::ZERO }];
        }
        let check = self.check.as_mut().and_then(|schedule| schedule.due(Which::Check, now));
        let health = self.health.as_mut().and_then(|health| health.schedule.due(Which::Health, now));
        check.into_iter().chain(health).collect()
    }

    /// Takes a check's result.
    pub fn ended(&mut self, which: Which, outcome: Outcome, now: Instant) -> Vec<Action> {
        let Some(began) = self.began else {
            return Vec::new();
        };
        match which {
            Which::Check => self.check_ended(&outcome, now),
            Which::Health => self.health_ended(&outcome, now.saturating_duration_since(began), now),
        }
    }

    /// `Checker::processCheckResult` in Mesos.
    fn check_ended(&mut self, outcome: &Outcome, now: Instant) -> Vec<Action> {
        let Some(schedule) = &mut self.check else {
            return Vec::new();
        };
        schedule.ended(outcome, now);
        let (answer, trouble) = match outcome {
            Outcome::Answered(answer) => (Some(*answer), None),
            Outcome::Failed(why) => (None, Some(format!("the task's check failed: {why}"))),
            Outcome::Unavailable(why) => (self.answer, Some(format!("the task's check could not be performed: {why}"))),
        };
        let mut actions = note(schedule, trouble, &mut self.notes);
        if answer != self.answer {
            self.answer = answer;
            actions.push(self.tell(Reason::TaskCheckStatusUpdated));
        }
        actions
    }

    /// `HealthChecker::processCheckResult` in Mesos.
    fn health_ended(&mut self, outcome: &Outcome, age: Duration, now: Instant) -> Vec<Action> {
        let Some(health) = &mut self.health else {
            return Vec::new();
        };
        health.schedule.ended(outcome, now);
        let why = match outcome {
            Outcome::Answered(answer) => complaint(*answer),
            Outcome::Failed(why) => Some(why.clone()),
            Outcome::Unavailable(why) => {
                let trouble = format!("the task's health check could not be performed: {why}");
                return note(&mut health.schedule, Some(trouble), &mut self.notes);
            }
        };
        match why {
            None => self.passed(),
            Some(why) => self.failed(&why, age),
        }
    }

    fn passed(&mut self) -> Vec<Action> {
        let Some(health) = &mut self.health else {
            return Vec::new();
        };
        health.schedule.troubled = false;
        let is_news = health.initializing || health.failures > 0;
        (health.initializing, health.failures) = (false, 0);
        if !is_news {
            return Vec::new();
        }
        self.healthy = Some(true);
        vec![self.tell(Reason::TaskHealthCheckStatusUpdated)]
    }

    fn failed(&mut self, why: &str, age: Duration) -> Vec<Action> {
        let Some(health) = &mut self.health else {
            return Vec::new();
        };
        let mut actions =
            note(&mut health.schedule, Some(format!("the task's health check failed: {why}")), &mut self.notes);
        if health.initializing && !health.grace.is_zero() && age <= health.grace {
            return actions;
        }
        health.failures = health.failures.saturating_add(1);
        let (failures, too_many) = (health.failures, health.failures >= health.limit);
        self.healthy = Some(false);
        actions.push(self.tell(Reason::TaskHealthCheckStatusUpdated));
        if too_many {
            self.cause = Some(Cause::Unhealthy);
            actions
                .push(Action::Note(format!("the task is killed: its health check failed {failures} times in a row")));
            actions.push(Action::Kill { grace: self.kill_grace });
        }
        actions
    }

    /// A running task's status has all that is known of it, as Mesos' repeats what the one before had.
    fn tell(&self, reason: Reason) -> Action {
        Action::Tell(Report {
            reason: Some(reason),
            healthy: self.healthy,
            answer: self.answer,
            ..Report::plain(TaskState::TaskRunning)
        })
    }

    /// Whether a framework that can hear of it is told that the task is being killed: not when its time was over
    /// (`CommandExecutor::kill` in Mesos).
    pub fn tells_of_killing(&self) -> bool {
        self.cause != Some(Cause::OutOfTime)
    }

    /// The terminal status of a task that was killed, in Mesos' terms for why it was (`CommandExecutor::reaped`).
    pub fn explain(&self, report: Report) -> Report {
        if report.state != TaskState::TaskKilled {
            return report;
        }
        match self.cause {
            None => report,
            Some(Cause::Unhealthy) => Report { healthy: Some(false), ..report },
            Some(Cause::OutOfTime) => {
                Report { state: TaskState::TaskFailed, reason: Some(Reason::MaxCompletionTimeReached), ..report }
            }
        }
    }

    fn schedules(&mut self) -> impl Iterator<Item = &mut Schedule> {
        self.check.iter_mut().chain(self.health.iter_mut().map(|health| &mut health.schedule))
    }
}

/// A trouble is noted when it is a new one.
fn note(schedule: &mut Schedule, trouble: Option<String>, notes: &mut u32) -> Vec<Action> {
    let is_news = schedule.is_news(trouble.is_some());
    let Some(mut text) = trouble.filter(|_| is_news && *notes < NOTES) else {
        return Vec::new();
    };
    *notes += 1;
    if let Some((end, _)) = text.char_indices().nth(LONGEST_REASON) {
        text.truncate(end);
        text.push('…');
    }
    if *notes == NOTES {
        text.push_str(" (more of this is not noted)");
    }
    vec![Action::Note(text)]
}

/// Why an answer is not a healthy task's (`interpretCheckStatusInfo` in Mesos).
fn complaint(answer: Answer) -> Option<String> {
    match answer {
        Answer::Exit(0) | Answer::Http(200..=399) | Answer::Tcp(true) => None,
        Answer::Exit(status) => Some(command_ended(Exit::Status(status))),
        Answer::Http(status) => Some(format!("unexpected HTTP response code: {status}")),
        Answer::Tcp(false) => Some("TCP connection failed".to_string()),
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
