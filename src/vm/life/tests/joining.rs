//! Lives of commands in the VM of another container.

use super::*;
use crate::checks::{Outcome, Which};
use crate::messages::mesos::{HealthCheck, TaskInfo};

const GRACE: Duration = Duration::from_secs(3);

fn begun() -> Story {
    Story::shaped(Shape::Joined(ADDRESS), false, Watch::default())
}

fn prepared() -> Story {
    begun().ok(JobKind::Launcher)
}

fn launching() -> Story {
    prepared().event(Event::BannerSeen).connected("boot-1")
}

fn running() -> Story {
    launching().event(Event::Launched(Ok(())))
}

fn bringing() -> Story {
    let story = Story::shaped(Shape::Joined(ADDRESS), true, Watch::default()).ok(JobKind::Launcher);
    story.event(Event::BannerSeen).connected("boot-1")
}

fn gone() -> Event {
    Event::QemuGone { panic: None }
}

impl Story {
    /// Nothing of the command is in the guest, and the VM is as it was.
    fn leaves_nothing(self) -> Report {
        assert!(self.did(&Action::MarkDone));
        self.leaves()
    }

    /// The command may be in the guest still: only the VM's end ends it.
    fn leaves_the_command(self) -> Report {
        assert!(!self.did(&Action::MarkDone), "the slave has to end the executor");
        self.leaves()
    }

    fn leaves(self) -> Report {
        for job in [JobKind::Overlay, JobKind::ClientKey, JobKind::Start, JobKind::Lease, JobKind::Destroy] {
            assert!(!self.started(job), "{job:?}");
        }
        assert!(!self.did(&Action::KeepConsole) && !self.did(&Action::KillQemu));
        assert!(self.did(&Action::CancelAll) && self.did(&Action::Disconnect) && self.did(&Action::RemoveFiles));
        self.settle()
    }
}

#[test]
fn a_command_in_a_vm_that_is_there_is_only_connected_to_run_and_collected() {
    let story = prepared();
    assert_eq!(story.last, [Action::Probe(ADDRESS)]);
    let story = story.event(Event::BannerSeen);
    assert!(story.did(&Action::Connect { launch: true }));
    let story = story.connected("boot-1").event(Event::Launched(Ok(()))).exits(Exit::Status(0)).collected();
    let steps: Vec<String> = story
        .all
        .iter()
        .filter_map(|action| match action {
            Action::Step { step, .. } => Some(step.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(steps, ["ssh", "run", "collect"]);
    let states: Vec<TaskState> = story.reports().iter().map(|report| report.state).collect();
    assert_eq!(states, [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFinished]);
    assert_report(&story.leaves_nothing(), TaskState::TaskFinished, None, &["Command exited with status 0"]);
}

#[test]
fn its_guests_address_is_in_every_word_of_it() {
    assert_eq!(begun().life.address(), Some(ADDRESS));
}

#[test]
fn files_are_fetched_and_brought_before_it_runs() {
    let story = bringing();
    assert!(story.started(JobKind::Fetch) && story.did(&Action::Connect { launch: false }));
    let story = story.ok(JobKind::Fetch).ok(JobKind::Bring).ok(JobKind::Launch);
    assert_eq!(story.reports().last().map(|report| report.state), Some(TaskState::TaskRunning));
    assert_report(&story.exits(Exit::Status(0)).collected().leaves_nothing(), TaskState::TaskFinished, None, &[]);
    for fails in [
        bringing().fails(JobKind::Fetch, Cause::Other, "404"),
        begun().fails(JobKind::Launcher, Cause::Fatal, "a NUL byte"),
        bringing().ok(JobKind::Fetch).fails(JobKind::Bring, Cause::Other, "no room"),
        bringing().ok(JobKind::Fetch).breaks("lost"),
    ] {
        assert_not_launched(&fails.leaves_nothing(), &[]);
    }
}

#[test]
fn a_guest_that_refuses_or_does_not_answer_is_told_of_the_task_and_left_alone() {
    let key = Failure { cause: Cause::Fatal, text: "the guest's host key is not the one".into() };
    let refused = prepared().event(Event::BannerSeen).event(Event::ConnectionEnded(key));
    assert_not_launched(&refused.leaves_nothing(), &["not started in its executor's virtual machine", "host key"]);
    let deaf = prepared().event(Event::Unanswered("Connection refused".into())).wait(BOOT);
    let words = ["step ssh", "Connection refused", "console.log in the executor's sandbox", "--vm_boot_timeout"];
    assert_not_launched(&deaf.leaves_nothing(), &words);
    let busy = prepared().event(Event::BannerSeen).breaks("closed by remote host").wait(ms(1000));
    assert_eq!(busy.last, [Action::Connect { launch: true }], "sshd takes only so many at a time");
}

#[test]
fn a_user_that_the_guest_lacks_ends_the_task_alone() {
    let report = launching().not_launched(Cause::NoUser, "no such user").leaves_nothing();
    assert_not_launched(&report, &["'alice'", "/images/default"]);
}

#[test]
fn a_kill_before_the_launcher_is_on_its_way_ends_it_at_once() {
    let refused = prepared().event(Event::BannerSeen).breaks("closed by remote host");
    for story in [begun(), prepared(), refused, bringing(), bringing().ok(JobKind::Fetch)] {
        let report = story.kill(GRACE).leaves_nothing();
        assert_report(&report, TaskState::TaskKilled, Some(Reason::TaskKilledDuringLaunch), &[]);
    }
}

#[test]
fn a_kill_while_the_connection_that_begins_it_is_made_waits_for_what_comes_of_that() {
    let killed = || prepared().event(Event::BannerSeen).kill(GRACE);
    assert_eq!(killed().last, [], "the guest may have it already");
    let story = killed().wait(ms(1000)).connected("boot-1").event(Event::Launched(Ok(())));
    assert!(story.started(JobKind::Term) && !story.started(JobKind::Kill));
    let story = story.wait(ms(2000));
    assert!(story.started(JobKind::Kill), "its grace counts from the kill");
    let report = story.exits(Exit::Signal(9)).collected().leaves_nothing();
    assert_report(&report, TaskState::TaskKilled, None, &["Killed"]);
    let during = Some(Reason::TaskKilledDuringLaunch);
    let none = killed().breaks("refused").leaves_nothing();
    assert_report(&none, TaskState::TaskKilled, during, &[]);
    assert_report(&killed().wait(GRACE + KILL).leaves_the_command(), TaskState::TaskKilled, during, &[]);
    assert_report(&killed().kill(ms(0)).wait(KILL).leaves_the_command(), TaskState::TaskKilled, during, &[]);
    let silent = killed().connected("boot-1").wait(GRACE + KILL);
    assert_report(&silent.leaves_the_command(), TaskState::TaskKilled, None, &[]);
    let deaf = prepared().event(Event::BannerSeen).wait(BOOT);
    assert_not_launched(&deaf.leaves_the_command(), &["step ssh", "no ssh connection"]);
    assert_report(&killed().event(gone()).leaves_nothing(), TaskState::TaskKilled, None, &[]);
}

#[test]
fn a_kill_while_it_is_launched_waits_for_what_comes_of_that() {
    let story = launching().kill(GRACE);
    assert_eq!(story.last, [], "it may be beginning right now");
    let story = story.event(Event::Launched(Ok(())));
    assert!(story.started(JobKind::Term) && story.started(JobKind::Wait) && story.did(&Action::Follow));
    assert!(!story.reports().iter().any(|report| report.state == TaskState::TaskRunning));
    let report = story.exits(Exit::Signal(15)).collected().leaves_nothing();
    assert_report(&report, TaskState::TaskKilled, None, &["Terminated"]);
    let none = launching().kill(GRACE).not_launched(Cause::NoUser, "no such user").leaves_nothing();
    assert_report(&none, TaskState::TaskKilled, Some(Reason::TaskKilledDuringLaunch), &[]);
    let gone = launching().kill(GRACE).event(gone()).leaves_nothing();
    assert_report(&gone, TaskState::TaskKilled, None, &[]);
}

#[test]
fn a_launch_that_is_not_heard_of_any_more_may_have_begun() {
    let silent = launching().wait(LAUNCH);
    assert!(!silent.did(&Action::CancelAll), "a group's tasks begin all at the same time");
    let silent = silent.wait(BOOT - LAUNCH);
    assert_not_launched(&silent.leaves_the_command(), &["step run", "no answer"]);
    let broken = launching().breaks("lost");
    assert_not_launched(&broken.leaves_the_command(), &["step run", "lost"]);
    let odd = launching().not_launched(Cause::Other, "the launcher did not say what it started");
    assert_not_launched(&odd.leaves_the_command(), &["did not say"]);
    let killed = launching().kill(GRACE).wait(GRACE + KILL);
    assert_report(&killed.leaves_the_command(), TaskState::TaskKilled, None, &[]);
    let hastened = launching().kill(Duration::from_secs(20)).kill(ms(0)).wait(KILL);
    assert_report(&hastened.leaves_the_command(), TaskState::TaskKilled, None, &[]);
    let broken = launching().kill(GRACE).breaks("lost");
    assert_report(&broken.leaves_the_command(), TaskState::TaskKilled, None, &[]);
}

#[test]
fn want_of_memory_is_told_with_where_the_executors_console_is() {
    let story = running().found(JobKind::Wait, Found::OutOfMemory(Exit::Signal(9))).collected();
    let words = ["Memory limit exceeded", "console.log in the executor's sandbox"];
    assert_report(&story.leaves_nothing(), TaskState::TaskFailed, Some(Reason::ContainerLimitationMemory), &words);
}

#[test]
fn a_killed_task_gets_term_and_then_kill_and_its_vm_stays() {
    let story = running().kill(GRACE);
    assert!(story.started(JobKind::Term) && !story.started(JobKind::Kill));
    assert_eq!(story.reports().last().map(|report| report.state), Some(TaskState::TaskKilling));
    let story = story.wait(GRACE);
    assert!(story.started(JobKind::Kill));
    let report = story.exits(Exit::Signal(9)).collected().leaves_nothing();
    assert_report(&report, TaskState::TaskKilled, None, &["signal Killed"]);
}

#[test]
fn a_guest_that_is_deaf_to_kill_costs_the_executor_its_vm() {
    let silent = running().kill(GRACE).wait(GRACE + KILL_JOINED);
    assert_report(&silent.leaves_the_command(), TaskState::TaskKilled, None, &["with its virtual machine"]);
    let broken = running().kill(GRACE).breaks("lost");
    assert_report(&broken.leaves_the_command(), TaskState::TaskKilled, None, &[]);
    let unreachable = running().breaks("lost").kill(GRACE);
    assert_report(&unreachable.leaves_the_command(), TaskState::TaskKilled, None, &[]);
    let odd = running().kill(GRACE).fails(JobKind::Wait, Cause::Supervisor, "the supervisor was killed");
    assert_report(&odd.leaves_the_command(), TaskState::TaskKilled, None, &[]);
}

#[test]
fn a_lost_connection_is_not_a_lost_task() {
    let story = running().breaks("timeout").wait(ms(1000)).breaks("no answer").wait(ms(30_000)).connected("boot-1");
    assert_eq!(story.count(JobKind::Wait), 2);
    assert_report(&story.exits(Exit::Status(0)).collected().leaves_nothing(), TaskState::TaskFinished, None, &[]);
    let lost = Some(Reason::ExecutorTerminated);
    let never = running().breaks("timeout").wait(RECONNECT + ms(100));
    assert_report(&never.leaves_the_command(), TaskState::TaskFailed, lost, &["two minutes"]);
    let odd = running().fails(JobKind::Wait, Cause::Supervisor, "the supervisor was killed");
    assert_report(&odd.leaves_the_command(), TaskState::TaskFailed, lost, &["supervisor"]);
}

#[test]
fn with_the_guest_the_command_is_certainly_gone() {
    let lost = Some(Reason::ExecutorTerminated);
    let words = ["while the command ran", "console.log in the executor's sandbox"];
    assert_report(&running().event(gone()).leaves_nothing(), TaskState::TaskFailed, lost, &words);
    let rebooted = running().breaks("closed").wait(ms(10)).connected("boot-2");
    assert_report(&rebooted.leaves_nothing(), TaskState::TaskFailed, lost, &["booted again"]);
    let stopping = running().kill(GRACE).event(gone());
    assert_report(&stopping.leaves_nothing(), TaskState::TaskKilled, None, &[]);
    let collecting = running().exits(Exit::Status(0)).event(gone());
    assert_report(&collecting.leaves_nothing(), TaskState::TaskFinished, None, &[]);
    for story in [prepared(), launching(), bringing()] {
        assert_not_launched(&story.event(gone()).leaves_nothing(), &["step ssh", "virtual machine ended"]);
    }
}

#[test]
fn files_that_do_not_come_back_keep_neither_task_nor_vm() {
    let slow = running().exits(Exit::Status(0)).event(Event::OutputDone).wait(COLLECT);
    assert_report(&slow.leaves_nothing(), TaskState::TaskFinished, None, &[]);
    let broken = running().exits(Exit::Status(0)).breaks("lost");
    assert_report(&broken.leaves_nothing(), TaskState::TaskFinished, None, &[]);
    let killed = running().exits(Exit::Status(0)).kill(GRACE).wait(COLLECT_KILLED);
    assert_report(&killed.leaves_nothing(), TaskState::TaskFinished, None, &[]);
}

#[test]
fn without_a_slave_the_task_is_ended_and_nobody_is_waited_for() {
    let story = running().event(Event::ParentGone);
    assert!(story.started(JobKind::Term));
    let story = story.exits(Exit::Signal(15)).collected();
    assert!(story.did(&Action::MarkDone) && !story.started(JobKind::Destroy));
    assert_eq!(story.last.last(), Some(&Action::Exit));
    for story in [begun(), prepared(), bringing()] {
        assert_eq!(story.event(Event::ParentGone).last.last(), Some(&Action::Exit));
    }
}

#[test]
fn all_of_it_is_over_before_its_child_would_be_killed() {
    let slack = Duration::from_secs(15);
    let began = launching();
    let (start, story) = (began.now, began.kill(GRACE).wait(GRACE + KILL - ms(100)));
    let story = story.event(Event::Launched(Ok(())));
    assert!(story.started(JobKind::Kill), "its grace is over");
    let story = story.wait(KILL_JOINED);
    assert!(story.now - start < GRACE + slack);
    story.leaves_the_command();
}

#[test]
fn its_checks_begin_with_it_and_end_with_it() {
    let check = HealthCheck { delay_seconds: Some(0.0), ..Default::default() };
    let watch = Watch::new(&TaskInfo { health_check: Some(check), ..Default::default() });
    let story = Story::shaped(Shape::Joined(ADDRESS), false, watch).ok(JobKind::Launcher).runs().wait(ms(0));
    assert!(story.all.iter().any(|action| matches!(action, Action::Check { .. })));
    let unavailable = Event::Checked { which: Which::Health, outcome: Outcome::Unavailable("no connection".into()) };
    let story = story.event(unavailable).exits(Exit::Status(0));
    assert!(story.did(&Action::StopChecks));
    story.collected().leaves_nothing();
}
