//! The embedded master with more than one of everything.

use serde_json::json;

use super::PROCESS;
use super::framework::{Framework, executor};
use crate::support::*;

#[test]
fn two_frameworks_share_two_slaves_and_one_fails_over() {
    let world = World::with_slave("shared", PROCESS);
    let mut second = World::new("second");
    second.master_address = world.master_address.clone();
    second.start_slave(PROCESS);
    let mut first = Framework::subscribe_to_stay(&world);
    let offers = first.await_offers();
    assert_eq!(offers.len(), 2, "{offers:?}");
    assert_ne!(offers[0]["agent_id"], offers[1]["agent_id"]);
    let (stream, driver) = (executor("stream", "stream"), executor("driver", "driver"));
    first.launch_on(&offers[0], &stream, &["a"]);
    first.launch_on(&offers[1], &driver, &["b"]);
    first.await_running(&stream, &["a"]);
    first.await_running(&driver, &["b"]);

    // The same names mean something else in another framework.
    let mut other = Framework::subscribe(&world);
    other.run(&stream, &["a", "c"]);
    assert_eq!(other.ask("stream", "tasks"), "a c");
    assert_eq!(first.ask("stream", "tasks"), "a");

    let mut heir = first.fail_over(&world);
    assert_eq!(first.await_error(), "Framework failed over");
    assert_eq!(heir.ask("driver", "tasks"), "b");
    heir.call(json!({ "type": "RECONCILE", "reconcile": { "tasks": [] } }));
    for task in ["a", "b"] {
        let status = heir.await_state(task, "TASK_RUNNING");
        assert_eq!(status["reason"], "REASON_RECONCILIATION", "{status}");
    }
    heir.kill("b");
    heir.await_state("b", "TASK_KILLED");
    heir.teardown();
    assert_eq!(other.ask("stream", "tasks"), "a c");
    other.teardown();
    second.end();
    world.end();
}
