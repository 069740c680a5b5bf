//! Tasks and frameworks that are to end.

use super::*;

#[test]
fn a_kill_reaches_the_container_with_the_tasks_grace_period() {
    let mut world = World::registered();
    let mut info = task("t");
    info.kill_policy =
        Some(mesos::KillPolicy { grace_period: Some(mesos::DurationInfo { nanoseconds: 7_000_000_000 }) });
    world.run(info);
    let wanted = world.kill("t");
    assert_eq!(wanted.killed.len(), 1);
    assert_eq!(wanted.killed[0].1, Duration::from_secs(7));
    assert_eq!(world.kill("t").killed.len(), 1);
}

#[test]
fn a_task_killed_whose_container_dies_without_a_word_is_killed() {
    let mut world = World::registered();
    let container = world.running("t");
    world.kill("t");
    let status = world.gone(&container, Some("exit status 1")).statuses().remove(0);
    assert_eq!(status.state(), TaskState::TaskKilled);
}

#[test]
fn the_kill_of_an_unknown_task_is_answered() {
    let mut world = World::registered();
    world.running("t");
    let status = world.kill("nosuch").statuses().remove(0);
    assert_eq!(status.state(), TaskState::TaskDropped);
}

#[test]
fn a_framework_that_is_shut_down_ends_without_updates() {
    let mut world = World::registered();
    let container = world.running("t");
    let message = ShutdownFrameworkMessage { framework_id: mesos::FrameworkId { value: "F".into() } };
    let wanted = world.hear(FromMaster::ShutdownFramework(Box::new(message)));
    assert_eq!(wanted.killed[0].0, container);
    assert!(world.status(&container, "t", TaskState::TaskKilled, 3).statuses().is_empty());
    assert!(world.gone(&container, None).sent.is_empty());
    assert!(world.slave.frameworks().is_empty());
}

#[test]
fn a_command_task_that_is_shut_down_has_the_grace_of_its_own_kill_policy() {
    let mut world = World::registered();
    let policy = mesos::KillPolicy { grace_period: Some(mesos::DurationInfo { nanoseconds: 30_000_000_000 }) };
    world.run(mesos::TaskInfo { kill_policy: Some(policy), ..task("t") });
    let message = ShutdownFrameworkMessage { framework_id: mesos::FrameworkId { value: "F".into() } };
    let wanted = world.hear(FromMaster::ShutdownFramework(Box::new(message)));
    assert_eq!(wanted.killed[0].1, Duration::from_secs(30));
    assert!(world.kill("t").killed.is_empty(), "it is ending with its framework");
}
