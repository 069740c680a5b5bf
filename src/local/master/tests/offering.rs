//! Who is offered what.

use super::super::accounts;
use super::*;
use crate::ids::SlaveId;

fn decline(world: &mut World, scheduler: &Scheduler, offers: &[mesos::Offer], refuse_seconds: Option<f64>) {
    let decline = call::Decline {
        offer_ids: offers.iter().map(|offer| offer.id.clone()).collect(),
        filters: refuse_seconds.map(|seconds| mesos::Filters { refuse_seconds: Some(seconds) }),
    };
    world.call(scheduler, Call { decline: Some(decline), ..of(call::Type::Decline) });
}

#[test]
fn a_declined_offer_goes_to_the_next_framework_and_comes_back_after_the_filter() {
    let mut world = World::new();
    world.slave(5051, &[cpus(4.0), mem(1024.0)]);
    let first = world.framework();
    let second = world.framework();
    let offers = world.offers(&first);
    assert_eq!(offers.len(), 1);
    assert!(world.offers(&second).is_empty());

    decline(&mut world, &first, &offers, None);
    let offers = world.offers(&second);
    assert_eq!(amount(&offers[0], "cpus"), 4.0);
    decline(&mut world, &second, &offers, Some(60.0));
    assert!(world.offers(&first).is_empty());

    world.pass(Duration::from_millis(4900));
    assert!(world.offers(&first).is_empty());
    world.pass(Duration::from_millis(100));
    assert_eq!(world.offers(&first).len(), 1);
}

#[test]
fn declining_for_no_time_does_not_make_a_hot_loop() {
    let mut world = World::new();
    world.slave(5051, &[cpus(4.0)]);
    let scheduler = world.framework();
    let offers = world.offers(&scheduler);
    decline(&mut world, &scheduler, &offers, Some(0.0));
    assert!(world.offers(&scheduler).is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.offers(&scheduler).len(), 1);
}

#[test]
fn more_resources_than_were_declined_are_offered_at_once() {
    let (mut world, slave, scheduler, run) = World::with_running_task();
    // The other three CPUs are filtered since the launch.
    assert!(world.offers(&scheduler).is_empty());
    world.report(&slave, &run, TaskState::TaskFinished);
    let offers = world.offers(&scheduler);
    assert_eq!(amount(&offers[0], "cpus"), 4.0);
    assert_eq!(amount(&offers[0], "mem"), 1024.0);
}

#[test]
fn suppressed_frameworks_get_nothing_until_they_revive() {
    let mut world = World::new();
    let scheduler = world.framework();
    world.call(&scheduler, of(call::Type::Suppress));
    world.slave(5051, &[cpus(4.0)]);
    assert!(world.offers(&scheduler).is_empty());
    world.call(&scheduler, of(call::Type::Revive));
    assert_eq!(world.offers(&scheduler).len(), 1);
}

#[test]
fn each_role_of_a_framework_is_suppressed_and_revived_by_itself() {
    let mut world = World::new();
    world.slave(5051, &[cpus(4.0)]);
    let roles = vec!["a".to_owned(), "b".to_owned()];
    let scheduler =
        world.subscribe(FrameworkInfo { roles: roles.clone(), ..framework_info(&[capability::Type::MultiRole]) });
    let role_offered = |world: &mut World| {
        let offers = world.offers(&scheduler);
        let roles = offers.iter().map(|offer| offer.allocation_info.clone().unwrap_or_default().role().to_owned());
        let roles: Vec<String> = roles.collect();
        decline(world, &scheduler, &offers, Some(1.0));
        roles
    };
    assert_eq!(role_offered(&mut world), ["a"], "the first role comes first");
    assert_eq!(role_offered(&mut world), ["b"], "what is declined for one role is offered for the next");
    let only = |role: &str| vec![role.to_owned()];
    let suppress = |roles| Call { suppress: Some(call::Suppress { roles }), ..of(call::Type::Suppress) };
    world.call(&scheduler, suppress(only("a")));
    world.pass(Duration::from_secs(1));
    assert_eq!(role_offered(&mut world), ["b"]);
    world.call(&scheduler, suppress(only("another's")));
    world.pass(Duration::from_secs(1));
    assert_eq!(role_offered(&mut world), ["b"], "a call about another's role is dropped");
    world.call(&scheduler, suppress(Vec::new()));
    world.pass(Duration::from_secs(60));
    assert!(role_offered(&mut world).is_empty());
    world.call(&scheduler, Call { revive: Some(call::Revive { roles: only("a") }), ..of(call::Type::Revive) });
    assert_eq!(role_offered(&mut world), ["a"]);
    assert!(role_offered(&mut world).is_empty());
}

#[test]
fn reviving_forgets_the_filters() {
    let mut world = World::new();
    world.slave(5051, &[cpus(4.0)]);
    let scheduler = world.framework();
    let offers = world.offers(&scheduler);
    decline(&mut world, &scheduler, &offers, Some(3600.0));
    assert!(world.offers(&scheduler).is_empty());
    world.call(&scheduler, of(call::Type::Revive));
    assert_eq!(world.offers(&scheduler).len(), 1);
}

#[test]
fn frameworks_take_turns_at_the_slaves() {
    let mut world = World::new();
    let schedulers: Vec<Scheduler> = (0..3).map(|_| world.framework()).collect();
    for port in 5051..5057 {
        world.slave(port, &[cpus(4.0)]);
    }
    let counts: Vec<usize> = schedulers.iter().map(|scheduler| world.offers(scheduler).len()).collect();
    assert_eq!(counts, [2, 2, 2]);
}

#[test]
fn nothing_is_lost_or_made_up_over_many_tasks_of_two_frameworks() {
    let mut world = World::new();
    let ports = Resource {
        name: "ports".into(),
        r#type: Type::Ranges as i32,
        ranges: Some(mesos::value::Ranges { range: vec![mesos::value::Range { begin: 31000, end: 32000 }] }),
        ..Default::default()
    };
    let all = [cpus(4.0), mem(1024.0), ports];
    let slave = world.slave(5051, &all);
    let id = SlaveId::new(format!("{MASTER}-S0")).expect("id");
    let schedulers = [world.framework(), world.framework()];
    let mut running: Vec<(usize, RunTaskMessage)> = Vec::new();
    for round in 0..40 {
        world.pass(Duration::from_secs(6));
        world.hear_at("slave-observer(1)", &slave, &PongSlaveMessage {});
        for (place, scheduler) in schedulers.iter().enumerate() {
            let offers = world.offers(scheduler);
            for offer in &offers {
                let task = task(&format!("{place}-{round}-{}", offer.id.value), offer, 0.1);
                world.accept(scheduler, std::slice::from_ref(offer), vec![task]);
                running.extend(world.sent::<RunTaskMessage>(&slave).into_iter().map(|run| (place, run)));
            }
        }
        if round % 3 == 0 && !running.is_empty() {
            let (_, run) = running.remove(0);
            world.report(&slave, &run, TaskState::TaskFailed);
        }
    }
    assert!(running.len() > 10, "only {} tasks run", running.len());
    for (place, run) in running {
        let uuid = world.report(&slave, &run, TaskState::TaskFinished);
        world.acknowledge(&schedulers[place], &run, &uuid);
    }
    schedulers.iter().for_each(|scheduler| world.handle(Event::Closed { peer: scheduler.peer }));
    let left = world.core.unused(&id);
    assert!(accounts::contains(&left, &all) && accounts::contains(&all, &left), "{}", accounts::text(&left));
}

#[test]
fn a_framework_of_several_roles_sees_the_allocation_and_an_old_one_the_role() {
    let mut world = World::new();
    world.slave(5051, &[cpus(4.0)]);
    let mut info = framework_info(&[capability::Type::MultiRole, capability::Type::ReservationRefinement]);
    info.roles = vec!["web".into()];
    let modern = world.subscribe(info);
    let offer = world.offers(&modern).remove(0);
    assert_eq!(offer.allocation_info.as_ref().map(|one| one.role()), Some("web"));
    assert_eq!(offer.resources[0].allocation_info, offer.allocation_info);
    assert_eq!(offer.resources[0].role, None);

    world.handle(Event::Closed { peer: modern.peer });
    let old = world.subscribe(framework_info(&[]));
    let offer = world.offers(&old).remove(0);
    assert_eq!(offer.allocation_info, None);
    assert_eq!(offer.resources, [Resource { role: Some("*".into()), ..cpus(4.0) }]);
}

#[test]
fn what_is_reserved_goes_to_its_role_only() {
    let mut world = World::new();
    let reserved = Resource { role: Some("web".into()), ..cpus(2.0) };
    world.slave(5051, &[cpus(4.0), reserved]);
    let anyone = world.framework();
    assert_eq!(amount(&world.offers(&anyone)[0], "cpus"), 4.0);
    let mut info = framework_info(&[]);
    info.role = Some("web".into());
    let web = world.subscribe(info);
    assert_eq!(amount(&world.offers(&web)[0], "cpus"), 2.0);
}
