//! Lives of commands that name files to be fetched.

use super::*;

fn fetching() -> Story {
    Story::with(true)
}

/// The connection is there.
fn connected(story: Story) -> Story {
    let story = story.prepared().found(JobKind::Start, Found::Address(ADDRESS)).event(Event::BannerSeen);
    assert!(story.did(&Action::Connect { launch: false }), "the files come before the command");
    story.connected("boot-1")
}

fn launched(story: Story) -> Story {
    story.ok(JobKind::Bring).ok(JobKind::Launch)
}

/// The reason and the message of the terminal status.
fn told(story: &Story) -> (TaskState, Option<Reason>, String) {
    let report = story.all.iter().find_map(|action| match action {
        Action::WriteOutcome(report) => Some(report.clone()),
        _ => None,
    });
    let report = report.expect("an outcome");
    (report.state, report.reason, report.message.unwrap_or_default())
}

#[test]
fn files_are_fetched_beside_the_boot_and_are_in_the_guest_before_the_command() {
    let story = fetching();
    assert!(story.started(JobKind::Fetch) && story.started(JobKind::Overlay));
    let story = connected(story.ok(JobKind::Fetch));
    assert!(story.started(JobKind::Bring) && !story.started(JobKind::Launch));
    let story = launched(story);
    assert!(story.did(&Action::Report(Report::plain(TaskState::TaskRunning))));
    assert!(story.started(JobKind::Wait) && story.last.contains(&Action::Follow));
}

#[test]
fn a_guest_that_is_there_first_waits_for_the_files_as_long_as_they_take() {
    let story = connected(fetching()).wait(BOOT * 100);
    assert!(!story.started(JobKind::Bring));
    let story = launched(story.ok(JobKind::Fetch));
    assert!(story.did(&Action::Report(Report::plain(TaskState::TaskRunning))));
}

#[test]
fn a_failed_fetch_ends_the_vm_wherever_it_is() {
    let text = "Failed to launch container: Failed to fetch 'http://h/a': Whatever";
    let fails = |story: Story| story.fails(JobKind::Fetch, Cause::Other, text);
    let booting = || fetching().prepared().found(JobKind::Start, Found::Address(ADDRESS));
    let in_preparation = fails(fetching());
    assert!(in_preparation.did(&Action::RemoveFiles) && !in_preparation.started(JobKind::Destroy));
    let started = fails(fetching().prepared());
    assert!(!started.started(JobKind::Destroy), "a start that goes on could be overtaken");
    let started = started.found(JobKind::Start, Found::Address(ADDRESS));
    for story in [started, fails(booting()), fails(booting().event(Event::BannerSeen)), fails(connected(fetching()))] {
        assert!(story.started(JobKind::Destroy));
        assert_eq!(told(&story), (TaskState::TaskFailed, Some(Reason::ContainerLaunchFailed), text.to_string()));
    }
}

#[test]
fn files_that_do_not_get_into_the_guest_are_a_failed_launch() {
    let story = connected(fetching().ok(JobKind::Fetch)).fails(JobKind::Bring, Cause::Other, "no space");
    let words = "virtual machine not started, step files: no space; is there room for them in the guest?";
    assert_eq!(told(&story), (TaskState::TaskFailed, Some(Reason::ContainerLaunchFailed), words.to_string()));
    let absent =
        connected(fetching().ok(JobKind::Fetch)).fails(JobKind::Bring, Cause::Fatal, "Failed to fetch 'x': none");
    let words = "Failed to launch container: Failed to fetch 'x': none";
    assert_eq!(told(&absent), (TaskState::TaskFailed, Some(Reason::ContainerLaunchFailed), words.to_string()));
    let broken = connected(fetching().ok(JobKind::Fetch)).breaks("lost");
    assert!(broken.started(JobKind::Destroy) && told(&broken).2.contains("lost"));
    let gone = connected(fetching()).event(Event::QemuGone { panic: None });
    assert!(gone.started(JobKind::Destroy) && told(&gone).2.contains("ended"));
}

#[test]
fn a_kill_while_files_come_ends_the_vm() {
    for story in [connected(fetching()), connected(fetching().ok(JobKind::Fetch))] {
        let story = story.kill(Duration::from_secs(5));
        assert!(story.did(&Action::CancelAll) && story.started(JobKind::Destroy));
        let (state, reason, message) = told(&story);
        assert_eq!((state, reason), (TaskState::TaskKilled, Some(Reason::TaskKilledDuringLaunch)));
        assert_eq!(message, "killed while the virtual machine was given its files");
    }
}

#[test]
fn a_command_without_files_starts_as_it_always_did() {
    let story = Story::greeted();
    assert!(story.did(&Action::Connect { launch: true }));
    assert!(!story.started(JobKind::Fetch) && !story.started(JobKind::Bring));
}
