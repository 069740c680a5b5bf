//! Killing a task at any moment.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scheduler::Scheduler;
use super::support::*;

/// Starts a task, waits for a text in its progress, sends Ctrl-C, and gives how long the end took.
fn killed_at(world: &World, text: &str, command: &str) -> (Duration, String) {
    let mut task = world.spawn_execute("task", &["--command", command]);
    task.await_log(text);
    let start = Instant::now();
    task.signal("INT");
    let status = task.wait();
    let log = task.log();
    assert!(!status.success(), "{log}");
    assert!(log.contains("TASK_KILLED"), "{log}");
    world.assert_clean();
    (start.elapsed(), log)
}

#[test]
fn a_task_killed_before_its_domain_exists_is_killed() {
    let world = World::with_slave("early", &[]);
    killed_at(&world, "TASK_STARTING", "sleep 600");
    world.end();
}

#[test]
fn a_task_killed_while_its_guest_boots_is_killed() {
    let world = World::with_slave("boot", &[]);
    killed_at(&world, "boot ", "sleep 600");
    world.end();
}

#[test]
fn a_running_task_is_killed_and_its_guest_is_gone() {
    let world = World::with_slave("running", &[]);
    let mut scheduler = Scheduler::subscribe(&world.master_address, "root");
    // On a busy host the session that brings the first signal may take longer than the usual grace period.
    let patient = json!({ "kill_policy": { "grace_period": { "nanoseconds": 150_000_000_000u64 } } });
    scheduler.launch_with("t", json!({ "value": "sleep 600" }), patient);
    while scheduler.await_status()["state"] != "TASK_RUNNING" {}
    scheduler.kill("t");
    let status = scheduler.await_end();
    assert_eq!(status["state"], "TASK_KILLED", "{status}");
    assert_eq!(status["message"], "Command terminated with signal Terminated", "{status}");
    world.assert_clean();
    scheduler.teardown();
    world.end();
}

#[test]
fn a_command_that_ignores_term_is_gone_after_the_grace_period() {
    let world = World::with_slave("ignore", &[]);
    let (took, _) = killed_at(&world, "deaf", "trap '' TERM; echo deaf; while :; do sleep 1; done");
    assert!(took >= Duration::from_secs(3), "{took:?}");
    assert!(took < Duration::from_secs(90), "{took:?}");
    world.end();
}

#[test]
fn a_slave_that_is_stopped_ends_its_guests() {
    let mut world = World::with_slave("stop", &[]);
    let task = world.spawn_execute("task", &["--command=sleep 600"]);
    task.await_log("TASK_RUNNING");
    world.slave().signal("TERM");
    task.await_log("TASK_KILLED");
    world.assert_clean();
    drop(task);
    world.start_slave(&[]);
    world.end();
}

#[test]
fn a_slave_that_is_killed_leaves_no_guest_of_a_framework_that_does_not_checkpoint() {
    let mut world = World::with_slave("sigkill", &[]);
    let task = world.spawn_execute("task", &["--command=sleep 600"]);
    task.await_log("TASK_RUNNING");
    world.slave().signal("KILL");
    eventually("the guest is gone", || world.vms().is_empty().then_some(()));
    drop(task);
    // The next slave removes the directories that nobody was left to remove.
    world.start_slave(&[]);
    world.end();
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_the_task_is_killed_all_the_same() {
    let world = World::with_slave("twice", &[]);
    let mut task = world.spawn_execute("task", &["--command=trap '' TERM; echo deaf; while :; do sleep 1; done"]);
    task.await_log("deaf");
    task.signal("INT");
    task.await_log("killing");
    task.signal("INT");
    assert_eq!(task.wait().code(), Some(130), "{}", task.log());
    assert!(!task.log().contains("TASK_KILLED"), "it has waited for the end: {}", task.log());
    world.assert_clean();
    world.end();
}

#[test]
fn a_task_that_runs_longer_than_its_timeout_is_killed() {
    let world = World::with_slave("timeout", &[]);
    let output = world.execute(&["--timeout=10secs", "--command=sleep 600"]);
    let err = stderr(&output);
    assert!(err.contains("TASK_KILLED") && err.contains("the time is up"), "{err}");
    assert_ne!(output.status.code(), Some(0));
    world.assert_clean();
    world.end();
}

#[test]
fn a_child_that_is_killed_fails_its_task_and_is_cleaned_up_after() {
    let world = World::with_slave("child", &[]);
    let mut task = world.spawn_execute("task", &["--command=sleep 600"]);
    task.await_log("TASK_RUNNING");
    let children = processes("vm-container");
    let child = children.iter().find(|line| line.contains(&world.path("run/"))).expect("a child");
    signal_pid(child.split(':').next().expect("pid").parse().expect("pid"), "KILL");
    assert!(!task.wait().success());
    assert!(task.log().contains("TASK_FAILED"), "{}", task.log());
    world.assert_clean();
    assert!(world.domains().iter().all(|domain| !world.vms().contains(domain)));
    world.end();
}

#[test]
fn a_masters_kill_of_a_task_ends_it_as_killed_whenever_it_comes() {
    let world = World::with_slave("masterkill", &[]);
    let mut scheduler = Scheduler::subscribe(&world.master_address, "root");
    // At once; while the guest boots; when it runs.
    for (id, wait) in [("at-once", 0), ("boots", 1), ("runs", 15)] {
        scheduler.launch(id, json!({ "value": "sleep 600" }));
        std::thread::sleep(Duration::from_secs(wait));
        scheduler.kill(id);
        let status = scheduler.await_end();
        assert_eq!(status["state"], "TASK_KILLED", "{id}: {status}");
        world.assert_clean();
    }
    scheduler.teardown();
    world.end();
}
