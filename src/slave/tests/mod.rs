//! Scenarios of a slave's life, with invented time and a master that is this file.

mod absence;
mod accounting;
mod authentication;
mod counting;
mod dialect;
mod driver;
mod executors;
mod executors_of_2012;
mod group_refusals;
mod groups;
mod killing;
mod properties;
mod refusing;
mod replay;
mod requests;
mod streams;
mod times;
mod touch;
mod weight;
mod world;

use std::time::{Duration, Instant};

use super::*;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::task_status::{Reason, Source};
use crate::messages::mesos::{TaskState, framework_info};
use world::{MASTER, OBSERVER, Wanted, World, framework, pid, task};

#[test]
fn a_slave_registers_within_its_backoff_and_again_until_it_is_answered() {
    let mut world = World::new();
    let wanted = world.event(Event::MasterDetected(pid(MASTER)));
    assert_eq!(wanted.linked, [pid(MASTER)]);
    let first: RegisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(first.slave.hostname, "host");
    assert_eq!(first.version(), "1.11.0");
    let mut sent = 0;
    for _ in 0..600 {
        sent += world.later(Duration::from_secs(1)).messages::<RegisterSlaveMessage>().len();
    }
    assert!((10..=24).contains(&sent), "{sent} registrations in ten minutes");
}

#[test]
fn a_slave_that_waits_for_its_master_is_asleep_until_the_next_registration() {
    let mut world = World::new();
    assert_eq!(world.slave.deadline(), None);
    world.event(Event::MasterDetected(pid(MASTER)));
    world.later(Duration::from_secs(1));
    assert!(world.slave.deadline().expect("deadline") > world.now.instant);
}

#[test]
fn a_ping_is_answered_to_its_sender() {
    let mut world = World::registered();
    let wanted = world.ping(true);
    assert_eq!(wanted.sent[0].0, pid(OBSERVER));
    wanted.only::<PongSlaveMessage>();
}

#[test]
fn a_master_that_stops_pinging_is_asked_again_with_our_id() {
    let mut world = World::registered();
    world.later(Duration::from_secs(60));
    world.ping(true);
    assert!(world.later(Duration::from_secs(60)).linked.is_empty());
    assert_eq!(world.later(Duration::from_secs(16)).linked, [pid(MASTER)]);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.slave.id.expect("id").value, "S0");
}

#[test]
fn a_ping_that_says_disconnected_leads_to_re_registration_with_the_tasks() {
    let mut world = World::registered();
    world.running("t");
    world.ping(false);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.tasks.len(), 1);
    assert_eq!(again.tasks[0].state(), TaskState::TaskRunning);
    assert_eq!(again.tasks[0].executor_id, None);
    assert_eq!(again.frameworks.len(), 1);
    assert!(again.executor_infos.is_empty());
}

#[test]
fn a_message_from_somebody_else_than_the_master_is_dropped() {
    let mut world = World::registered();
    let wanted = world.event(Event::Message {
        from: pid("master@127.0.0.1:6666"),
        message: FromMaster::RunTask(Box::new(RunTaskMessage {
            framework: framework(),
            task: task("t"),
            ..Default::default()
        })),
    });
    assert!(wanted.launched.is_empty());
}

#[test]
fn a_command_task_becomes_a_container_with_mesos_environment_and_user() {
    let mut world = World::registered();
    let mut info = task("t");
    if let Some(command) = &mut info.command {
        command.user = Some("alice".into());
        command.environment = Some(mesos::Environment {
            variables: vec![mesos::environment::Variable {
                name: "A".into(),
                value: Some("$b 'c'".into()),
                ..Default::default()
            }],
        });
    }
    let spec = world.run(info).launched.remove(0);
    assert_eq!(spec.user(), "alice");
    let own = format!("/work_dir/slaves/S0/frameworks/F/executors/t/runs/{}", spec.container_id);
    assert_eq!(spec.sandbox, own);
    let value = |name: &str| {
        let found = spec.environment.iter().find(|each| each.name == name);
        found.map(|each| each.value.as_str())
    };
    assert_eq!(value("MESOS_SANDBOX"), Some(own.as_str()));
    assert_eq!(value("MESOS_FRAMEWORK_ID"), Some("F"));
    assert_eq!(value("A"), Some("$b 'c'"));
}

#[test]
fn updates_go_out_one_at_a_time_and_again_until_acknowledged() {
    let mut world = World::registered();
    let spec = world.run(task("t")).launched.remove(0);
    let container = ContainerId::new(spec.container_id).expect("id");
    let wanted = world.status(&container, "t", TaskState::TaskStarting, 1);
    assert_eq!(wanted.acknowledged, [vec![1; 16]]);
    assert_eq!(wanted.statuses()[0].state(), TaskState::TaskStarting);
    assert!(world.status(&container, "t", TaskState::TaskRunning, 2).statuses().is_empty());
    let again = world.later(Duration::from_secs(10)).only::<StatusUpdateMessage>();
    assert_eq!(again.update.uuid(), [1; 16]);
    assert_eq!(again.update.latest_state(), TaskState::TaskRunning);
    assert!(world.later(Duration::from_secs(15)).statuses().is_empty());
    assert_eq!(world.later(Duration::from_secs(5)).statuses().len(), 1);
    let next = world.acknowledge("t", 1).only::<StatusUpdateMessage>();
    assert_eq!(next.update.uuid(), [2; 16]);
    assert!(world.acknowledge("t", 1).sent.is_empty());
    assert!(world.acknowledge("t", 2).sent.is_empty());
    assert!(world.later(Duration::from_secs(3600)).statuses().is_empty());
}

#[test]
fn a_finished_task_is_forgotten_when_its_container_is_gone_and_its_update_acknowledged() {
    let mut world = World::registered();
    let container = world.running("t");
    world.status(&container, "t", TaskState::TaskFinished, 2);
    world.gone(&container, None);
    assert_eq!(world.slave.frameworks().len(), 1);
    world.acknowledge("t", 2);
    assert!(world.slave.frameworks().is_empty());
}

#[test]
fn a_container_that_dies_fails_its_task_with_the_reason() {
    let mut world = World::registered();
    let container = world.running("t");
    let status = world.gone(&container, Some("killed by signal SIGKILL")).statuses().remove(0);
    assert_eq!(status.state(), TaskState::TaskFailed);
    assert_eq!(status.reason(), Reason::ExecutorTerminated);
    assert!(status.message().contains("SIGKILL"), "{}", status.message());
}

#[test]
fn a_container_that_cannot_be_launched_fails_its_task() {
    let mut world = World::registered();
    let spec = world.run(task("t")).launched.remove(0);
    let container = ContainerId::new(spec.container_id).expect("id");
    let status = world.gone(&container, Some("no space left on device")).statuses().remove(0);
    assert_eq!(status.reason(), Reason::ContainerLaunchFailed);
}

#[test]
fn a_second_task_with_the_same_id_is_dropped_and_the_first_goes_on() {
    let mut world = World::registered();
    let container = world.running("t");
    let second = world.run(task("t"));
    assert!(second.launched.is_empty() && second.sent.is_empty());
    let wanted = world.status(&container, "t", TaskState::TaskFinished, 9);
    assert_eq!(wanted.acknowledged.len(), 1);
    assert_eq!(wanted.statuses()[0].state(), TaskState::TaskFinished);
}

#[test]
fn an_older_status_that_a_child_repeats_does_not_turn_the_task_back() {
    let mut world = World::registered();
    let spec = world.run(task("t")).launched.remove(0);
    let container = ContainerId::new(spec.container_id).expect("id");
    for (state, uuid) in [(TaskState::TaskStarting, 1), (TaskState::TaskRunning, 2)] {
        world.status(&container, "t", state, uuid);
        world.acknowledge("t", uuid);
    }
    let wanted = world.status(&container, "t", TaskState::TaskStarting, 1);
    assert_eq!(wanted.acknowledged, [vec![1; 16]]);
    assert!(wanted.sent.is_empty());
    world.ping(false);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.tasks[0].state(), TaskState::TaskRunning);
}

#[test]
fn a_refusal_is_not_repeated_to_a_framework_that_is_gone() {
    let mut world = World::registered();
    assert_eq!(world.run(mesos::TaskInfo { command: None, ..task("t") }).statuses().len(), 1);
    assert_eq!(world.later(Duration::from_secs(10)).statuses().len(), 1);
    let message = ShutdownFrameworkMessage { framework_id: mesos::FrameworkId { value: "F".into() } };
    world.hear(FromMaster::ShutdownFramework(Box::new(message)));
    assert!(world.later(Duration::from_secs(3600)).statuses().is_empty());
}

#[test]
fn a_task_that_comes_while_the_slave_stops_was_never_started() {
    let mut world = World::registered();
    world.running("t");
    world.event(Event::Stop);
    let wanted = world.run(task("u"));
    assert!(wanted.launched.is_empty());
    let status = wanted.statuses().remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskDropped, Reason::SlaveDisconnected));
}

#[test]
fn a_slave_that_has_left_the_cluster_does_not_register_again_while_its_containers_end() {
    let mut world = World::registered();
    let container = world.running("t");
    assert_eq!(world.event(Event::Unregister).killed.len(), 1);
    world.event(Event::Exited(pid(MASTER)));
    assert!(world.later(Duration::from_secs(90)).sent.is_empty());
    assert!(world.event(Event::MasterDetected(pid("master@127.0.0.1:6666"))).linked.is_empty());
    assert!(world.later(Duration::from_secs(90)).sent.is_empty());
    assert!(world.gone(&container, None).exit);
}

#[test]
fn without_any_master_containers_go_on_and_the_next_master_hears_what_became_of_them() {
    let mut world = World::registered();
    let container = world.running("t");
    let wanted = world.event(Event::MasterLost);
    assert!(wanted.killed.is_empty() && wanted.sent.is_empty());
    assert!(world.slave.registered_master().is_none());
    assert!(world.status(&container, "t", TaskState::TaskFinished, 2).statuses().is_empty());
    world.gone(&container, None);
    assert!(world.later(Duration::from_secs(3600)).sent.is_empty());
    assert_eq!(world.slave.deadline(), None, "nothing to wake up for");
    let next = pid("master@127.0.0.1:6666");
    assert_eq!(world.event(Event::MasterDetected(next.clone())).linked, [next]);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.slave.id.expect("id").value, "S0");
    assert_eq!(again.tasks[0].state(), TaskState::TaskFinished);
}

#[test]
fn a_slave_that_is_stopped_waits_for_its_containers_and_their_last_updates() {
    let mut world = World::registered();
    let container = world.running("t");
    let wanted = world.event(Event::Stop);
    assert_eq!(wanted.killed.len(), 1);
    assert!(!wanted.exit);
    world.status(&container, "t", TaskState::TaskKilled, 2);
    assert!(!world.gone(&container, None).exit);
    assert!(world.acknowledge("t", 2).exit);
}

#[test]
fn a_slave_that_is_stopped_does_not_wait_for_a_master_for_ever() {
    let mut world = World::registered();
    let container = world.running("t");
    world.event(Event::Stop);
    world.status(&container, "t", TaskState::TaskKilled, 2);
    world.gone(&container, None);
    assert!(world.slave.deadline().expect("deadline") <= world.now.instant + Duration::from_secs(2));
    assert!(world.later(Duration::from_secs(2)).exit);
}

#[test]
fn updates_of_the_time_without_a_master_are_sent_on_return() {
    let mut world = World::registered();
    let container = world.running("t");
    world.event(Event::Exited(pid(MASTER)));
    let wanted = world.status(&container, "t", TaskState::TaskFinished, 2);
    assert!(wanted.statuses().is_empty());
    world.gone(&container, None);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.tasks[0].state(), TaskState::TaskFinished);
    let wanted = world.hear(FromMaster::Reregistered(Box::new(SlaveReregisteredMessage {
        slave_id: mesos::SlaveId { value: "S0".into() },
        ..Default::default()
    })));
    assert_eq!(wanted.statuses()[0].state(), TaskState::TaskFinished);
}

#[test]
fn a_task_that_the_master_has_and_we_do_not_is_reported_on_return() {
    let mut world = World::registered();
    let message = SlaveReregisteredMessage {
        slave_id: mesos::SlaveId { value: "S0".into() },
        reconciliations: vec![ReconcileTasksMessage {
            framework_id: mesos::FrameworkId { value: "F".into() },
            statuses: vec![mesos::TaskStatus {
                task_id: mesos::TaskId { value: "lost".into() },
                state: TaskState::TaskRunning as i32,
                ..Default::default()
            }],
            framework: Some(framework()),
        }],
        ..Default::default()
    };
    world.event(Event::Exited(pid(MASTER)));
    let wanted = world.hear(FromMaster::Reregistered(Box::new(message)));
    let status = wanted.statuses().remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskDropped, Reason::Reconciliation));
}

#[test]
fn unregistering_says_so_and_ends() {
    let mut world = World::registered();
    let wanted = world.event(Event::Unregister);
    assert_eq!(wanted.only::<UnregisterSlaveMessage>().slave_id.value, "S0");
    assert!(wanted.exit);
}
