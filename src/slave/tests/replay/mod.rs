//! Whole recordings of real clusters, played to this slave: everybody else's bytes come from the recording, at the recorded
//! times, and what the slave sends to the master and to the frameworks' own executors is held against what Mesos' own agent sent
//! then, field by field and, for the framing, byte by byte.
//!
//! ```text
//! bytes ─► RequestParser ─► recognise ─► FromMaster::decode ─► Slave::handle(event, recorded time) ─► what it sends
//!            (recording, play)                                                                           │ compare
//! tests/wire/replay/<recording>: what the agent sent ────────────────────────────────────────────────────┤
//! allowed: every difference that is meant, with its reason ──────────────────────────────────────────────┘
//! ```
//!
//! Executors are played as well: the frameworks' own speak to the slave as they did to the agent, and what those of command
//! tasks told their agent comes out of containers here. What was done
//! to the agent's process is done to the slave: it is started, stopped, signalled and killed when the agent was. A slave that
//! is started again is told by the test what the agent had on disk.
//!
//! When a message goes out is compared as far as the order among what the others say shows it. Both sides wait for a random
//! time before they register: ours may end up to one back-off later.

mod allowed;
mod compare;
mod executors;
mod expect;
mod peers;
mod play;
mod recording;
mod replies;
mod splits;

use play::Play;
use recording::Recording;

/// Of Mesos 0.9.0-incubating.
const OF_2012: [&str; 7] = [
    "0.9-1-basic",
    "0.9-2-slave-kill",
    "0.9-3-executor-kill",
    "0.9-4-pong-timeout",
    "0.9-5-update-retry",
    "0.9-6-command-tasks",
    "0.9-8-slave-first",
];
/// Of Mesos 1.11.0.
const OF_1_11: [&str; 8] = [
    "1.11-main",
    "1.11-execport",
    "1.11-fw",
    "1.11-auth",
    "1.11-failure",
    "1.11-pymesos",
    "1.11-spark-coarse",
    "1.11-spark-fine",
];

/// Plays a recording and fails with all differences that are not allowed. So many of the agent's messages must have been
/// compared, or the test tests nothing.
fn replay(name: &str, at_least: usize) {
    let outcome = Play::new(&Recording::read(name)).run();
    assert!(outcome.differences.is_empty(), "{name}:\n{}", outcome.differences.join("\n"));
    assert!(outcome.compared >= at_least, "only {} messages of {name} were compared", outcome.compared);
}

#[test]
fn command_tasks_a_restarted_agent_and_its_leave_are_those_of_mesos_1_11() {
    replay("1.11-main", 28);
}

#[test]
fn command_tasks_with_their_executors_in_view_are_those_of_mesos_1_11() {
    replay("1.11-execport", 28);
}

#[test]
fn frameworks_of_all_kinds_see_what_mesos_1_11_shows() {
    replay("1.11-fw", 64);
}

#[test]
fn an_agent_that_authenticates_is_that_of_mesos_1_11() {
    replay("1.11-auth", 33);
}

#[test]
fn a_killed_executor_a_frozen_agent_and_a_new_master_are_met_as_by_mesos_1_11() {
    replay("1.11-failure", 23);
}

#[test]
fn a_python_executor_with_json_sees_what_mesos_1_11_shows() {
    replay("1.11-pymesos", 23);
}

#[test]
fn spark_with_command_tasks_sees_what_mesos_1_11_shows() {
    replay("1.11-spark-coarse", 9);
}

#[test]
fn spark_with_an_executor_of_its_own_sees_what_mesos_1_11_shows() {
    replay("1.11-spark-fine", 50);
}

#[test]
fn a_slave_of_0_9_is_known_to_its_master_by_what_it_says() {
    replay("0.9-1-basic", 25);
}

#[test]
fn a_slave_of_0_9_that_was_killed_comes_back_as_a_new_one() {
    replay("0.9-2-slave-kill", 17);
}

#[test]
fn a_slave_of_0_9_whose_executor_was_killed_goes_on() {
    replay("0.9-3-executor-kill", 15);
}

#[test]
fn a_slave_of_0_9_that_was_declared_lost_answers_what_waited_and_ends() {
    replay("0.9-4-pong-timeout", 13);
}

#[test]
fn a_slave_of_0_9_with_a_frozen_scheduler_stays_in_touch() {
    replay("0.9-5-update-retry", 3);
}

#[test]
fn command_tasks_of_0_9_are_told_as_its_slave_does() {
    replay("0.9-6-command-tasks", 17);
}

#[test]
fn a_slave_that_is_there_before_its_master_of_0_9_registers_when_it_comes() {
    replay("0.9-8-slave-first", 2);
}

/// A list of excuses that nobody needs any more would hide the next mistake.
#[test]
fn every_allowed_difference_occurs_in_some_recording() {
    let outcomes: Vec<_> = OF_1_11.iter().chain(&OF_2012).map(|name| Play::new(&Recording::read(name)).run()).collect();
    let used = |difference: &String| outcomes.iter().any(|outcome| outcome.used.contains(difference));
    let unused: Vec<_> = allowed::all().filter(|difference| !used(difference)).collect();
    assert!(unused.is_empty(), "these differences are allowed, but there are none: {unused:#?}");
}
