//! Executors that misbehave: each as Mesos defines it, and none to the harm of another.

use std::time::{Duration, Instant};

use super::PROCESS;
use super::framework::{Framework, executor, with_command};
use crate::support::*;

/// An executor that behaves, beside the one that the test is about.
const GOOD: &str = "good";

/// A slave, and a framework with an executor that behaves.
fn world(name: &str, flags: &[&str]) -> (World, Framework) {
    let world = World::with_slave(name, &[PROCESS, flags].concat());
    let mut framework = Framework::subscribe(&world);
    framework.run(&executor(GOOD, "stream"), &["good-task"]);
    (world, framework)
}

/// The executor that behaves has noticed nothing.
fn end(world: World, mut framework: Framework) {
    assert_eq!(framework.ask(GOOD, "tasks"), "good-task");
    framework.teardown();
    world.end();
}

/// Three tasks end for the same reason, and so does their executor; gives the message.
fn all_end(framework: &mut Framework, id: &str, tasks: [&str; 3], reason: &str) -> (String, i64) {
    let ends = tasks.map(|task| framework.await_end(task));
    for (state, why, _) in &ends {
        assert_eq!((state.as_str(), why.as_str()), ("TASK_FAILED", reason));
    }
    (ends[0].2.clone(), framework.await_exit(id))
}

/// What wait(2) gives for an end by these signals.
const SIGKILL: i64 = 9;
const SIGTERM: i64 = 15;

const TASKS: [&str; 3] = ["a", "b", "c"];

#[test]
fn an_executor_that_never_registers_fails_its_tasks_when_its_time_is_over() {
    // As long as it takes the one that behaves to register on a busy host.
    let (world, mut framework) = world("mute", &["--executor_registration_timeout=15secs"]);
    let start = Instant::now();
    framework.launch(&with_command("mute", "exec sleep 600"), &TASKS);
    let (message, status) = all_end(&mut framework, "mute", TASKS, "REASON_EXECUTOR_REGISTRATION_TIMEOUT");
    assert_eq!(message, "Executor did not register within 15secs");
    assert!([SIGTERM, SIGKILL].contains(&status), "{status}");
    assert!(start.elapsed() >= Duration::from_secs(15), "{:?}", start.elapsed());
    end(world, framework);
}

#[test]
fn an_executor_that_ends_before_it_registers_fails_its_tasks() {
    let (world, mut framework) = world("early", &[]);
    framework.launch(&with_command("early", "exit 7"), &TASKS);
    let (_, status) = all_end(&mut framework, "early", TASKS, "REASON_EXECUTOR_TERMINATED");
    assert_eq!(status, 7 << 8);
    end(world, framework);
}

#[test]
fn an_executor_that_vanishes_fails_its_three_tasks_and_its_true_status_is_told() {
    let (world, mut framework) = world("vanish", &[]);
    for api in ["stream", "driver"] {
        let tasks = TASKS.map(|task| format!("{api}-{task}"));
        let names = tasks.each_ref().map(String::as_str);
        framework.run(&executor(api, api), &names);
        framework.say(api, b"exit 3");
        let (_, status) = all_end(&mut framework, api, names, "REASON_EXECUTOR_TERMINATED");
        assert_eq!(status, 3 << 8);
    }
    end(world, framework);
}

#[test]
fn an_executor_that_kills_its_process_group_as_drivers_do_kills_nobody_else() {
    let (world, mut framework) = world("killpg", &[]);
    framework.run(&executor("killpg", "stream"), &TASKS);
    framework.say("killpg", b"killpg");
    let (message, status) = all_end(&mut framework, "killpg", TASKS, "REASON_EXECUTOR_TERMINATED");
    assert_eq!((message.as_str(), status), ("Executor terminated: Command terminated with signal Killed", SIGKILL));
    end(world, framework);
}

#[test]
fn a_driver_that_registers_twice_is_shut_down() {
    let (world, mut framework) = world("twice", &[]);
    framework.launch(&executor("twice", "driver twice"), &["a"]);
    // The first registration is a good one: the task may run before the second takes effect.
    let mut status = framework.await_status("a");
    if status["state"] == "TASK_RUNNING" {
        status = framework.await_status("a");
    }
    assert_eq!((&status["state"], &status["reason"]), (&"TASK_FAILED".into(), &"REASON_EXECUTOR_TERMINATED".into()));
    assert_eq!(framework.await_exit("twice"), 0);
    end(world, framework);
}

#[test]
fn a_stream_that_subscribes_again_takes_the_place_of_the_one_before() {
    let (world, mut framework) = world("again", &[]);
    framework.run(&executor("again", "stream"), &["a"]);
    framework.say("again", b"subscribe");
    framework.run(&executor("again", "stream"), &["b"]);
    assert_eq!(framework.ask("again", "tasks"), "a b");
    framework.shut_down("again");
    for task in ["a", "b"] {
        assert_eq!(framework.await_end(task).0, "TASK_FAILED");
    }
    let output = world.sandbox_files("stdout").into_iter().map(|file| std::fs::read_to_string(file).expect("stdout"));
    let output: Vec<String> = output.filter(|text| text.contains("stream ended")).collect();
    assert_eq!(output.len(), 1, "one stream has ended, that of the executor that subscribed again");
    end(world, framework);
}

#[test]
fn an_executor_that_does_not_shut_down_is_killed_after_its_grace() {
    let (world, mut framework) = world("stubborn", &["--executor_shutdown_grace_period=2secs"]);
    for api in ["stream", "driver"] {
        let tasks = TASKS.map(|task| format!("{api}-{task}"));
        let names = tasks.each_ref().map(String::as_str);
        framework.run(&executor(api, &format!("{api} stubborn")), &names);
        let start = Instant::now();
        framework.shut_down(api);
        let (_, status) = all_end(&mut framework, api, names, "REASON_EXECUTOR_TERMINATED");
        assert_eq!(status, SIGKILL);
        assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    }
    end(world, framework);
}

#[test]
fn ten_thousand_messages_come_in_order() {
    let (world, mut framework) = world("flood", &[]);
    for api in ["stream", "driver"] {
        framework.run(&executor(api, api), &[api]);
        framework.say(api, b"flood 10000 1024");
        for number in 0..10_000 {
            let message = framework.hear(api);
            assert_eq!(message.len(), 1024);
            assert_eq!(message.trim_ascii(), number.to_string().as_bytes());
        }
        assert_eq!(framework.ask(api, "tasks"), api);
    }
    end(world, framework);
}

#[test]
fn what_is_no_call_is_refused_and_harms_nobody() {
    let (world, mut framework) = world("broken", &[]);
    framework.run(&executor("stream", "stream"), &["a"]);
    assert_eq!(framework.ask("stream", "broken"), "400 400 415");
    assert_eq!(framework.ask("stream", "tasks"), "a");
    framework.run(&executor("driver", "driver"), &["b"]);
    assert_eq!(framework.ask("driver", "broken"), "dropped");
    assert_eq!(framework.ask("driver", "tasks"), "b");
    end(world, framework);
}

#[test]
fn an_executor_without_a_command_or_with_another_description_gets_no_task() {
    let (world, mut framework) = world("other", &[]);
    let mut other = executor(GOOD, "stream");
    other["name"] = "another".into();
    framework.launch(&other, &["a"]);
    let (state, reason, message) = framework.await_end("a");
    assert_eq!((state.as_str(), reason.as_str()), ("TASK_ERROR", "REASON_TASK_INVALID"));
    assert!(message.contains("ExecutorInfo is not compatible with existing ExecutorInfo"), "{message}");
    end(world, framework);
}
