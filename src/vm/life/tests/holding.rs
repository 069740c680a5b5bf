//! Lives of VMs that hold tasks.

use super::*;

fn begun() -> Story {
    Story::shaped(Shape::Holder, false, Watch::default())
}

fn prepared() -> Story {
    begun().ok(JobKind::Overlay).ok(JobKind::ClientKey).ok(JobKind::HostKey)
}

fn greeted() -> Story {
    prepared().found(JobKind::Start, Found::Address(ADDRESS)).event(Event::BannerSeen)
}

fn holding() -> Story {
    greeted().connected("boot-1")
}

#[test]
fn a_holder_runs_as_soon_as_its_guest_is_reached_and_starts_nothing_there() {
    let story = holding();
    assert!(story.did(&Action::Connect { launch: false }) && !story.did(&Action::Connect { launch: true }));
    let states: Vec<TaskState> = story.reports().iter().map(|report| report.state).collect();
    assert_eq!(states, [TaskState::TaskStarting, TaskState::TaskRunning]);
    assert_eq!(story.life.address(), Some(ADDRESS));
    for job in [JobKind::Launcher, JobKind::Launch, JobKind::Wait, JobKind::Fetch] {
        assert!(!story.started(job), "{job:?}");
    }
    assert!(!story.did(&Action::Follow));
    assert_eq!(story.life.deadline(), None, "it waits for nothing but what it is told");
}

#[test]
fn a_holder_that_is_told_to_end_is_destroyed_at_once_and_has_ended_in_order() {
    let story = holding().kill(Duration::from_secs(60));
    assert!(story.started(JobKind::Destroy) && !story.started(JobKind::Term) && !story.started(JobKind::Collect));
    assert!(story.did(&Action::KeepConsole));
    let report = story.end();
    assert_report(&report, TaskState::TaskKilled, None, &["told to end"]);
    assert_eq!(report.exit, Some(Exit::Status(0)));
}

#[test]
fn a_kill_before_the_guest_is_reached_ends_a_holder_as_any_other_vm() {
    let during = Some(Reason::TaskKilledDuringLaunch);
    let story = begun().kill(ms(0));
    assert!(!story.started(JobKind::Destroy) && story.did(&Action::RemoveFiles));
    assert_report(&story.settle(), TaskState::TaskKilled, during, &[]);
    let story = prepared().kill(ms(0));
    assert!(!story.started(JobKind::Destroy));
    let story = story.found(JobKind::Start, Found::Address(ADDRESS));
    assert_report(&story.end(), TaskState::TaskKilled, during, &[]);
    for story in [prepared().found(JobKind::Start, Found::Address(ADDRESS)), greeted()] {
        assert_report(&story.kill(ms(0)).end(), TaskState::TaskKilled, during, &[]);
    }
}

#[test]
fn a_holder_without_a_slave_leaves_its_tasks_the_time_to_end() {
    let story = holding().event(Event::ParentGone).wait(ORPHANS - ms(100));
    assert!(!story.started(JobKind::Destroy));
    let story = story.wait(ms(200)).ok(JobKind::Destroy);
    assert!(story.did(&Action::MarkDone));
    assert_eq!(story.last.last(), Some(&Action::Exit), "nobody is waited for");
    let told = holding().event(Event::ParentGone).kill(ms(0));
    assert!(told.started(JobKind::Destroy), "a new slave knows that nothing is in it");
    let booting = greeted().event(Event::ParentGone);
    assert!(booting.started(JobKind::Destroy), "nothing has joined it yet");
}

#[test]
fn a_holder_whose_connection_is_lost_gets_another_and_its_tasks_do_not_notice() {
    let story = holding().breaks("timeout").wait(Duration::from_secs(30)).breaks("no answer").wait(ms(1000));
    let story = story.connected("boot-1");
    assert!(story.did(&Action::Note("connected again".into())));
    assert!(!story.started(JobKind::Wait) && !story.started(JobKind::Destroy));
    assert_eq!((story.reports().len(), story.life.deadline()), (2, None));
    assert_report(&story.kill(ms(0)).end(), TaskState::TaskKilled, None, &[]);
}

#[test]
fn a_holder_that_is_lost_for_good_says_how() {
    let lost = Some(Reason::ExecutorTerminated);
    let never = holding().breaks("timeout").wait(RECONNECT + ms(100));
    assert_report(&never.end(), TaskState::TaskFailed, lost, &["two minutes", "timeout"]);
    let other = holding().breaks("closed").wait(ms(10)).connected("boot-2");
    assert_report(&other.end(), TaskState::TaskFailed, lost, &["booted again", "all that joined it"]);
    let gone = holding().event(Event::QemuGone { panic: None });
    assert_report(&gone.end(), TaskState::TaskFailed, lost, &["virtual machine ended", "console.log"]);
    let killed = holding().breaks("timeout").kill(ms(0));
    assert_report(&killed.end(), TaskState::TaskKilled, None, &[]);
}

#[test]
fn a_holder_that_does_not_come_up_is_not_launched() {
    let refused = Failure { cause: Cause::Fatal, text: "the guest's host key is not the one".into() };
    assert_not_launched(&greeted().event(Event::ConnectionEnded(refused)).end(), &["step ssh", "host key"]);
    let slow = prepared().found(JobKind::Start, Found::Address(ADDRESS)).wait(BOOT);
    assert_not_launched(&slow.end(), &["virtual machine not started, step address"]);
}
