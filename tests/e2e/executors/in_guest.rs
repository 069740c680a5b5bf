//! The same life of an executor in a VM, over each of the two APIs.

use super::PYTHON_GUEST;
use super::framework::{Framework, executor};
use crate::support::*;

/// Three tasks on one executor; messages both ways, small and of 1 MiB; a kill, an end of its own accord, a shutdown.
fn lives(framework: &mut Framework, id: &str, api: &str) {
    let own = executor(id, api);
    let tasks = ["one", "two", "three"].map(|name| format!("{id}-{name}"));
    let names = tasks.each_ref().map(String::as_str);
    framework.run(&own, &names[..2]);
    framework.run(&own, &names[2..]);
    assert_eq!(framework.ask(id, "hello"), "hello");
    let large: Vec<u8> = (0..1 << 20).map(|place: u32| (place % 251) as u8).collect();
    framework.say(id, &large);
    assert!(framework.hear(id) == large, "1 MiB came back changed");
    framework.kill(names[0]);
    framework.await_state(names[0], "TASK_KILLED");
    framework.say(id, format!("finish {}", names[1]).as_bytes());
    framework.await_state(names[1], "TASK_FINISHED");
    assert_eq!(framework.ask(id, "tasks"), names[2]);
    framework.shut_down(id);
    let (state, reason, _) = framework.await_end(names[2]);
    assert_eq!((state.as_str(), reason.as_str()), ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED"));
    assert_eq!(framework.await_exit(id), 0);
}

#[test]
fn an_executor_on_the_protobuf_stream_lives_its_whole_life_in_a_guest() {
    let world = World::with_slave("stream", PYTHON_GUEST);
    let mut framework = Framework::subscribe(&world);
    lives(&mut framework, "s", "stream");
    framework.teardown();
    world.end();
}

#[test]
fn an_executor_on_the_drivers_messages_lives_its_whole_life_in_a_guest() {
    let world = World::with_slave("driver", PYTHON_GUEST);
    let mut framework = Framework::subscribe(&world);
    lives(&mut framework, "d", "driver");
    framework.teardown();
    world.end();
}

#[test]
fn executors_on_the_host_live_the_same_life() {
    let world = World::with_slave("host", super::PROCESS);
    let mut framework = Framework::subscribe(&world);
    lives(&mut framework, "s", "stream");
    lives(&mut framework, "d", "driver");
    framework.teardown();
    world.end();
}
