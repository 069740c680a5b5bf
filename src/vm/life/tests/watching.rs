//! Checks and the time to complete, in the life of a VM.

use super::*;
use crate::checks::{Outcome, Which};
use crate::container::status::Answer;
use crate::messages::mesos::{DurationInfo, HealthCheck, TaskInfo};

const INTERVAL: Duration = Duration::from_secs(10);

/// Two failures kill.
fn health() -> TaskInfo {
    let check = HealthCheck {
        delay_seconds: Some(0.0),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        ..Default::default()
    };
    TaskInfo { health_check: Some(check), ..Default::default() }
}

fn running(task: &TaskInfo) -> Story {
    Story::watching(Watch::new(task)).booted().runs()
}

impl Story {
    fn checks(&self) -> usize {
        self.all.iter().filter(|action| matches!(action, Action::Check { .. })).count()
    }

    fn fails_its_check(self) -> Story {
        let outcome = Outcome::Answered(Answer::Exit(1));
        self.wait(INTERVAL).event(Event::Checked { which: Which::Health, outcome })
    }
}

#[test]
fn a_guest_s_checks_begin_with_its_command_and_end_with_it() {
    let story = Story::watching(Watch::new(&health())).booted().wait(ms(500));
    assert_eq!(story.checks(), 0);
    let story = story.runs().wait(ms(0));
    assert_eq!(story.checks(), 1);
    let story = story.exits(Exit::Status(0));
    assert!(story.did(&Action::StopChecks));
    let late = Event::Checked { which: Which::Health, outcome: Outcome::Answered(Answer::Exit(1)) };
    let report = story.event(late).collected().end();
    assert_eq!((report.state, report.healthy), (TaskState::TaskFinished, None));
}

#[test]
fn an_unhealthy_task_is_killed_and_said_to_be_unhealthy() {
    let story = running(&health()).fails_its_check();
    assert!(!story.started(JobKind::Term));
    let story = story.fails_its_check();
    assert!(story.started(JobKind::Term) && story.did(&Action::StopChecks));
    let told: Vec<_> = story.reports()[2..].iter().map(|report| (report.state, report.healthy)).collect();
    let unhealthy = (TaskState::TaskRunning, Some(false));
    assert_eq!(told, [unhealthy, unhealthy, (TaskState::TaskKilling, None)]);
    let checks = story.checks();
    let report = story.wait(ms(3000)).exits(Exit::Signal(9)).collected();
    assert!(report.started(JobKind::Kill) && report.checks() == checks);
    let report = report.end();
    assert_report(&report, TaskState::TaskKilled, None, &["Killed"]);
    assert_eq!(report.healthy, Some(false));
}

#[test]
fn an_unhealthy_task_whose_guest_does_not_answer_is_killed_with_it() {
    let story = running(&health()).fails_its_check().fails_its_check();
    let report = story.breaks("the ssh connection was lost").end();
    assert_eq!((report.state, report.healthy), (TaskState::TaskKilled, Some(false)));
}

#[test]
fn a_check_that_could_not_be_performed_does_not_hurt_the_task() {
    let mut story = running(&health());
    for _ in 0..5 {
        let outcome = Outcome::Unavailable("no connection".into());
        story = story.wait(INTERVAL).event(Event::Checked { which: Which::Health, outcome });
    }
    assert_eq!((story.checks(), story.reports().len()), (5, 2));
    story.exits(Exit::Status(0)).collected().end();
}

#[test]
fn a_task_that_takes_too_long_is_killed_at_once_and_has_failed() {
    let most = Some(DurationInfo { nanoseconds: 60_000_000_000 });
    let story = running(&TaskInfo { max_completion_time: most, ..Default::default() }).wait(ms(59_000));
    assert!(!story.started(JobKind::Term));
    let story = story.wait(ms(2000));
    assert!(story.started(JobKind::Term) && story.started(JobKind::Kill));
    assert_eq!(story.reports().len(), 2, "nobody hears of TASK_KILLING");
    let report = story.exits(Exit::Signal(15)).collected().end();
    assert_report(&report, TaskState::TaskFailed, Some(Reason::MaxCompletionTimeReached), &["Terminated"]);
}

#[test]
fn a_kill_that_comes_before_the_time_is_over_is_a_kill() {
    let most = Some(DurationInfo { nanoseconds: 60_000_000_000 });
    let story = running(&TaskInfo { max_completion_time: most, ..Default::default() });
    let story = story.kill(ms(90_000)).wait(ms(80_000));
    assert!(!story.started(JobKind::Kill));
    assert_eq!(story.exits(Exit::Signal(15)).collected().end().state, TaskState::TaskKilled);
}
