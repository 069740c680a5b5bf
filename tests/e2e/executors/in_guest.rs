//! The same life of an executor in a VM as on the host, over each of the two APIs.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::framework::{Framework, executor, with_command};
use super::{PROCESS, PYTHON, PYTHON_GUEST};
use crate::scheduler::text;
use crate::support::*;

/// The slave's name, which leads to the guest itself inside of it.
const HOSTNAME: &str = "the-slave.example";

/// Three tasks on one executor; messages both ways, small and of 1 MiB; a kill, and an end of a task of its own accord. One task stays.
fn lives(framework: &mut Framework, own: &Value) -> String {
    let id = &text(&own["executor_id"]["value"]);
    let tasks = ["one", "two", "three"].map(|name| format!("{id}-{name}"));
    let names = tasks.each_ref().map(String::as_str);
    framework.run(own, &names[..2]);
    framework.run(own, &names[2..]);
    assert_eq!(framework.ask(id, "hello"), "hello");
    let large: Vec<u8> = (0..1 << 20).map(|place: u32| (place % 251) as u8).collect();
    framework.say(id, &large);
    assert!(framework.hear(id) == large, "1 MiB came back changed");
    framework.kill(names[0]);
    framework.await_state(names[0], "TASK_KILLED");
    framework.say(id, format!("finish {}", names[1]).as_bytes());
    framework.await_state(names[1], "TASK_FINISHED");
    assert_eq!(framework.ask(id, "tasks"), names[2]);
    names[2].to_string()
}

/// The executor is shut down, or ends by itself when it is told to: with this status, and its last task with it.
fn ends(framework: &mut Framework, id: &str, task: &str, status: i64) {
    let (state, reason, _) = framework.await_end(task);
    assert_eq!((state.as_str(), reason.as_str()), ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED"));
    assert_eq!(framework.await_exit(id), status);
}

/// What an executor finds about it: its sandbox under its own name, the address that its status has, the slave's name.
fn surroundings(world: &World, framework: &mut Framework, id: &str) {
    let sandbox = framework.ask(id, "run pwd");
    assert_eq!(framework.ask(id, "run echo $MESOS_SANDBOX"), sandbox);
    assert!(sandbox.starts_with(&world.path("work/slaves/")), "{sandbox}");
    assert!(fs::metadata(sandbox.trim()).is_ok_and(|sandbox| sandbox.is_dir()), "{sandbox}");
    let own: Ipv4Addr = framework.ask(id, "run echo $LIBPROCESS_IP").trim().parse().expect("an address");
    framework.run(&executor(id, "stream"), &["another"]);
    let here = framework.ask(id, &format!("run getent hosts {HOSTNAME}"));
    assert_eq!(here.split_whitespace().next(), Some(own.to_string().as_str()), "{here}");
    let slave = framework.ask(id, "run echo $MESOS_SLAVE_PID");
    assert!(slave.starts_with("slave(1)@") && !slave.contains("127.0.0.1"), "{slave}");
    framework.kill("another");
    let status = framework.await_state("another", "TASK_KILLED");
    let address = text(&status["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"]);
    assert_eq!(address, own.to_string());
}

#[test]
fn an_executor_on_the_protobuf_stream_lives_its_whole_life_in_a_guest() {
    let hostname = format!("--hostname={HOSTNAME}");
    let world = World::with_slave("stream", &[PYTHON_GUEST, &[&hostname]].concat());
    let mut framework = Framework::subscribe(&world);
    let last = lives(&mut framework, &executor("s", "stream"));
    surroundings(&world, &mut framework, "s");
    framework.say("s", b"exit 3");
    ends(&mut framework, "s", &last, 3 << 8);
    framework.teardown();
    world.end();
}

#[test]
fn an_executor_on_the_drivers_messages_lives_its_whole_life_in_a_guest() {
    let world = World::with_slave("driver", PYTHON_GUEST);
    let mut framework = Framework::subscribe(&world);
    let last = lives(&mut framework, &executor("d", "driver"));
    framework.shut_down("d");
    ends(&mut framework, "d", &last, 0);
    framework.teardown();
    one_connection(&world);
    world.end();
}

#[test]
fn the_driver_by_hand_says_what_mesos_driver_said() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/executors/recorded.py");
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/mesos-1.11/fw");
    assert_eq!(run(PYTHON, &["-B", here, recording]), "as recorded\n");
}

/// A driver drops what overtakes its registration, so all that the slave says comes over one connection.
fn one_connection(world: &World) {
    let outputs = world.sandbox_files("stdout");
    let outputs = outputs.iter().map(|file| fs::read_to_string(file).expect("stdout"));
    let all: Vec<String> = outputs.filter(|text| text.contains("connection\n")).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].matches("connection\n").count(), 1, "{all:?}");
}

#[test]
fn executors_on_the_host_live_the_same_life() {
    let world = World::with_slave("host", PROCESS);
    let mut framework = Framework::subscribe(&world);
    for (id, api) in [("s", "stream"), ("d", "driver")] {
        let last = lives(&mut framework, &executor(id, api));
        framework.shut_down(id);
        ends(&mut framework, id, &last, 0);
    }
    framework.teardown();
    one_connection(&world);
    world.end();
}

#[test]
fn an_executor_that_never_registers_goes_with_its_guest() {
    // The registration's time begins when the guest is up.
    let world = World::with_slave("mute", &[PYTHON_GUEST, &["--executor_registration_timeout=3secs"]].concat());
    let mut framework = Framework::subscribe(&world);
    let mute = with_command("mute", "trap '' TERM; while :; do sleep 600; done");
    framework.launch(&mute, &["a", "b", "c"]);
    for task in ["a", "b", "c"] {
        let (state, reason, message) = framework.await_end(task);
        assert_eq!((state.as_str(), reason.as_str()), ("TASK_FAILED", "REASON_EXECUTOR_REGISTRATION_TIMEOUT"));
        assert_eq!(message, "Executor did not register within 3secs");
    }
    framework.await_exit("mute");
    world.assert_clean();
    framework.teardown();
    world.end();
}

#[test]
fn an_executor_that_does_not_shut_down_is_killed_in_its_guest() {
    let world = World::with_slave("stubborn-vm", &[PYTHON_GUEST, &["--executor_shutdown_grace_period=2secs"]].concat());
    let mut framework = Framework::subscribe(&world);
    framework.run(&executor("stubborn", "driver stubborn"), &["a"]);
    let start = Instant::now();
    framework.shut_down("stubborn");
    let (state, reason, _) = framework.await_end("a");
    assert_eq!((state.as_str(), reason.as_str()), ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED"));
    framework.await_exit("stubborn");
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    framework.teardown();
    world.end();
}
