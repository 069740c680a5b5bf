//! Runs checks, at most one of each kind at a time, and ends them when their time is over.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::Which;
use super::watch::Outcome;
use crate::container::status::Answer;
use crate::poll::{PollSet, earlier};
use crate::subprocess::{Job, JobEnd, Spawn};

/// A check ends at its own time, or with its task: this is for the job that has to have some deadline.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86400);
/// How long it may take to end what a check has started.
const ENDING: Duration = Duration::from_secs(10);

/// Where checks are run.
pub trait Place {
    /// The process that runs a check.
    ///
    /// # Errors
    /// What came of trying.
    fn spawn(&self, which: Which) -> Result<Spawn, Outcome>;

    /// What its end means.
    fn understand(&self, which: Which, end: &JobEnd) -> Outcome;

    /// Ends all that a check has started; its process, of this id and session, is killed next. What has to be done elsewhere is done by the
    /// process that is given.
    fn end(&self, which: Which, pid: Pid) -> Option<Spawn>;
}

/// The checks that run.
#[derive(Debug, Default)]
pub struct Runner {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    which: Which,
    job: Job,
    by: Option<Instant>,
    /// Its time is over: it, and what it started, is being ended.
    ending: Option<Ending>,
}

#[derive(Debug)]
struct Ending {
    job: Option<Job>,
    check_is_gone: bool,
}

impl Runner {
    /// Starts a check. One that cannot be started has come to its end.
    pub fn start(&mut self, which: Which, by: Option<Instant>, place: &impl Place, now: Instant) -> Option<Outcome> {
        let spawn = match place.spawn(which) {
            Ok(spawn) => spawn,
            Err(outcome) => return Some(outcome),
        };
        match Job::start(spawn, now + FOREVER) {
            Ok(job) => {
                self.running.push(Running { which, job, by, ending: None });
                None
            }
            Err(error) => Some(Outcome::Failed(format!("cannot start it: {error}"))),
        }
    }

    /// Waits for what the checks print, and for their ends.
    pub fn register(&self, set: &mut PollSet) {
        for running in &self.running {
            running.job.register(set);
            if let Some(job) = running.ending.as_ref().and_then(|ending| ending.job.as_ref()) {
                job.register(set);
            }
        }
    }

    /// When to [`Runner::turn`] though nothing has come.
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = |running: &Running| match &running.ending {
            None => running.by,
            Some(ending) => ending.job.as_ref().map(Job::deadline),
        };
        self.running.iter().map(deadline).fold(None, earlier)
    }

    /// The processes of the checks: nobody else may reap them.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.running.iter().map(|running| running.job.pid())
    }

    /// Ends what is overdue, and gives the results there are.
    pub fn turn(&mut self, place: &impl Place, now: Instant) -> Vec<(Which, Outcome)> {
        let mut ended = Vec::new();
        self.running.retain_mut(|running| match running.turn(place, now) {
            None => true,
            Some(outcome) => {
                ended.push((running.which, outcome));
                false
            }
        });
        ended
    }

    /// Ends all; no result is of interest any more.
    pub fn stop(&mut self, place: &impl Place) {
        for mut running in self.running.drain(..) {
            // What this would have to do elsewhere is done when the task's end is.
            let _ = place.end(running.which, running.job.pid());
            running.job.cancel();
        }
    }
}

impl Running {
    fn turn(&mut self, place: &impl Place, now: Instant) -> Option<Outcome> {
        let end = self.job.turn(now);
        let Some(ending) = &mut self.ending else {
            if let Some(end) = end {
                return Some(place.understand(self.which, &end));
            }
            if self.by.is_some_and(|by| now >= by) {
                self.begin_to_end(place, now);
            }
            return None;
        };
        ending.check_is_gone |= end.is_some();
        if ending.job.as_mut().is_some_and(|job| job.turn(now).is_some()) {
            ending.job = None;
        }
        let is_over = ending.job.is_none() && ending.check_is_gone;
        is_over.then(|| Outcome::Failed("it did not end in time".to_string()))
    }

    fn begin_to_end(&mut self, place: &impl Place, now: Instant) {
        let spawn = place.end(self.which, self.job.pid());
        self.job.cancel();
        let job = spawn.and_then(|spawn| Job::start(spawn, now + ENDING).ok());
        self.ending = Some(Ending { job, check_is_gone: false });
    }
}

/// What `check-port`, and curl as we call it, say at their end.
pub fn understand_port(end: &JobEnd) -> Outcome {
    let text = String::from_utf8_lossy(&end.stdout);
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if !end.is_success() {
        return Outcome::Unavailable(end.reason());
    }
    let status = value("status").and_then(|status| status.parse().ok()).map(Answer::Http);
    let succeeded = value("succeeded").map(|succeeded| Answer::Tcp(succeeded == "true"));
    match (status.or(succeeded), value("failed")) {
        (Some(answer), _) => Outcome::Answered(answer),
        (None, Some(why)) => Outcome::Failed(why.to_string()),
        (None, None) => Outcome::Unavailable(end.reason()),
    }
}
