//! Tasks: launch, what is refused, updates, kill, reconciliation.

use super::*;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{ExecutorInfo, KillPolicy};

/// Launches one task from the first offer of a fresh world and gives the one update, if there is one.
fn refusal(change: impl FnOnce(&mut TaskInfo)) -> Option<TaskStatus> {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(4.0), mem(1024.0)]);
    let scheduler = world.framework();
    let offers = world.offers(&scheduler);
    let mut task = task("t", &offers[0], 1.0);
    change(&mut task);
    world.accept(&scheduler, &offers, vec![task]);
    let updates = world.updates(&scheduler);
    assert_eq!(updates.is_empty(), world.sent::<RunTaskMessage>(&slave).len() == 1);
    updates.into_iter().next()
}

#[test]
fn a_task_that_cannot_be_is_an_error_with_its_reason() {
    assert_eq!(refusal(|_| {}), None);
    let text = |change: fn(&mut TaskInfo)| {
        let status = refusal(change).expect("refused");
        assert_eq!(status.state(), TaskState::TaskError);
        assert_eq!(status.source(), Source::Master);
        assert_eq!(status.reason(), Reason::TaskInvalid);
        assert_eq!(status.uuid, None, "nobody would acknowledge it to a slave");
        status.message().to_owned()
    };
    assert_eq!(
        text(|task| task.resources = vec![cpus(5.0)]),
        "Total resources cpus:5 required by task and its executor is more than available cpus:4; mem:1024"
    );
    assert_eq!(text(|task| task.resources.clear()), "Task uses no resources");
    assert!(text(|task| task.resources = vec![cpus(-1.0)]).starts_with("Task uses invalid resources"));
    assert!(text(|task| task.task_id.value = "../x".into()).starts_with("Task has an invalid TaskID"));
    assert!(text(|task| task.slave_id.value = "other".into()).starts_with("Task uses invalid agent other"));
    assert!(text(|task| task.command = None).starts_with("Task should have at least one (but not both)"));
    let grace = |nanoseconds| Some(KillPolicy { grace_period: Some(mesos::DurationInfo { nanoseconds }) });
    assert_eq!(refusal(|task| task.kill_policy = grace(1)), None);
    assert!(refusal(|task| task.kill_policy = grace(-1)).is_some());
}

#[test]
fn two_tasks_of_one_offer_share_it_and_the_third_does_not_fit() {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(4.0), mem(1024.0)]);
    let scheduler = world.framework();
    let offers = world.offers(&scheduler);
    let tasks = ["a", "b", "c"].map(|id| task(id, &offers[0], 2.0)).to_vec();
    world.accept(&scheduler, &offers, tasks);
    let launched: Vec<String> =
        world.sent::<RunTaskMessage>(&slave).into_iter().map(|run| run.task.task_id.value).collect();
    assert_eq!(launched, ["a", "b"]);
    let updates = world.updates(&scheduler);
    assert_eq!((updates[0].task_id.value.as_str(), updates[0].state()), ("c", TaskState::TaskError));
}

#[test]
fn an_offer_can_be_accepted_once() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let offer = mesos::Offer { id: mesos::OfferId { value: "gone".into() }, ..Default::default() };
    let again = TaskInfo { task_id: mesos::TaskId { value: "u".into() }, ..run.task.clone() };
    world.accept(&scheduler, &[offer], vec![again]);
    let updates = world.updates(&scheduler);
    assert_eq!((updates[0].state(), updates[0].reason()), (TaskState::TaskDropped, Reason::InvalidOffers));
    assert_eq!(updates[0].message(), "Task launched with invalid offers: Offer gone is no longer valid");
    assert!(world.sent::<RunTaskMessage>(&slave).is_empty());
}

#[test]
fn the_id_of_a_task_that_is_not_acknowledged_is_still_taken() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let uuid = world.report(&slave, &run, TaskState::TaskFinished);
    let offers = world.offers(&scheduler);
    world.accept(&scheduler, &offers, vec![task("t", &offers[0], 1.0)]);
    assert_eq!(world.updates(&scheduler)[0].message(), "Task has duplicate ID: t");
    world.acknowledge(&scheduler, &run, &uuid);
    world.pass(Duration::from_secs(6));
    let offers = world.offers(&scheduler);
    world.accept(&scheduler, &offers, vec![task("t", &offers[0], 1.0)]);
    assert_eq!(world.sent::<RunTaskMessage>(&slave).len(), 1);
}

#[test]
fn an_update_that_is_sent_again_is_passed_on_again_and_acknowledged_to_the_slave() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let message = update_message(&run, TaskState::TaskFinished, &[9; 16]);
    for _ in 0..2 {
        world.hear(&slave, &message);
        let updates = world.updates(&scheduler);
        assert_eq!((updates[0].state(), updates[0].uuid()), (TaskState::TaskFinished, [9; 16].as_slice()));
    }
    for _ in 0..2 {
        world.acknowledge(&scheduler, &run, &[9; 16]);
        assert_eq!(world.sent::<StatusUpdateAcknowledgementMessage>(&slave)[0].uuid, [9; 16]);
    }
    assert!(world.core.tasks.is_empty());
}

#[test]
fn an_update_without_a_uuid_or_from_a_stranger_is_nobodys() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let mut message = update_message(&run, TaskState::TaskFinished, &[9; 16]);
    message.update.uuid = None;
    world.hear(&slave, &message);
    let mut message = update_message(&run, TaskState::TaskFinished, &[9; 16]);
    message.update.slave_id = Some(mesos::SlaveId { value: "stranger".into() });
    world.hear(&slave, &message);
    assert!(world.updates(&scheduler).is_empty());
}

#[test]
fn killing_an_unknown_task_tells_that_it_is_gone() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let kill = |slave_id| call::Kill { task_id: mesos::TaskId { value: "x".into() }, slave_id, kill_policy: None };
    for (slave_id, state) in [(Some(run.task.slave_id.clone()), TaskState::TaskGone), (None, TaskState::TaskUnknown)] {
        world.call(&scheduler, Call { kill: Some(kill(slave_id)), ..of(call::Type::Kill) });
        assert_eq!(world.updates(&scheduler)[0].state(), state);
    }
    assert!(world.sent::<KillTaskMessage>(&slave).is_empty());
}

#[test]
fn a_kill_carries_its_policy() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let policy = KillPolicy { grace_period: Some(mesos::DurationInfo { nanoseconds: 7 }) };
    let kill = call::Kill { task_id: run.task.task_id.clone(), slave_id: None, kill_policy: Some(policy) };
    world.call(&scheduler, Call { kill: Some(kill), ..of(call::Type::Kill) });
    assert_eq!(world.sent::<KillTaskMessage>(&slave)[0].kill_policy, Some(policy));
}

#[test]
fn reconciliation_without_names_tells_all_tasks_and_with_names_those() {
    let (mut world, _, scheduler, run) = World::with_running_task();
    let named = |id: &str| call::reconcile::Task { task_id: mesos::TaskId { value: id.into() }, slave_id: None };
    let ask = |tasks| Call { reconcile: Some(call::Reconcile { tasks }), ..of(call::Type::Reconcile) };
    world.call(&scheduler, ask(Vec::new()));
    let updates = world.updates(&scheduler);
    assert_eq!(updates.len(), 1);
    assert_eq!((updates[0].state(), updates[0].reason()), (TaskState::TaskRunning, Reason::Reconciliation));
    assert_eq!(updates[0].task_id, run.task.task_id);
    world.call(&scheduler, ask(vec![named("t"), named("u")]));
    let states: Vec<TaskState> = world.updates(&scheduler).iter().map(TaskStatus::state).collect();
    assert_eq!(states, [TaskState::TaskRunning, TaskState::TaskUnknown]);
}

#[test]
fn an_executor_is_launched_once_and_its_resources_count_until_it_ends() {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(4.0), mem(1024.0)]);
    let scheduler = world.framework();
    let offers = world.offers(&scheduler);
    let with_executor = |id: &str| {
        let executor = ExecutorInfo {
            executor_id: mesos::ExecutorId { value: "e".into() },
            command: Some(CommandInfo { value: Some("true".into()), ..Default::default() }),
            resources: vec![cpus(0.5)],
            ..Default::default()
        };
        TaskInfo { command: None, executor: Some(executor), ..task(id, &offers[0], 1.0) }
    };
    world.accept(&scheduler, &offers, vec![with_executor("a"), with_executor("b")]);
    let runs = world.sent::<RunTaskMessage>(&slave);
    assert_eq!(runs.iter().map(RunTaskMessage::launch_executor).collect::<Vec<_>>(), [true, false]);
    assert_eq!(runs[0].task.executor.as_ref().and_then(|one| one.framework_id.clone()), Some(scheduler.id.clone()));
    for run in &runs {
        world.report(&slave, run, TaskState::TaskFinished);
    }
    world.pass(Duration::from_secs(5));
    let offers = world.offers(&scheduler);
    assert_eq!(
        offers.iter().map(|offer| amount(offer, "cpus")).sum::<f64>(),
        3.5,
        "the executor still holds half a CPU"
    );
    let message = ExecutorToFrameworkMessage {
        slave_id: runs[0].task.slave_id.clone(),
        framework_id: scheduler.id.clone(),
        executor_id: mesos::ExecutorId { value: "e".into() },
        data: b"hello".to_vec(),
    };
    world.hear(&slave, &message);
    assert_eq!(world.events(&scheduler)[0].message.as_ref().map(|one| one.data.clone()), Some(b"hello".to_vec()));
    let exited = ExitedExecutorMessage {
        slave_id: message.slave_id,
        framework_id: message.framework_id,
        executor_id: message.executor_id,
        status: 9,
    };
    world.hear(&slave, &exited);
    let events = world.events(&scheduler);
    assert_eq!(events[0].failure.as_ref().and_then(|one| one.status), Some(9));
    let cpu: f64 = events
        .iter()
        .filter_map(|one| one.offers.as_ref())
        .flat_map(|one| &one.offers)
        .map(|one| amount(one, "cpus"))
        .sum();
    assert_eq!(cpu, 0.5);
}

#[test]
fn a_message_and_a_shutdown_for_an_executor_reach_its_slave() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let executor_id = mesos::ExecutorId { value: "e".into() };
    let slave_id = run.task.slave_id.clone();
    let message = call::Message { slave_id: slave_id.clone(), executor_id: executor_id.clone(), data: b"x".to_vec() };
    world.call(&scheduler, Call { message: Some(message), ..of(call::Type::Message) });
    assert_eq!(world.sent::<FrameworkToExecutorMessage>(&slave)[0].data, b"x");
    let shutdown = call::Shutdown { executor_id, slave_id };
    world.call(&scheduler, Call { shutdown: Some(shutdown), ..of(call::Type::Shutdown) });
    assert_eq!(world.sent::<ShutdownExecutorMessage>(&slave).len(), 1);
}
