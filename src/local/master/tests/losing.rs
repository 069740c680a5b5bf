//! Slaves: registration, pings, loss, return.

use super::*;
use crate::messages::mesos::Task;
use crate::messages::mesos::task_status::Reason;

#[test]
fn a_registration_that_is_sent_again_gets_the_same_id() {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(4.0)]);
    world.slave(5051, &[cpus(4.0)]);
    let other = world.slave(5052, &[cpus(4.0)]);
    let ids: Vec<String> =
        world.sent::<SlaveRegisteredMessage>(&slave).into_iter().map(|one| one.slave_id.value).collect();
    assert_eq!(ids, [format!("{MASTER}-S0"), format!("{MASTER}-S0")]);
    assert_eq!(world.sent::<SlaveRegisteredMessage>(&other)[0].slave_id.value, format!("{MASTER}-S1"));
}

#[test]
fn a_slave_older_than_1_0_or_with_impossible_resources_is_ignored() {
    let mut world = World::new();
    let pid = slave_pid(5051);
    for version in ["0.28.2", "", "x.y"] {
        world.hear(&pid, &RegisterSlaveMessage { version: Some(version.into()), ..Default::default() });
    }
    let slave = SlaveInfo { resources: vec![cpus(f64::NAN)], ..Default::default() };
    let version = Some("1.11.0".into());
    world.hear(&pid, &RegisterSlaveMessage { slave, version, ..Default::default() });
    assert!(world.actions.is_empty());
}

#[test]
fn a_slave_that_answers_its_pings_stays() {
    let (mut world, slave, scheduler, _) = World::with_running_task();
    for _ in 0..20 {
        world.pass(Duration::from_secs(15));
        assert_eq!(world.sent::<PingSlaveMessage>(&slave), [PingSlaveMessage { connected: true }]);
        world.hear_at("slave-observer(1)", &slave, &PongSlaveMessage {});
    }
    assert!(world.updates(&scheduler).is_empty());
}

#[test]
fn a_slave_that_misses_five_pings_is_lost_with_its_tasks_and_offers() {
    let (mut world, _, aware, _) = World::with_running_task();
    let unaware = world.subscribe(framework_info(&[]));
    let offers = world.offers(&unaware);
    world.accept(&unaware, &offers, vec![task("u", &offers[0], 1.0)]);
    world.pass(Duration::from_secs(59));
    world.actions.clear();
    world.pass(Duration::from_secs(16));
    let events = world.events(&aware);
    let status = &events[0].update.as_ref().expect("update").status;
    assert_eq!((status.state(), status.reason()), (TaskState::TaskUnreachable, Reason::SlaveRemoved));
    assert!(status.unreachable_time.is_some());
    assert!(events.iter().any(|event| event.failure.is_some()));
    assert_eq!(world.updates(&unaware)[0].state(), TaskState::TaskLost);
    assert!(world.core.offers.is_empty());
    // The id of the task that may still run is not free.
    assert_eq!(world.core.unreachable_tasks.len(), 1);
}

#[test]
fn a_broken_connection_rescinds_offers_and_tells_the_slave_to_register_again() {
    let (mut world, slave, scheduler, _) = World::with_running_task();
    world.pass(Duration::from_secs(5));
    let offers = world.offers(&scheduler);
    assert_eq!(offers.len(), 1);
    world.handle(Event::Exited { pid: slave.clone() });
    let events = world.events(&scheduler);
    assert_eq!(events[0].rescind.as_ref().map(|one| one.offer_id.clone()), Some(offers[0].id.clone()));
    let status = &events[1].update.as_ref().expect("update").status;
    assert_eq!((status.state(), status.reason()), (TaskState::TaskLost, Reason::SlaveDisconnected));
    world.pass(Duration::from_secs(15));
    assert_eq!(world.sent::<PingSlaveMessage>(&slave), [PingSlaveMessage { connected: false }]);
}

#[test]
fn a_checkpointing_framework_keeps_its_task_while_its_slave_restarts() {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(4.0), mem(1024.0)]);
    let scheduler = world.subscribe(FrameworkInfo { checkpoint: Some(true), ..framework_info(&[]) });
    let offers = world.offers(&scheduler);
    world.accept(&scheduler, &offers, vec![task("t", &offers[0], 1.0), task("lost", &offers[0], 1.0)]);
    let run = world.sent::<RunTaskMessage>(&slave).remove(0);
    world.report(&slave, &run, TaskState::TaskRunning);
    world.handle(Event::Exited { pid: slave.clone() });
    world.actions.clear();

    let task = world.core.tasks.values().find(|one| one.name == "t").cloned().expect("the task");
    let info = SlaveInfo {
        id: Some(task.slave_id.clone()),
        hostname: "localhost".into(),
        resources: vec![cpus(4.0), mem(1024.0)],
        checkpoint: Some(true),
        ..Default::default()
    };
    let message = ReregisterSlaveMessage {
        slave: info,
        tasks: vec![task],
        version: Some("1.11.0".into()),
        frameworks: vec![run.framework.clone()],
        ..Default::default()
    };
    let again = slave_pid(5052);
    world.hear(&again, &message);
    let answer = world.sent::<SlaveReregisteredMessage>(&again).remove(0);
    let asked: Vec<&str> = answer.reconciliations[0].statuses.iter().map(|one| one.task_id.value.as_str()).collect();
    assert_eq!(asked, ["lost"], "the slave is asked about the task that it does not know");
    assert_eq!(world.sent::<UpdateFrameworkMessage>(&again).len(), 1);
    assert!(world.updates(&scheduler).is_empty());
    world.pass(Duration::from_secs(15));
    assert_eq!(world.sent::<PingSlaveMessage>(&again), [PingSlaveMessage { connected: true }]);
}

#[test]
fn a_kill_that_a_slave_missed_is_repeated_when_it_registers_again() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let task = world.core.tasks.values().next().cloned().expect("the task");
    let kill = call::Kill { task_id: run.task.task_id.clone(), ..Default::default() };
    world.call(&scheduler, Call { kill: Some(kill), ..of(call::Type::Kill) });
    world.actions.clear();
    let info = SlaveInfo { id: Some(task.slave_id.clone()), hostname: "localhost".into(), ..Default::default() };
    let version = Some("1.11.0".into());
    world.hear(&slave, &ReregisterSlaveMessage { slave: info, tasks: vec![task], version, ..Default::default() });
    assert_eq!(world.sent::<KillTaskMessage>(&slave).len(), 1);
}

#[test]
fn a_slave_that_does_not_come_back_in_ten_minutes_is_lost_although_it_answers() {
    let (mut world, slave, scheduler, _) = World::with_running_task();
    world.handle(Event::Exited { pid: slave.clone() });
    for _ in 0..39 {
        world.pass(Duration::from_secs(15));
        world.hear_at("slave-observer(1)", &slave, &PongSlaveMessage {});
    }
    assert!(world.events(&scheduler).iter().all(|event| event.failure.is_none()));
    world.pass(Duration::from_secs(15));
    assert!(world.events(&scheduler).iter().any(|event| event.failure.is_some()));
}

#[test]
fn a_slave_that_unregisters_is_gone_at_once() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let message = UnregisterSlaveMessage { slave_id: run.task.slave_id.clone() };
    world.hear(&slave_pid(6666), &message);
    assert!(world.events(&scheduler).is_empty(), "only the slave itself may say so");
    world.hear(&slave, &message);
    let status = world.updates(&scheduler).remove(0);
    assert_eq!(
        (status.state(), status.message()),
        (TaskState::TaskLost, "Agent localhost removed: the agent unregistered")
    );
}

#[test]
fn a_slave_that_moved_is_shut_down() {
    let (mut world, _, _, run) = World::with_running_task();
    let slave = SlaveInfo { id: Some(run.task.slave_id.clone()), hostname: "elsewhere".into(), ..Default::default() };
    let pid = slave_pid(5052);
    world.hear(&pid, &ReregisterSlaveMessage { slave, version: Some("1.11.0".into()), ..Default::default() });
    assert_eq!(world.sent::<ShutdownMessage>(&pid).len(), 1);
}

#[test]
fn a_new_registration_from_a_disconnected_slaves_place_replaces_it() {
    let (mut world, slave, scheduler, _) = World::with_running_task();
    world.handle(Event::Exited { pid: slave.clone() });
    world.actions.clear();
    world.slave(5051, &[cpus(4.0)]);
    assert_eq!(world.sent::<SlaveRegisteredMessage>(&slave)[0].slave_id.value, format!("{MASTER}-S1"));
    assert!(world.events(&scheduler).iter().any(|event| event.failure.is_some()));
}

#[test]
fn garbage_from_a_slave_changes_nothing() {
    let mut world = World::new();
    let name = RegisterSlaveMessage::full_name();
    world.handle(Event::Message { from: slave_pid(5051), to: "master".into(), name, body: vec![0xff; 100] });
    world.handle(Event::Message { from: slave_pid(5051), to: "master".into(), name: "x".into(), body: vec![] });
    world.handle(Event::Exited { pid: slave_pid(5051) });
    assert!(world.actions.is_empty());
}

#[test]
fn what_a_slave_brings_of_other_slaves_and_unknown_frameworks_is_not_taken() {
    let (mut world, _, _, run) = World::with_running_task();
    let task = world.core.tasks.values().next().cloned().expect("the task");
    let id = mesos::SlaveId { value: "elder-S7".into() };
    let foreign = Task { name: "foreign".into(), task_id: mesos::TaskId { value: "a".into() }, ..task.clone() };
    let orphan = Task {
        name: "orphan".into(),
        framework_id: mesos::FrameworkId { value: "nobody".into() },
        slave_id: id.clone(),
        ..task.clone()
    };
    let own = Task { name: "own".into(), task_id: mesos::TaskId { value: "b".into() }, slave_id: id.clone(), ..task };
    let slave =
        SlaveInfo { id: Some(id), hostname: "localhost".into(), resources: vec![cpus(2.0)], ..Default::default() };
    let message = ReregisterSlaveMessage {
        slave,
        tasks: vec![foreign, orphan, own],
        version: Some("1.11.0".into()),
        frameworks: vec![run.framework],
        ..Default::default()
    };
    world.hear(&slave_pid(5052), &message);
    let names: Vec<&str> = world.core.tasks.values().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["own", "t"]);
}

#[test]
fn a_framework_that_only_its_slave_knows_waits_ten_minutes_for_its_scheduler() {
    let (_, _, _, run) = World::with_running_task();
    let mut world = World::new();
    let id = run.task.slave_id.clone();
    let task = Task {
        name: "t".into(),
        task_id: run.task.task_id.clone(),
        framework_id: run.framework.id.clone().unwrap_or_default(),
        slave_id: id.clone(),
        resources: vec![cpus(1.0)],
        state: TaskState::TaskRunning as i32,
        ..Default::default()
    };
    let slave =
        SlaveInfo { id: Some(id), hostname: "localhost".into(), resources: vec![cpus(2.0)], ..Default::default() };
    let message = ReregisterSlaveMessage {
        slave,
        tasks: vec![task],
        version: Some("1.11.0".into()),
        frameworks: vec![run.framework],
        ..Default::default()
    };
    let pid = slave_pid(5051);
    world.hear(&pid, &message);
    let beat = |world: &mut World| {
        world.pass(Duration::from_secs(10));
        world.hear_at("slave-observer(1)", &pid, &PongSlaveMessage {});
    };
    (0..59).for_each(|_| beat(&mut world));
    assert!(world.sent::<ShutdownFrameworkMessage>(&pid).is_empty());
    beat(&mut world);
    assert_eq!(world.sent::<ShutdownFrameworkMessage>(&pid).len(), 1);
    assert!(world.core.tasks.is_empty());
}
