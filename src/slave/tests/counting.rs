//! What is counted for operators.

use super::executors::driver;
use super::*;

/// Valid and invalid updates, valid and invalid messages, failed launches.
fn counts(world: &World) -> [u64; 5] {
    let all = world.slave.counts();
    [
        all.valid_status_updates,
        all.invalid_status_updates,
        all.valid_framework_messages,
        all.invalid_framework_messages,
        all.container_launch_errors,
    ]
}

#[test]
fn updates_are_counted_as_they_are_taken_or_dropped() {
    let mut world = World::registered();
    let container = world.running("t");
    assert_eq!(counts(&world), [1, 0, 0, 0, 0]);
    world.status(&container, "another's", TaskState::TaskRunning, 2);
    world.status(&ContainerId::new("nobody's").expect("id"), "t", TaskState::TaskRunning, 2);
    assert_eq!(counts(&world), [1, 2, 0, 0, 0]);
    world.status(&container, "t", TaskState::TaskFinished, 3);
    world.gone(&container, None);
    assert_eq!(counts(&world), [2, 2, 0, 0, 0], "an orderly end is no failed launch");
}

#[test]
fn what_executors_and_schedulers_say_to_each_other_is_counted_as_it_is_passed_on_or_dropped() {
    let (mut world, _) = World::talking(driver());
    let before = counts(&world)[0];
    world.say(driver(), executor::FromExecutor::Message(vec![1]));
    let message = |executor: &str| {
        FromMaster::FrameworkToExecutor(Box::new(FrameworkToExecutorMessage {
            framework_id: mesos::FrameworkId { value: "F".into() },
            executor_id: mesos::ExecutorId { value: executor.into() },
            ..Default::default()
        }))
    };
    world.hear(message("E"));
    assert_eq!(counts(&world)[2..4], [2, 0]);
    world.hear(message("nobody"));
    world.hear(message("E"));
    assert_eq!(counts(&world)[2..4], [3, 1]);
    world.update(driver(), "a", TaskState::TaskStaging, 7);
    assert_eq!(counts(&world)[..2], [before, 1], "no executor may say that a task is being staged");
}

#[test]
fn a_container_that_could_not_be_launched_is_counted_once() {
    let mut world = World::registered();
    let launch = |world: &mut World, name: &str| {
        let spec = world.run(task(name)).launched.remove(0);
        ContainerId::new(spec.container_id).expect("id")
    };
    let never_ran = launch(&mut world, "a");
    world.gone(&never_ran, Some("it died"));
    assert_eq!(counts(&world)[4], 1);
    let failed = launch(&mut world, "b");
    let reason = Some(Reason::ContainerLaunchFailed as i32);
    let status = mesos::TaskStatus { reason, ..world.a_status("b", TaskState::TaskFailed, 1) };
    world.event(Event::ContainerStatus { container: failed.clone(), status: Box::new(status) });
    world.gone(&failed, None);
    assert_eq!(counts(&world)[4], 2);
    let ran = world.running("c");
    world.gone(&ran, Some("it died"));
    assert_eq!(counts(&world)[4], 2, "it had been launched");
}
