//! A VM's life by scenario, with an invented clock and no VM.

mod files;
mod holding;
mod joining;

use super::deadlines::*;
use super::*;
use crate::messages::mesos::task_status::Reason;
use crate::subprocess::Exit;
use std::time::Duration;

mod story;
mod watching;

use story::{ADDRESS, BOOT, Story, assert_not_launched, assert_report, ms};

#[test]
fn a_command_that_succeeds_has_all_its_steps_and_states_in_order() {
    let story = Story::running();
    assert!(story.did(&Action::Follow));
    let story = story.exits(Exit::Status(0)).collected();
    let steps: Vec<String> = story
        .all
        .iter()
        .filter_map(|action| match action {
            Action::Step { step, .. } => Some(step.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(steps, ["overlay", "boot", "address", "ssh", "run", "collect"]);
    let states: Vec<TaskState> = story.reports().iter().map(|report| report.state).collect();
    assert_eq!(states, [TaskState::TaskStarting, TaskState::TaskRunning]);
    assert_report(&story.end(), TaskState::TaskFinished, None, &["Command exited with status 0"]);
}

#[test]
fn the_slave_hears_of_an_executors_address_before_the_executor_can_speak() {
    let mut story = Story::booting();
    story.life.settings.is_executor = true;
    let story = story.event(Event::BannerSeen);
    let starting = Action::Report(Report::plain(TaskState::TaskStarting));
    assert_eq!(story.last.iter().rev().take(2).collect::<Vec<_>>(), [&Action::Connect { launch: true }, &starting]);
    assert_eq!(story.life.address(), Some(ADDRESS));
    let command = Story::greeted();
    assert!(!command.last.contains(&starting), "a command task says it once");
}

#[test]
fn overlay_and_keys_are_made_at_the_same_time() {
    let story = Story::begin();
    for job in [JobKind::Overlay, JobKind::ClientKey, JobKind::HostKey] {
        assert!(story.started(job));
    }
}

#[test]
fn the_reserved_address_is_probed_while_the_lease_is_still_looked_for() {
    let story = Story::booting();
    assert!(story.started(JobKind::Lease) && story.did(&Action::Probe(ADDRESS)));
    let story = story.event(Event::BannerSeen);
    assert!(story.did(&Action::Cancel(JobKind::Lease)) && story.did(&Action::Connect { launch: true }));
}

#[test]
fn a_guest_that_got_another_address_than_the_reserved_one_is_found_there() {
    let other = Ipv4Addr::new(192, 168, 122, 77);
    let story = Story::booting().found(JobKind::Lease, Found::Address(other));
    assert_eq!(story.last.last(), Some(&Action::Probe(other)));
    assert_eq!(story.life.address(), Some(other));
}

#[test]
fn a_missing_image_fails_without_libvirt_having_been_asked() {
    let story = Story::begin().fails(
        JobKind::Overlay,
        Cause::Fatal,
        "guest image default not found: run scripts/build-guest-image",
    );
    assert!(!story.started(JobKind::Destroy) && story.did(&Action::RemoveFiles) && story.did(&Action::MarkDone));
    assert_not_launched(&story.settle(), &["step overlay", "build-guest-image"]);
}

#[test]
fn an_inactive_network_a_refused_domain_or_no_libvirtd_fail_with_the_workers_words() {
    for words in [
        "network mesos is not active: run virsh net-start mesos",
        "libvirt refused the domain: cannot set up guest memory; ask for less mem",
        "cannot connect to qemu:///system: is libvirtd running?",
    ] {
        let report = Story::begin().prepared().fails(JobKind::Start, Cause::Other, words).end();
        assert_not_launched(&report, &["step boot", words]);
    }
}

#[test]
fn a_stopped_libvirtd_is_given_up_on_and_qemu_killed_without_it() {
    let story = Story::begin().prepared();
    let deadline = story.all.iter().find_map(|action| match action {
        Action::Start { job: JobKind::Start, deadline } => Some(*deadline),
        _ => None,
    });
    assert!(deadline.is_some_and(|at| at <= story.now + LIBVIRT));
    let story = story.fails(JobKind::Start, Cause::Deadline, "no answer by its deadline");
    let story = story.fails(JobKind::Destroy, Cause::Deadline, "no answer by its deadline");
    assert!(story.did(&Action::KillQemu));
    assert!(!story.did(&Action::MarkDone), "the slave has to clean up after us");
    assert_not_launched(&story.settle(), &["step boot", "libvirt did not answer", "virsh -c qemu:///system list"]);
}

#[test]
fn no_lease_within_the_boot_timeout_says_so() {
    let report = Story::booting().wait(BOOT).end();
    assert_not_launched(
        &report,
        &["step address", "no DHCP lease", "52:54:00:00:00:01", "mesos", "60 s", "--vm_boot_timeout"],
    );
}

#[test]
fn an_sshd_that_never_answers_is_told_from_a_missing_lease() {
    let story = Story::booting().found(JobKind::Lease, Found::Address(ADDRESS)).wait(BOOT);
    assert_not_launched(&story.end(), &["step ssh", "192.168.122.9", "no ssh connection", "console.log"]);
}

#[test]
fn a_refused_key_is_tried_again_for_a_while_and_then_believed() {
    let mut story = Story::greeted();
    let began = story.now;
    while !story.started(JobKind::Destroy) {
        let refused =
            Failure { cause: Cause::KeyRefused, text: "the guest refused the key /k; check --vm_ssh_key".into() };
        story = story.event(Event::ConnectionEnded(refused)).wait(Duration::from_secs(1));
    }
    assert!(story.now - began < BOOT / 2, "it does not take the whole boot timeout");
    let tries = story.all.iter().filter(|action| matches!(action, Action::Connect { .. })).count();
    assert!((5..30).contains(&tries), "{tries}");
    assert_not_launched(&story.end(), &["step ssh", "refused the key", "--vm_ssh_key", "/images/default"]);
}

#[test]
fn a_wrong_host_key_is_not_tried_again() {
    let wrong = Failure { cause: Cause::Fatal, text: "the guest's host key is not the one".into() };
    assert_not_launched(&Story::greeted().event(Event::ConnectionEnded(wrong)).end(), &["host key"]);
}

#[test]
fn a_connection_that_fails_for_the_moment_is_tried_until_it_works() {
    let story =
        Story::greeted().breaks("the guest refuses ssh connections").wait(Duration::from_secs(2)).connected("boot-1");
    let story = story.event(Event::Launched(Ok(())));
    assert_eq!(story.reports().last().map(|report| report.state), Some(TaskState::TaskRunning));
}

#[test]
fn an_sshd_that_never_greets_is_told_with_how_the_last_look_failed() {
    let story = Story::booting().found(JobKind::Lease, Found::Address(ADDRESS));
    let story = story.event(Event::Unanswered("Connection refused".into())).wait(BOOT);
    assert_not_launched(&story.end(), &["step ssh", "last try: Connection refused", "--vm_boot_timeout"]);
}

#[test]
fn a_launcher_that_is_not_heard_of_is_given_up() {
    let story = Story::greeted().connected("boot-1").wait(LAUNCH - ms(1));
    assert!(!story.started(JobKind::Destroy));
    assert_not_launched(&story.wait(ms(1)).end(), &["step run", "no answer by its deadline"]);
}

#[test]
fn a_user_that_the_guest_lacks_is_named_with_the_image() {
    let story = Story::greeted().connected("boot-1");
    let report = story.not_launched(Cause::NoUser, "no such user").end();
    assert_not_launched(&report, &["'alice'", "/images/default"]);
}

#[test]
fn a_command_that_its_guest_had_too_little_memory_for_is_told_as_mesos_tells_of_a_limit() {
    let story = Story::running().found(JobKind::Wait, Found::OutOfMemory(Exit::Signal(9)));
    let report = story.collected().end();
    let words = ["Memory limit exceeded", "console.log", "Command terminated with signal Killed"];
    assert_report(&report, TaskState::TaskFailed, Some(Reason::ContainerLimitationMemory), &words);
}

#[test]
fn a_command_that_was_told_to_end_is_killed_whatever_its_guest_had_of_memory() {
    let story = Story::running().kill(ms(100)).found(JobKind::Wait, Found::OutOfMemory(Exit::Signal(9)));
    assert_report(&story.collected().end(), TaskState::TaskKilled, None, &["Command terminated with signal Killed"]);
}

#[test]
fn exit_statuses_and_signals_read_as_mesos_own_executor_writes_them() {
    for (exit, words) in [
        (Exit::Status(1), "Command exited with status 1"),
        (Exit::Status(127), "Command exited with status 127"),
        (Exit::Signal(9), "Command terminated with signal Killed"),
    ] {
        let report = Story::running().exits(exit).collected().end();
        assert_report(&report, TaskState::TaskFailed, None, &[words]);
    }
}

#[test]
fn a_vm_that_ends_while_the_command_runs_is_a_terminated_executor() {
    let gone = |panic: Option<&str>| Event::QemuGone { panic: panic.map(str::to_string) };
    let report = Story::running().event(gone(None)).end();
    assert_report(&report, TaskState::TaskFailed, Some(Reason::ExecutorTerminated), &["powered off", "console.log"]);
    let report = Story::running().event(gone(Some("Kernel panic - not syncing: sysrq"))).end();
    assert_report(
        &report,
        TaskState::TaskFailed,
        Some(Reason::ExecutorTerminated),
        &["Kernel panic - not syncing: sysrq"],
    );
    assert_not_launched(&Story::booting().event(gone(None)).end(), &["step boot"]);
}

#[test]
fn a_vm_whose_connection_breaks_before_qemus_end_is_seen_is_the_same() {
    let story = Story::running().breaks("closed").event(Event::QemuGone { panic: None });
    assert_report(&story.end(), TaskState::TaskFailed, Some(Reason::ExecutorTerminated), &["ended"]);
}

#[test]
fn a_lost_connection_is_not_a_lost_command() {
    let story = Story::running()
        .breaks("timeout")
        .wait(Duration::from_secs(1))
        .breaks("no answer")
        .wait(Duration::from_secs(30));
    let tries = story.all.iter().filter(|action| matches!(action, Action::Connect { .. })).count();
    assert!(tries >= 3, "{tries}");
    let story = story.connected("boot-1");
    assert_eq!(story.count(JobKind::Wait), 2);
    assert_report(&story.exits(Exit::Status(0)).collected().end(), TaskState::TaskFinished, None, &[]);
}

#[test]
fn a_guest_that_comes_back_with_another_boot_id_has_lost_the_command() {
    let story = Story::running().breaks("closed").wait(ms(10)).connected("boot-2");
    assert_report(&story.end(), TaskState::TaskFailed, Some(Reason::ExecutorTerminated), &["booted again"]);
}

#[test]
fn a_guest_that_never_comes_back_is_given_up_on() {
    let mut story = Story::running().breaks("timeout");
    let began = story.now;
    while !story.started(JobKind::Destroy) {
        story = story.wait(Duration::from_secs(5));
        if !story.started(JobKind::Destroy) {
            story = story.breaks("no answer");
        }
    }
    assert!(story.now - began <= RECONNECT + Duration::from_secs(10));
    assert_report(&story.end(), TaskState::TaskFailed, Some(Reason::ExecutorTerminated), &["two minutes", "no answer"]);
}

#[test]
fn a_broken_session_makes_a_new_connection() {
    let story = Story::running().fails(JobKind::Wait, Cause::Other, "broken pipe");
    assert!(story.did(&Action::Disconnect));
    let story = story.wait(ms(500));
    assert!(story.last.contains(&Action::Connect { launch: false }));
}

#[test]
fn a_supervisor_that_was_killed_in_the_guest_is_a_lost_command() {
    let report = Story::running().fails(JobKind::Wait, Cause::Supervisor, "the command's supervisor was killed").end();
    assert_report(&report, TaskState::TaskFailed, Some(Reason::ExecutorTerminated), &["supervisor"]);
}

#[test]
fn a_kill_before_the_domain_exists_leaves_nothing_to_destroy() {
    let story = Story::begin().kill(Duration::from_secs(5));
    assert!(!story.started(JobKind::Destroy) && story.did(&Action::RemoveFiles) && story.did(&Action::CancelAll));
    let report = story.settle();
    assert_report(&report, TaskState::TaskKilled, Some(Reason::TaskKilledDuringLaunch), &["killed while"]);
}

#[test]
fn a_kill_while_libvirt_starts_the_domain_waits_for_that_and_then_destroys() {
    let story = Story::begin().prepared().kill(Duration::from_secs(5));
    assert!(!story.started(JobKind::Destroy));
    let story = story.found(JobKind::Start, Found::Address(ADDRESS));
    assert!(!story.started(JobKind::Lease));
    assert_report(&story.end(), TaskState::TaskKilled, Some(Reason::TaskKilledDuringLaunch), &[]);
    let story = Story::begin().prepared().kill(Duration::from_secs(5)).wait(OVERTAKEN);
    assert!(story.did(&Action::Cancel(JobKind::Start)));
    assert_report(&story.end(), TaskState::TaskKilled, Some(Reason::TaskKilledDuringLaunch), &[]);
}

#[test]
fn a_kill_while_the_guest_boots_destroys_it_at_once() {
    for story in [Story::booting(), Story::greeted(), Story::greeted().connected("b"), Story::greeted().connected("b")]
    {
        let report = story.kill(Duration::from_secs(5)).end();
        assert_report(&report, TaskState::TaskKilled, Some(Reason::TaskKilledDuringLaunch), &[]);
    }
}

#[test]
fn a_killed_command_gets_term_and_its_files_come_back() {
    let story = Story::running().kill(Duration::from_secs(5));
    assert!(story.started(JobKind::Term) && !story.started(JobKind::Kill));
    let story = story.exits(Exit::Signal(15)).collected();
    assert_eq!(story.count(JobKind::Kill), 0);
    assert_report(&story.end(), TaskState::TaskKilled, None, &["Command terminated with signal Terminated"]);
}

#[test]
fn a_command_that_ignores_term_gets_kill_after_the_grace_period() {
    let story = Story::running().kill(Duration::from_secs(5)).wait(Duration::from_secs(4));
    assert!(!story.started(JobKind::Kill));
    let story = story.wait(Duration::from_secs(1));
    assert!(story.started(JobKind::Kill));
    let report = story.exits(Exit::Signal(9)).collected().end();
    assert_report(&report, TaskState::TaskKilled, None, &["signal Killed"]);
}

#[test]
fn a_guest_that_is_deaf_to_kill_is_destroyed_under_the_command() {
    let story = Story::running().kill(Duration::ZERO);
    assert!(story.started(JobKind::Kill), "no grace, no wait");
    assert_report(&story.wait(KILL).end(), TaskState::TaskKilled, None, &["with its virtual machine"]);
}

#[test]
fn a_second_kill_can_shorten_the_grace_period_and_not_lengthen_it() {
    let story =
        Story::running().kill(Duration::from_secs(60)).kill(Duration::from_secs(1)).kill(Duration::from_secs(60));
    assert!(story.wait(Duration::from_secs(1)).started(JobKind::Kill));
}

#[test]
fn a_second_kills_grace_period_counts_from_the_first_kill() {
    let killed = || Story::running().kill(Duration::from_secs(20)).wait(Duration::from_secs(3));
    let story = killed().kill(Duration::from_secs(5)).wait(ms(1900));
    assert!(!story.started(JobKind::Kill));
    assert!(story.wait(ms(200)).started(JobKind::Kill));
    assert!(killed().kill(Duration::from_secs(2)).started(JobKind::Kill), "its time is over already");
}

#[test]
fn a_framework_that_knows_of_killing_hears_of_it_once_and_only_of_a_command_that_runs() {
    let killing = Action::Report(Report::plain(TaskState::TaskKilling));
    let told = |story: Story| story.all.iter().filter(|action| **action == killing).count();
    assert_eq!(told(Story::running().kill(Duration::from_secs(5)).kill(Duration::from_secs(1))), 1);
    assert_eq!(told(Story::booting().kill(Duration::from_secs(5))), 0);
    let mut story = Story::running();
    story.life.settings.tells_of_killing = false;
    assert_eq!(told(story.kill(Duration::from_secs(5))), 0);
}

#[test]
fn a_kill_with_a_lost_connection_does_not_wait_for_it() {
    let report = Story::running().breaks("timeout").kill(Duration::from_secs(60)).end();
    assert_report(&report, TaskState::TaskKilled, None, &[]);
}

#[test]
fn a_kill_after_the_commands_end_does_not_change_how_it_ended() {
    let story = Story::running().exits(Exit::Status(0)).kill(Duration::from_secs(5)).wait(COLLECT_KILLED);
    assert_report(&story.end(), TaskState::TaskFinished, None, &[]);
}

#[test]
fn files_that_do_not_come_back_do_not_keep_the_vm() {
    let story = Story::running().exits(Exit::Status(0)).event(Event::OutputDone).wait(COLLECT);
    assert_report(&story.end(), TaskState::TaskFinished, None, &[]);
    let story = Story::running().exits(Exit::Status(0)).event(Event::OutputDone);
    let report = story.fails(JobKind::Collect, Cause::Other, "disk full").end();
    assert_report(&report, TaskState::TaskFinished, None, &[]);
}

#[test]
fn without_a_slave_the_command_is_ended_and_nobody_is_waited_for() {
    let story = Story::running().event(Event::ParentGone);
    assert!(story.started(JobKind::Term));
    let story = story.exits(Exit::Signal(15)).collected().ok(JobKind::Destroy);
    assert!(story.did(&Action::MarkDone));
    assert_eq!(story.last.last(), Some(&Action::Exit));
    let story = Story::booting().event(Event::ParentGone).ok(JobKind::Destroy);
    assert_eq!(story.last.last(), Some(&Action::Exit));
}

#[test]
fn an_update_that_nobody_acknowledges_is_waited_for_for_ten_seconds() {
    let story = Story::running().exits(Exit::Status(0)).collected().ok(JobKind::Destroy);
    assert!(!story.did(&Action::Exit));
    assert!(story.wait(REPORT).did(&Action::Exit));
}

#[test]
fn what_comes_too_late_changes_nothing() {
    let late = [
        Event::BannerSeen,
        Event::Connected { boot_id: "b".into() },
        Event::ConnectionEnded(Failure::deadline()),
        Event::OutputDone,
        Event::QemuGone { panic: None },
        Event::Kill { grace: Duration::ZERO },
        Event::Tick,
        Event::Ended { job: JobKind::Start, result: Ok(Found::Address(ADDRESS)) },
        Event::Launched(Err(Failure::deadline())),
        Event::Ended { job: JobKind::Wait, result: Ok(Found::CommandEnded(Exit::Status(0))) },
    ];
    let mut story = Story::booting().kill(Duration::ZERO);
    for event in late {
        story = story.event(event.clone());
        assert_eq!(story.last, [], "{event:?}");
    }
    story.end();
}
