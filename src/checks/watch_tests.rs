//! Checks by scenario, with an invented clock.

use super::*;
use crate::messages::mesos::{DurationInfo, KillPolicy};

struct Story {
    watch: Watch,
    began: Instant,
    now: Instant,
    actions: Vec<Action>,
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A check after 1 s, each 2 s, that may take 5 s.
fn check() -> CheckInfo {
    CheckInfo {
        delay_seconds: Some(1.0),
        interval_seconds: Some(2.0),
        timeout_seconds: Some(5.0),
        ..Default::default()
    }
}

/// The same as a health check, with no grace period; two failures are too many.
fn health() -> HealthCheck {
    HealthCheck {
        delay_seconds: Some(1.0),
        interval_seconds: Some(2.0),
        timeout_seconds: Some(5.0),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        ..Default::default()
    }
}

impl Story {
    fn of(task: TaskInfo) -> Story {
        let now = Instant::now();
        let mut watch = Watch::new(&task);
        assert_eq!(watch.deadline(), None, "nothing is due before the task has begun");
        watch.begin(now);
        Story { watch, began: now, now, actions: Vec::new() }
    }

    fn with_check() -> Story {
        Story::of(TaskInfo { check: Some(check()), ..Default::default() })
    }

    fn with_health(health: HealthCheck) -> Story {
        Story::of(TaskInfo { health_check: Some(health), ..Default::default() })
    }

    /// To the next deadline.
    fn tick(&mut self) -> Vec<Action> {
        let at = self.watch.deadline().expect("something is due");
        self.now = self.now.max(at);
        let actions = self.watch.tick(self.now);
        assert_ne!(self.watch.deadline(), Some(at), "a tick that changes nothing would spin");
        actions
    }

    fn age(&self) -> Duration {
        self.now - self.began
    }

    /// The next run of the one check, and its result; what follows without what is noted.
    fn result(&mut self, which: Which, outcome: Outcome) -> Vec<Action> {
        let run = self.tick();
        assert!(matches!(run[..], [Action::Run { which: due, .. }] if due == which), "{run:?}");
        let actions = self.watch.ended(which, outcome, self.now);
        self.actions.extend(actions.clone());
        actions.into_iter().filter(|action| !matches!(action, Action::Note(_))).collect()
    }

    fn checked(&mut self, outcome: Outcome) -> Vec<Action> {
        self.result(Which::Check, outcome)
    }

    fn health(&mut self, passes: bool) -> Vec<Action> {
        self.result(Which::Health, Outcome::Answered(Answer::Exit(i32::from(!passes))))
    }

    fn notes(&self) -> usize {
        self.actions.iter().filter(|action| matches!(action, Action::Note(_))).count()
    }
}

fn exit(status: i32) -> Outcome {
    Outcome::Answered(Answer::Exit(status))
}

fn failed() -> Outcome {
    Outcome::Failed("it did not end in time".into())
}

fn told(reason: Reason, healthy: Option<bool>, answer: Option<Answer>) -> Action {
    Action::Tell(Report { reason: Some(reason), healthy, answer, ..Report::plain(TaskState::TaskRunning) })
}

fn told_check(answer: Option<Answer>) -> Action {
    told(Reason::TaskCheckStatusUpdated, None, answer)
}

fn told_health(healthy: bool) -> Action {
    told(Reason::TaskHealthCheckStatusUpdated, Some(healthy), None)
}

#[test]
fn a_check_runs_after_its_delay_and_then_an_interval_after_each_result() {
    let mut story = Story::with_check();
    let run = story.tick();
    assert_eq!(story.age(), secs(1.0));
    assert_eq!(run, [Action::Run { which: Which::Check, by: Some(story.now + secs(5.0)) }]);
    assert_eq!(story.watch.deadline(), None, "it is not run a second time while it runs");
    story.now += secs(3.0);
    story.watch.ended(Which::Check, exit(0), story.now);
    story.tick();
    assert_eq!(story.age(), secs(6.0), "the interval counts from the end");
}

#[test]
fn without_a_timeout_a_check_may_take_for_ever() {
    let check = CheckInfo { timeout_seconds: Some(0.0), ..check() };
    let mut story = Story::of(TaskInfo { check: Some(check), ..Default::default() });
    assert_eq!(story.tick(), [Action::Run { which: Which::Check, by: None }]);
}

#[test]
fn the_defaults_are_mesos() {
    let mut story = Story::of(TaskInfo {
        check: Some(CheckInfo::default()),
        health_check: Some(HealthCheck::default()),
        ..Default::default()
    });
    let by = Some(story.now + secs(35.0));
    assert_eq!(story.tick(), Which::ALL.map(|which| Action::Run { which, by }));
    assert_eq!(story.age(), secs(15.0));
    story.watch.ended(Which::Health, exit(0), story.now);
    assert_eq!(story.watch.deadline(), Some(story.now + secs(10.0)));
}

#[test]
fn a_check_tells_what_changed_and_nothing_else() {
    let mut story = Story::with_check();
    assert_eq!(story.checked(exit(1)), [told_check(Some(Answer::Exit(1)))]);
    assert_eq!(story.checked(exit(1)), []);
    assert_eq!(story.checked(exit(0)), [told_check(Some(Answer::Exit(0)))]);
    assert_eq!(story.checked(exit(0)), []);
    // A check that has no answer has an empty status.
    assert_eq!(story.checked(failed()), [told_check(None)]);
    assert_eq!(story.checked(failed()), []);
    assert_eq!(story.checked(exit(0)), [told_check(Some(Answer::Exit(0)))]);
}

#[test]
fn a_check_that_fails_at_once_has_told_its_empty_status_already() {
    assert_eq!(Story::with_check().checked(failed()), []);
}

#[test]
fn a_check_that_could_not_be_performed_changes_nothing() {
    let mut story = Story::with_check();
    story.checked(exit(0));
    assert_eq!(story.checked(Outcome::Unavailable("no connection".into())), []);
    assert_eq!(story.checked(exit(0)), []);
    let mut story = Story::with_health(health());
    story.health(false);
    assert_eq!(story.result(Which::Health, Outcome::Unavailable("no connection".into())), []);
    assert_eq!(story.health(false).len(), 2, "the second failure in a row kills");
}

#[test]
fn a_check_without_interval_that_cannot_be_performed_does_not_spin() {
    let check = CheckInfo { interval_seconds: Some(0.0), ..check() };
    let mut story = Story::of(TaskInfo { check: Some(check), ..Default::default() });
    story.checked(Outcome::Unavailable("no connection".into()));
    assert_eq!(story.watch.deadline(), Some(story.now + UNAVAILABLE));
    story.checked(exit(0));
    assert_eq!(story.watch.deadline(), Some(story.now));
}

#[test]
fn a_health_check_tells_of_its_first_success_and_of_each_change_to_healthy() {
    let mut story = Story::with_health(health());
    assert_eq!(story.health(true), [told_health(true)]);
    assert_eq!(story.health(true), []);
    assert_eq!(story.health(false), [told_health(false)]);
    assert_eq!(story.health(true), [told_health(true)]);
    assert_eq!(story.health(true), []);
}

#[test]
fn a_task_that_fails_its_health_check_too_often_is_killed_with_its_own_grace() {
    let policy = KillPolicy { grace_period: Some(DurationInfo { nanoseconds: 7_000_000_000 }) };
    let mut story =
        Story::of(TaskInfo { health_check: Some(health()), kill_policy: Some(policy), ..Default::default() });
    assert_eq!(story.health(false), [told_health(false)]);
    story.health(true);
    assert_eq!(story.health(false), [told_health(false)], "failures are counted in a row");
    assert_eq!(story.health(false), [told_health(false), Action::Kill { grace: secs(7.0) }]);
    assert!(story.watch.tells_of_killing());
    let killed = story.watch.explain(Report::plain(TaskState::TaskKilled));
    assert_eq!(killed, Report { healthy: Some(false), ..Report::plain(TaskState::TaskKilled) });
    let lost = Report::plain(TaskState::TaskFailed);
    assert_eq!(story.watch.explain(lost.clone()), lost, "that is another end");
}

#[test]
fn a_task_without_a_kill_policy_has_three_seconds() {
    let mut story = Story::with_health(HealthCheck { consecutive_failures: Some(0), ..health() });
    assert_eq!(story.health(false), [told_health(false), Action::Kill { grace: secs(3.0) }]);
}

#[test]
fn failures_within_the_grace_period_are_none_until_a_check_has_passed() {
    let mut story = Story::with_health(HealthCheck { grace_period_seconds: Some(5.0), ..health() });
    for age in [1.0, 3.0, 5.0] {
        assert_eq!(story.health(false), []);
        assert_eq!(story.age(), secs(age));
    }
    assert_eq!(story.health(false), [told_health(false)]);
    let mut story = Story::with_health(HealthCheck { grace_period_seconds: Some(60.0), ..health() });
    story.health(true);
    assert_eq!(story.health(false), [told_health(false)]);
}

#[test]
fn what_is_healthy_is_what_mesos_calls_so() {
    let healthy = [Answer::Exit(0), Answer::Http(200), Answer::Http(204), Answer::Http(399), Answer::Tcp(true)];
    assert!(healthy.into_iter().all(|answer| complaint(answer).is_none()));
    let not =
        [Answer::Exit(1), Answer::Exit(137), Answer::Http(199), Answer::Http(400), Answer::Http(0), Answer::Tcp(false)];
    assert!(not.into_iter().all(|answer| complaint(answer).is_some()));
}

#[test]
fn a_status_has_what_both_checks_have_said() {
    let mut story = Story::of(TaskInfo {
        check: Some(CheckInfo { delay_seconds: Some(2.0), ..check() }),
        health_check: Some(health()),
        ..Default::default()
    });
    story.health(true);
    let both = |reason, healthy| told(reason, Some(healthy), Some(Answer::Exit(3)));
    assert_eq!(story.checked(exit(3)), [both(Reason::TaskCheckStatusUpdated, true)]);
    assert_eq!(story.health(false), [both(Reason::TaskHealthCheckStatusUpdated, false)]);
}

#[test]
fn what_goes_on_failing_is_noted_once() {
    let mut story = Story::with_check();
    for _ in 0..5 {
        story.checked(failed());
    }
    assert_eq!(story.notes(), 1);
    story.checked(exit(0));
    story.checked(failed());
    assert_eq!(story.notes(), 2);
}

#[test]
fn what_a_check_has_noted_of_it_has_an_end() {
    let mut story = Story::with_check();
    for _ in 0..2 * NOTES {
        story.checked(Outcome::Failed("ä".repeat(10_000)));
        story.checked(exit(0));
    }
    assert_eq!(story.notes(), NOTES as usize);
    let longest = story.actions.iter().map(|action| if let Action::Note(text) = action { text.len() } else { 0 }).max();
    assert!(longest < Some(1000));
}

#[test]
fn nothing_is_run_and_no_result_counts_once_the_task_is_being_ended() {
    let mut story = Story::with_health(HealthCheck { consecutive_failures: Some(1), ..health() });
    story.tick();
    story.watch.stop();
    assert!(!story.watch.is_on());
    assert_eq!(story.watch.ended(Which::Health, exit(1), story.now), []);
    assert_eq!(story.watch.deadline(), None);
    let killed = Report::plain(TaskState::TaskKilled);
    assert_eq!(story.watch.explain(killed.clone()), killed, "somebody else wanted the end");
}

#[test]
fn a_task_that_takes_too_long_is_killed_without_grace_or_a_word_before_it() {
    let most = Some(DurationInfo { nanoseconds: 90_000_000_000 });
    let mut story = Story::of(TaskInfo { max_completion_time: most, ..Default::default() });
    let actions = story.tick();
    assert_eq!(story.age(), secs(90.0));
    assert_eq!(actions.last(), Some(&Action::Kill { grace: Duration::ZERO }));
    assert!(!story.watch.tells_of_killing());
    let ended = Report { message: Some("Command exited with status 0".into()), ..Report::plain(TaskState::TaskKilled) };
    let told = story.watch.explain(ended.clone());
    let reason = Some(Reason::MaxCompletionTimeReached);
    assert_eq!(told, Report { state: TaskState::TaskFailed, reason, ..ended });
}

#[test]
fn times_that_no_clock_can_hold_are_never() {
    let check = CheckInfo { interval_seconds: Some(f64::INFINITY), timeout_seconds: Some(1e300), ..check() };
    let most = Some(DurationInfo { nanoseconds: i64::MAX });
    let mut story = Story::of(TaskInfo { check: Some(check), max_completion_time: most, ..Default::default() });
    assert_eq!(story.tick(), [Action::Run { which: Which::Check, by: None }]);
    story.watch.ended(Which::Check, exit(0), story.now);
    assert!(story.watch.deadline() > Some(story.now + Duration::from_secs(86400 * 365 * 100)));
}
