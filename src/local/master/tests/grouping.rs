//! Groups of tasks: all of them or none.

use super::*;
use crate::messages::mesos::{ExecutorInfo, TaskGroupInfo, executor_info};

/// An executor that can take groups, of half a CPU.
fn executor(scheduler: &Scheduler) -> ExecutorInfo {
    ExecutorInfo {
        r#type: Some(executor_info::Type::Default as i32),
        executor_id: mesos::ExecutorId { value: "e".into() },
        framework_id: Some(scheduler.id.clone()),
        resources: vec![cpus(0.5), mem(64.0), scalar("disk", 1.0)],
        ..Default::default()
    }
}

fn launch(
    world: &mut World,
    scheduler: &Scheduler,
    offer: &mesos::Offer,
    executor: ExecutorInfo,
    tasks: Vec<TaskInfo>,
) {
    let operation = Operation {
        r#type: Some(operation::Type::LaunchGroup as i32),
        launch_group: Some(operation::LaunchGroup { executor, task_group: TaskGroupInfo { tasks } }),
        ..Default::default()
    };
    let accept = call::Accept { offer_ids: vec![offer.id.clone()], operations: vec![operation], filters: None };
    world.call(scheduler, Call { accept: Some(accept), ..of(call::Type::Accept) });
}

/// A slave of four CPUs, a framework, its offer.
fn world() -> (World, Pid, Scheduler, mesos::Offer) {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(4.0), mem(1024.0), scalar("disk", 100.0)]);
    let scheduler = world.framework();
    let offer = world.offers(&scheduler).remove(0);
    (world, slave, scheduler, offer)
}

#[test]
fn a_group_goes_to_its_slave_in_one_message_and_its_executor_is_counted_once() {
    let (mut world, slave, scheduler, offer) = world();
    let group = vec![task("a", &offer, 1.0), task("b", &offer, 1.0)];
    launch(&mut world, &scheduler, &offer, executor(&scheduler), group);
    let run = world.sent::<RunTaskGroupMessage>(&slave).remove(0);
    assert_eq!(run.launch_executor, Some(true));
    let names: Vec<_> = run.task_group.tasks.iter().map(|task| task.task_id.value.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(run.task_group.tasks.iter().all(|task| task.executor.is_some()), "each names its executor");
    world.pass(Duration::from_secs(5));
    let left = world.offers(&scheduler).remove(0);
    assert_eq!(amount(&left, "cpus"), 1.5);
    assert_eq!(left.executor_ids, [mesos::ExecutorId { value: "e".into() }]);
    launch(&mut world, &scheduler, &left, executor(&scheduler), vec![task("c", &left, 1.5)]);
    assert_eq!(world.sent::<RunTaskGroupMessage>(&slave)[0].launch_executor, Some(false));
}

/// Launches a group of two after a change, and gives what both were told.
fn refusal(change: impl FnOnce(&mut ExecutorInfo, &mut Vec<TaskInfo>)) -> String {
    let (mut world, slave, scheduler, offer) = world();
    let (mut executor, mut tasks) = (executor(&scheduler), vec![task("a", &offer, 1.0), task("b", &offer, 1.0)]);
    change(&mut executor, &mut tasks);
    launch(&mut world, &scheduler, &offer, executor, tasks);
    assert!(world.sent::<RunTaskGroupMessage>(&slave).is_empty());
    let updates = world.updates(&scheduler);
    let [first, second] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!(first.message, second.message);
    for update in &updates {
        assert_eq!(update.state(), TaskState::TaskError);
        assert_eq!(update.reason(), mesos::task_status::Reason::TaskGroupInvalid);
    }
    assert!(world.core.tasks.is_empty() && world.core.executors.is_empty());
    first.message().to_owned()
}

#[test]
fn one_task_that_cannot_be_refuses_the_group() {
    let says = |text: String, wanted: &str| assert!(text.contains(wanted), "{text}");
    says(refusal(|_, tasks| tasks[1].resources.clear()), "Task 'b' is invalid: Task uses no resources");
    says(refusal(|_, tasks| tasks[1].task_id = tasks[0].task_id.clone()), "Task has duplicate ID: a");
    says(refusal(|_, tasks| tasks[0].resources = vec![cpus(3.0)]), "more than available");
    says(refusal(|executor, _| executor.r#type = None), "'ExecutorInfo.command' must be set");
    says(refusal(|executor, _| executor.resources = vec![cpus(0.5), scalar("disk", 1.0)]), "uses less memory");
    says(refusal(|executor, _| executor.resources = vec![cpus(0.5), mem(64.0)]), "uses no disk");
    says(refusal(|executor, _| executor.framework_id = None), "invalid FrameworkID");
    let other = |executor: &mut ExecutorInfo, tasks: &mut Vec<TaskInfo>| {
        tasks[0].executor = Some(ExecutorInfo { name: Some("other".into()), ..executor.clone() });
    };
    says(refusal(other), "is different from executor 'e'");
}
