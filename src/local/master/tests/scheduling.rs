//! Schedulers: subscription, streams, failover, end.

use super::super::frameworks::MAX_FRAMEWORKS;
use super::*;

fn error(world: &mut World, scheduler: &Scheduler) -> Option<String> {
    world.events(scheduler).into_iter().find_map(|event| event.error).map(|error| error.message)
}

#[test]
fn a_scheduler_hears_heartbeats() {
    let mut world = World::new();
    let scheduler = world.framework();
    let heartbeats = |world: &mut World| {
        let peer = scheduler.peer;
        world
            .taken(|action| match action {
                Action::Event { peer: whom, event } if *whom == peer => {
                    (event.r#type() == scheduler::event::Type::Heartbeat).then_some(())
                }
                _ => None,
            })
            .len()
    };
    assert_eq!(heartbeats(&mut world), 1);
    world.pass(Duration::from_secs(45));
    assert_eq!(heartbeats(&mut world), 3);
}

#[test]
fn a_call_must_be_that_of_the_present_scheduler() {
    let mut world = World::new();
    let scheduler = world.framework();
    let revive = |id: &mesos::FrameworkId| Box::new(Call { framework_id: Some(id.clone()), ..of(call::Type::Revive) });
    let answer = |world: &mut World, id: &mesos::FrameworkId, stream_id: Option<&str>| {
        let peer = world.peer();
        world.handle(Event::Call { peer, stream_id: stream_id.map(String::from), call: revive(id) });
        world.answers().remove(0)
    };
    let own = stream_id(scheduler.peer);
    assert_eq!(answer(&mut world, &scheduler.id, Some(&own)).0, 202);
    assert_eq!(answer(&mut world, &scheduler.id, None).0, 400);
    assert!(answer(&mut world, &scheduler.id, Some("other")).1.starts_with("The stream ID 'other' included"));
    let unknown = mesos::FrameworkId { value: "unknown".into() };
    assert_eq!(answer(&mut world, &unknown, Some(&own)), (400, "Framework cannot be found".into()));
    let lasting = world.subscribe(FrameworkInfo { failover_timeout: Some(60.0), ..framework_info(&[]) });
    world.handle(Event::Closed { peer: lasting.peer });
    let own = stream_id(lasting.peer);
    assert_eq!(answer(&mut world, &lasting.id, Some(&own)), (403, "Framework is not subscribed".into()));
}

/// Makes a call and gives what is answered.
fn answer_to(world: &mut World, scheduler: &Scheduler, call: Call) -> (u16, String) {
    let peer = world.peer();
    let call = Box::new(Call { framework_id: Some(scheduler.id.clone()), ..call });
    world.handle(Event::Call { peer, stream_id: Some(stream_id(scheduler.peer)), call });
    world.answers().remove(0)
}

#[test]
fn every_call_is_taken_but_one_that_is_none() {
    let mut world = World::new();
    let scheduler = world.framework();
    let unknown = answer_to(&mut world, &scheduler, of(call::Type::Unknown));
    assert_eq!(unknown, (501, "the embedded master does not do UNKNOWN".into()));
    use call::Type::*;
    for kind in [AcceptInverseOffers, DeclineInverseOffers, AcknowledgeOperationStatus, Request] {
        assert_eq!(answer_to(&mut world, &scheduler, of(kind)).0, 202, "{}", kind.as_str_name());
    }
}

#[test]
fn operations_are_unknown_here_and_said_to_be() {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(1.0)]);
    let scheduler = world.framework();
    let here = world.offers(&scheduler)[0].slave_id.clone();
    assert!(!world.sent::<SlaveRegisteredMessage>(&slave).is_empty());
    let named = |slave_id: Option<mesos::SlaveId>| call::reconcile_operations::Operation {
        operation_id: mesos::OperationId { value: "o".into() },
        slave_id,
        resource_provider_id: None,
    };
    let elsewhere = mesos::SlaveId { value: "elsewhere".into() };
    let reconcile_operations =
        call::ReconcileOperations { operations: vec![named(Some(here)), named(Some(elsewhere)), named(None)] };
    let call = Call { reconcile_operations: Some(reconcile_operations), ..of(call::Type::ReconcileOperations) };
    assert_eq!(answer_to(&mut world, &scheduler, call).0, 202);
    let updates = world.events(&scheduler).into_iter().filter_map(|event| event.update_operation_status);
    let texts: Vec<_> = updates.map(|update| (update.status.state(), update.status.message().to_owned())).collect();
    let unknown = mesos::OperationState::OperationUnknown;
    assert_eq!(
        texts,
        [
            (unknown, "Reconciliation: Operation is unknown".to_owned()),
            (unknown, "Reconciliation: Both operation and agent are unknown".to_owned()),
            (unknown, "Reconciliation: Operation is unknown and no 'agent_id' was provided".to_owned()),
        ]
    );
}

#[test]
fn a_framework_describes_itself_anew_but_stays_the_same_user() {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(1.0)]);
    let scheduler = world.framework();
    world.offers(&scheduler);
    let info = |user: &str| FrameworkInfo {
        id: Some(scheduler.id.clone()),
        user: user.into(),
        webui_url: Some("http://x".into()),
        ..framework_info(&[])
    };
    let update = |user: &str| Call {
        update_framework: Some(call::UpdateFramework { framework_info: info(user), ..Default::default() }),
        ..of(call::Type::UpdateFramework)
    };
    assert_eq!(answer_to(&mut world, &scheduler, update("root")).0, 200);
    let told = world.sent::<UpdateFrameworkMessage>(&slave).remove(0);
    assert_eq!(told.framework_info, Some(info("root")));
    let (status, text) = answer_to(&mut world, &scheduler, update("nobody"));
    assert_eq!(status, 400);
    assert!(text.ends_with("Updating 'FrameworkInfo.user' is unsupported"), "{text}");
    assert!(world.sent::<UpdateFrameworkMessage>(&slave).is_empty());
}

#[test]
fn a_scheduler_that_fails_over_takes_the_framework_with_its_tasks() {
    let (mut world, slave, old, run) = World::with_running_task();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.offers(&old).len(), 1);
    let new = world.subscribe(run.framework.clone());
    assert_eq!(new.id, old.id);
    assert_eq!(error(&mut world, &old).as_deref(), Some("Framework failed over"));
    assert!(world.is_closed(old.peer));
    assert_eq!(world.sent::<UpdateFrameworkMessage>(&slave).len(), 1);
    assert_eq!(
        amount(&world.offers(&new)[0], "cpus"),
        3.0,
        "the old one's offer is taken back, the task holds one CPU"
    );
    // The old connection's end means nothing any more.
    world.handle(Event::Closed { peer: old.peer });
    world.report(&slave, &run, TaskState::TaskFinished);
    assert_eq!(world.updates(&new)[0].state(), TaskState::TaskFinished);
}

#[test]
fn a_framework_without_failover_timeout_is_over_when_its_connection_closes() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    world.handle(Event::Closed { peer: scheduler.peer });
    assert_eq!(world.sent::<ShutdownFrameworkMessage>(&slave)[0].framework_id, scheduler.id);
    assert!(world.core.tasks.is_empty());
    let again = world.subscribe(run.framework.clone());
    assert_eq!(error(&mut world, &again).as_deref(), Some("Framework has been removed"));
    assert!(world.is_closed(again.peer));
}

#[test]
fn a_framework_with_failover_timeout_waits_that_long() {
    let mut world = World::new();
    let slave = world.slave(5051, &[cpus(4.0)]);
    let scheduler = world.subscribe(FrameworkInfo { failover_timeout: Some(30.0), ..framework_info(&[]) });
    world.handle(Event::Closed { peer: scheduler.peer });
    world.pass(Duration::from_secs(29));
    assert!(world.sent::<ShutdownFrameworkMessage>(&slave).is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.sent::<ShutdownFrameworkMessage>(&slave).len(), 1);
}

#[test]
fn teardown_ends_the_framework_and_frees_what_it_held() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let other = world.framework();
    world.offers(&other);
    world.call(&scheduler, of(call::Type::Teardown));
    assert_eq!(world.sent::<ShutdownFrameworkMessage>(&slave).len(), 1);
    assert!(world.is_closed(scheduler.peer));
    assert_eq!(amount(&world.offers(&other)[0], "cpus"), 1.0);
    // What the slave still says of the task is of no interest.
    world.report(&slave, &run, TaskState::TaskKilled);
    assert!(world.events(&other).is_empty());
}

#[test]
fn a_slave_that_comes_with_an_ended_framework_is_told_to_shut_it_down() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    let task = world.core.tasks.values().next().cloned().expect("the task");
    world.call(&scheduler, of(call::Type::Teardown));
    world.actions.clear();
    let info = SlaveInfo { id: Some(task.slave_id.clone()), hostname: "localhost".into(), ..Default::default() };
    let message = ReregisterSlaveMessage {
        slave: info,
        tasks: vec![task],
        version: Some("1.11.0".into()),
        frameworks: vec![run.framework],
        ..Default::default()
    };
    world.hear(&slave, &message);
    assert_eq!(world.sent::<ShutdownFrameworkMessage>(&slave).len(), 1);
    assert!(world.core.tasks.is_empty());
}

#[test]
fn the_number_of_frameworks_is_bounded() {
    let mut world = World::new();
    for _ in 0..MAX_FRAMEWORKS {
        world.framework();
    }
    let one_more = world.framework();
    assert!(
        error(&mut world, &one_more).expect("refused").starts_with("the embedded master takes at most 256 frameworks")
    );
    assert!(world.is_closed(one_more.peer));
}

#[test]
fn roles_that_contradict_the_capabilities_are_refused() {
    let mut world = World::new();
    let wrong = [
        FrameworkInfo { role: Some("a".into()), ..framework_info(&[capability::Type::MultiRole]) },
        FrameworkInfo { roles: vec!["a".into()], ..framework_info(&[]) },
        FrameworkInfo { role: Some("a b".into()), ..framework_info(&[]) },
    ];
    for info in wrong {
        let scheduler = world.subscribe(info);
        assert!(error(&mut world, &scheduler).is_some());
    }
}
