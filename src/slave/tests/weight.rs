//! What frameworks and executors can have the slave keep.

use super::executors::{driver, own_task};
use super::*;
use crate::slave::executor::{FromExecutor, ToExecutor};

const MIB: usize = 1 << 20;

/// Launches a task of executor `E` that brings so many bytes along for it.
fn run_with_data(world: &mut World, framework: mesos::FrameworkInfo, name: &str, bytes: usize, first: bool) -> Wanted {
    world.hear(FromMaster::RunTask(Box::new(RunTaskMessage {
        framework,
        task: mesos::TaskInfo { data: Some(vec![7; bytes]), ..own_task(name) },
        launch_executor: Some(first),
        ..Default::default()
    })))
}

fn framework_of(id: &str) -> mesos::FrameworkInfo {
    mesos::FrameworkInfo { id: Some(mesos::FrameworkId { value: id.into() }), ..framework() }
}

/// The task was dropped because of what is kept already.
fn assert_too_much(wanted: &Wanted, words: &str) {
    let statuses = wanted.statuses();
    let [status] = &statuses[..] else { panic!("{statuses:?}") };
    assert_eq!((status.state(), status.reason()), (TaskState::TaskDropped, Reason::InvalidOffers));
    assert!(status.message().contains(words), "{}", status.message());
}

/// Bytes of the tasks that are kept, whatever else is known of them.
fn kept(world: &World) -> usize {
    let executors = world.slave.frameworks.values().flat_map(|framework| framework.executors.values());
    let tasks = executors.flat_map(|executor| executor.tasks.values().chain(&executor.completed));
    tasks.map(|task| task.info.encoded_len() + task.statuses.iter().map(Message::encoded_len).sum::<usize>()).sum()
}

#[test]
fn tasks_that_wait_for_an_executor_take_so_much_memory_and_no_more() {
    let mut world = World::registered();
    let launched = run_with_data(&mut world, framework(), "t0", 16 * MIB, true).launched.remove(0);
    for number in 1..4 {
        assert_eq!(run_with_data(&mut world, framework(), &format!("t{number}"), 16 * MIB, false).statuses(), []);
    }
    assert_too_much(&run_with_data(&mut world, framework(), "t4", 1, false), "of this framework's");
    // Another framework is not to suffer for it.
    assert_eq!(run_with_data(&mut world, framework_of("G"), "t", 16 * MIB, true).launched.len(), 1);
    let before = kept(&world);

    world.started(&ContainerId::new(launched.container_id).expect("id"));
    let told = world.say(driver(), FromExecutor::Register).told;
    let data = told.iter().filter_map(|(_, message)| match message {
        ToExecutor::Launch { task, .. } => task.data.as_ref().map(Vec::len),
        _ => None,
    });
    assert_eq!(data.collect::<Vec<usize>>(), [16 * MIB; 4], "all of them have come whole");
    assert!(kept(&world) < before - 63 * MIB, "what was handed over is not kept");
    let next = run_with_data(&mut world, framework(), "t5", 16 * MIB, false);
    assert!(matches!(&next.told[..], [(_, ToExecutor::Launch { .. })]), "there is room again");
}

#[test]
fn all_frameworks_together_have_a_bound_as_well() {
    let mut world = World::registered();
    let mut taken = 0;
    for number in 0..10 {
        let wanted = run_with_data(&mut world, framework_of(&format!("F{number}")), "t", 60 * MIB, true);
        if wanted.launched.is_empty() {
            assert_too_much(&wanted, "of all frameworks'");
        } else {
            taken += 1;
        }
    }
    assert_eq!(taken, 5, "256 MiB, and what came last beyond them");
}

#[test]
fn the_data_of_a_command_task_is_its_containers_alone() {
    let mut world = World::registered();
    let spec = world.run(mesos::TaskInfo { data: Some(vec![7; MIB]), ..task("t") }).launched.remove(0);
    assert_eq!(spec.task.and_then(|task| task.data).map(|data| data.len()), Some(MIB));
    assert!(kept(&world) < 1000);
}

#[test]
fn of_what_an_executor_says_of_a_task_only_a_little_is_kept() {
    let mut world = World::registered();
    let spec = world.run_own("t", true).launched.remove(0);
    world.started(&ContainerId::new(spec.container_id).expect("id"));
    world.say(driver(), FromExecutor::Register);
    let states = [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskKilling];
    for (uuid, state) in (1..).zip(states) {
        let label = mesos::Label { key: "l".into(), value: Some("x".repeat(MIB)) };
        let status = mesos::TaskStatus {
            data: Some(vec![7; MIB]),
            message: Some("é".repeat(MIB)),
            labels: Some(mesos::Labels { labels: vec![label] }),
            ..world.a_status("t", state, uuid)
        };
        let sent = world.say(driver(), FromExecutor::Update(Box::new(status.clone()))).statuses().remove(0);
        assert_eq!(
            (sent.data, sent.message, sent.labels),
            (status.data, status.message, status.labels),
            "all is passed on"
        );
        world.acknowledge("t", uuid);
    }
    assert!(kept(&world) < 10_000, "{}", kept(&world));
    let framework = world.slave.frameworks.values().next().expect("the framework");
    let statuses =
        &framework.executors.values().next().expect("the executor").tasks.values().next().expect("t").statuses;
    assert_eq!(statuses.iter().map(mesos::TaskStatus::state).collect::<Vec<_>>(), states);
}

#[test]
fn tasks_that_are_over_are_forgotten_earlier_when_they_are_large() {
    let mut world = World::registered();
    let spec = world.run_own("t", true).launched.remove(0);
    world.started(&ContainerId::new(spec.container_id).expect("id"));
    world.say(driver(), FromExecutor::Register);
    for number in 0..20u8 {
        let label = mesos::Label { key: "l".into(), value: Some("x".repeat(MIB / 10)) };
        let name = format!("t{number}");
        world.hear(FromMaster::RunTask(Box::new(RunTaskMessage {
            framework: framework(),
            task: mesos::TaskInfo { labels: Some(mesos::Labels { labels: vec![label] }), ..own_task(&name) },
            launch_executor: Some(false),
            ..Default::default()
        })));
        world.update(driver(), &name, TaskState::TaskFinished, number + 1);
        world.acknowledge(&name, number + 1);
    }
    let framework = world.slave.frameworks.values().next().expect("the framework");
    let completed = &framework.executors.values().next().expect("the executor").completed;
    let names: Vec<&str> = completed.iter().map(|task| task.info.name.as_str()).collect();
    assert_eq!((names.len(), names.last()), (9, Some(&"t19")), "the newest stay");
}
