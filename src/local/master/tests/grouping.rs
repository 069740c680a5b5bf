//! Groups of tasks: all of them or none.

use super::*;
use crate::local::master::accounts;
use crate::messages::mesos::{
    ContainerInfo, ExecutorInfo, HealthCheck, LinuxInfo, NetworkInfo, TaskGroupInfo, container_info, executor_info,
    health_check,
};

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
    let twice = |tasks: &mut Vec<TaskInfo>| tasks.iter_mut().for_each(|task| task.resources = vec![cpus(1.8)]);
    says(refusal(|_, tasks| twice(tasks)), "than available");
    let other = |executor: &mut ExecutorInfo, tasks: &mut Vec<TaskInfo>| {
        tasks[0].executor = Some(ExecutorInfo { name: Some("other".into()), ..executor.clone() });
    };
    says(refusal(other), "is different from executor 'e'");
}

/// A container of this type.
fn container(kind: container_info::Type) -> Option<ContainerInfo> {
    Some(ContainerInfo { r#type: kind as i32, ..Default::default() })
}

/// One that says whether it shares its executor's cgroups.
fn sharing(share: bool) -> Option<ContainerInfo> {
    let linux_info = LinuxInfo { share_cgroups: Some(share), ..Default::default() };
    container(container_info::Type::Mesos).map(|one| ContainerInfo { linux_info: Some(linux_info), ..one })
}

#[test]
fn an_executor_that_cannot_hold_a_group_refuses_it() {
    let says =
        |change: fn(&mut ExecutorInfo), wanted: &str| assert_eq!(refusal(|executor, _| change(executor)), wanted);
    let kind = |kind: executor_info::Type| Some(kind as i32);
    assert_eq!(refusal(|executor, _| executor.r#type = None), "'ExecutorInfo.type' must be set");
    assert_eq!(refusal(|executor, _| executor.r#type = kind(executor_info::Type::Unknown)), "Unknown executor type");
    assert_eq!(
        refusal(|executor, _| executor.r#type = kind(executor_info::Type::Custom)),
        "'ExecutorInfo.command' must be set for 'CUSTOM' executor"
    );
    let command = |executor: &mut ExecutorInfo| executor.command = Some(CommandInfo::default());
    says(command, "'ExecutorInfo.command' must not be set for 'DEFAULT' executor");
    let docker = |executor: &mut ExecutorInfo| executor.container = container(container_info::Type::Docker);
    says(docker, "'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor");
    says(|executor| executor.framework_id = None, "'ExecutorInfo.framework_id' must be set");
    let little = "Executor 'e' uses less memory (16) than the minimum required (32)";
    says(|executor| executor.resources = vec![cpus(0.5), mem(16.0), scalar("disk", 1.0)], little);
    let none = "Executor 'e' uses less CPUs (None) than the minimum required (0.01)";
    says(|executor| executor.resources = vec![mem(64.0), scalar("disk", 1.0)], none);
    says(|executor| executor.resources = vec![cpus(0.5), mem(64.0)], "Executor 'e' uses no disk");
    let shares = "The 'share_cgroups' field cannot be set to 'true' on executor containers";
    says(|executor| executor.container = sharing(true), shares);
}

#[test]
fn a_task_that_cannot_share_a_container_refuses_its_group() {
    let says = |change: fn(&mut TaskInfo), wanted: &str| assert_eq!(refusal(|_, tasks| change(&mut tasks[1])), wanted);
    let docker = |task: &mut TaskInfo| task.container = container(container_info::Type::Docker);
    says(docker, "Task 'b' is invalid: Docker ContainerInfo is not supported on the task");
    let networked = |task: &mut TaskInfo| {
        let tcp = health_check::TcpCheckInfo { port: 80, ..Default::default() };
        task.health_check =
            Some(HealthCheck { r#type: Some(health_check::Type::Tcp as i32), tcp: Some(tcp), ..Default::default() });
        task.container = container(container_info::Type::Mesos)
            .map(|one| ContainerInfo { network_infos: vec![NetworkInfo::default()], ..one });
    };
    let text = "HTTP and TCP health checks are not supported for nested containers not joining parent's network";
    says(networked, &format!("Task 'b' is invalid: {text}"));
    let limited = |task: &mut TaskInfo| {
        task.limits.insert("cpus".into(), mesos::value::Scalar { value: 2.0 });
    };
    let text = "Resource limits may only be set for tasks within a task group when the 'share_cgroups' field is set to 'false'.";
    says(limited, &format!("Task 'b' is invalid: {text}"));
    let text = "If set, the value of 'share_cgroups' must be the same for all tasks in each task group and under a single executor";
    says(|task| task.container = sharing(false), text);
}

#[test]
fn one_of_a_group_is_killed_and_the_executors_end_frees_what_it_had() {
    let (mut world, slave, scheduler, offer) = world();
    launch(&mut world, &scheduler, &offer, executor(&scheduler), vec![task("a", &offer, 1.0), task("b", &offer, 1.0)]);
    world.sent::<RunTaskGroupMessage>(&slave);
    let kill = call::Kill { task_id: mesos::TaskId { value: "a".into() }, ..Default::default() };
    world.call(&scheduler, Call { kill: Some(kill), ..of(call::Type::Kill) });
    let kills = world.sent::<KillTaskMessage>(&slave);
    assert_eq!(kills.iter().map(|kill| kill.task_id.value.as_str()).collect::<Vec<_>>(), ["a"]);
    // Of one task after the other, and of the executor last: what each had is free when its end is known.
    let (id, slave_id) = (scheduler.id.clone(), offer.slave_id.clone());
    for (task, state, free) in [("a", TaskState::TaskKilled, 2.5), ("b", TaskState::TaskKilled, 3.5)] {
        let status =
            TaskStatus { task_id: mesos::TaskId { value: task.into() }, state: state as i32, ..Default::default() };
        let update = StatusUpdate {
            framework_id: id.clone(),
            slave_id: Some(slave_id.clone()),
            executor_id: Some(mesos::ExecutorId { value: "e".into() }),
            status,
            timestamp: 1.0,
            uuid: Some(vec![7; 16]),
            latest_state: Some(state as i32),
        };
        world.hear(&slave, &StatusUpdateMessage { update, pid: None });
        assert_eq!(free_cpus(&world, &slave_id), free, "{task}");
    }
    let exited = ExitedExecutorMessage {
        slave_id: slave_id.clone(),
        framework_id: id.clone(),
        executor_id: mesos::ExecutorId { value: "e".into() },
        status: 0,
    };
    world.hear(&slave, &exited);
    assert_eq!(free_cpus(&world, &slave_id), 4.0);
    let failures = world.events(&scheduler).into_iter().filter_map(|event| event.failure);
    let ended: Vec<_> = failures.filter_map(|failure| Some((failure.executor_id?.value, failure.status?))).collect();
    assert_eq!(ended, [("e".to_string(), 0)]);
}

/// The CPUs that nobody uses on a slave, offered or not.
fn free_cpus(world: &World, slave: &mesos::SlaveId) -> f64 {
    let id = crate::ids::SlaveId::try_from(slave).expect("an id");
    let offered = world.core.offers.values().map(|offer| accounts::total(&offer.resources, "cpus")).sum::<f64>();
    accounts::total(&world.core.unused(&id), "cpus") + offered
}
