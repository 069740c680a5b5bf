//! Update streams at their edges: ids that are used again, repetitions, floods. Each was once a defect that the properties found.

use super::*;

fn lost_acknowledgement_then_run_again(world: &mut World) -> Wanted {
    let wanted = world.kill("t");
    assert_eq!(wanted.statuses()[0].state(), TaskState::TaskDropped);
    world.run(task("t"))
}

#[test]
fn an_id_is_in_use_as_long_as_an_update_about_it_is_not_acknowledged() {
    let mut world = World::registered();
    world.running("other");
    let wanted = lost_acknowledgement_then_run_again(&mut world);
    assert!(wanted.launched.is_empty() && wanted.statuses().is_empty(), "what is sent again would end the new task");
    let again = world.later(Duration::from_secs(10)).statuses();
    assert_eq!(again[0].state(), TaskState::TaskDropped);
    world.acknowledge_uuid("t", again[0].uuid());
    assert_eq!(world.run(task("t")).launched.len(), 1);
}

#[test]
fn a_state_that_was_reported_twice_is_still_known_when_a_child_repeats_the_first() {
    let mut world = World::registered();
    let container = world.running("t");
    world.status(&container, "t", TaskState::TaskRunning, 2);
    world.acknowledge("t", 2);
    assert!(world.status(&container, "t", TaskState::TaskRunning, 1).sent.is_empty());
    assert_eq!(world.status(&container, "t", TaskState::TaskRunning, 3).statuses().len(), 1);
}

#[test]
fn a_task_whose_end_is_acknowledged_is_not_listed_while_its_container_goes() {
    let mut world = World::registered();
    let container = world.running("t");
    world.status(&container, "t", TaskState::TaskFinished, 2);
    world.ping(false);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.tasks.len(), 1, "the master has not heard of its end for certain");
    world.acknowledge("t", 2);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(2)).only();
    assert!(again.tasks.is_empty(), "nobody would acknowledge it a second time");
}

#[test]
fn a_task_of_that_name_is_answered_while_the_container_goes() {
    let mut world = World::registered();
    let container = world.running("t");
    world.status(&container, "t", TaskState::TaskFinished, 2);
    world.acknowledge("t", 2);
    let wanted = world.run(task("t"));
    assert!(wanted.launched.is_empty());
    assert_eq!(wanted.statuses()[0].state(), TaskState::TaskDropped, "the master has forgotten the first, and waits");
    world.acknowledge_uuid("t", wanted.statuses()[0].uuid());
    world.gone(&container, None);
    assert_eq!(world.run(task("t")).launched.len(), 1);
}

#[test]
fn the_end_of_a_task_finds_room_behind_a_flood_of_its_updates() {
    let mut world = World::registered();
    let container = world.running("t");
    world.event(Event::MasterLost);
    for number in 0..2000u32 {
        let mut status = world.a_status("t", TaskState::TaskRunning, 0);
        status.uuid = Some(number.to_be_bytes().to_vec());
        world.event(Event::ContainerStatus { container: container.clone(), status: Box::new(status) });
    }
    world.status(&container, "t", TaskState::TaskFinished, 9);
    world.gone(&container, None);
    world.event(Event::MasterDetected(pid(MASTER)));
    world.later(Duration::from_secs(1));
    let mut next = world.reregistered().statuses();
    let mut states = Vec::new();
    while let Some(status) = next.pop() {
        states.push(status.state());
        next = world.acknowledge_uuid("t", status.uuid()).statuses();
    }
    assert_eq!(states.len(), 1025, "the flood is bounded");
    assert_eq!(states.last(), Some(&TaskState::TaskFinished));
    assert!(world.slave.frameworks().is_empty());
}

#[test]
fn a_kill_that_is_repeated_without_end_is_answered_once() {
    let mut world = World::registered();
    let first = world.kill("nosuch").statuses().remove(0);
    for _ in 0..2000 {
        assert!(world.kill("nosuch").sent.is_empty());
    }
    let next = world.acknowledge_uuid("nosuch", first.uuid());
    assert!(next.sent.is_empty(), "one answer is outstanding, and one is enough");
    assert_eq!(world.kill("nosuch").statuses().len(), 1);
}
