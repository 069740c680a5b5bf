//! Who holds what, and what masters have reserved.

use super::refusing::{custom, run};
use super::*;
use crate::messages::mesos::resource::{ReservationInfo, reservation_info};
use crate::resources::{Resources, parse, scalar};

impl World {
    /// A registered slave that has these resources.
    fn with_resources(text: &str) -> World {
        let mut world = World::registered();
        world.slave.config.info.resources = parse(text).expect("resources");
        world
    }

    fn free(&self) -> String {
        let mut free = self.slave.total_resources();
        free.subtract_all(&self.slave.used_resources());
        free.to_string()
    }

    fn checkpoint(&mut self, resources: Vec<mesos::Resource>) -> Wanted {
        let message = CheckpointResourcesMessage { resources };
        self.hear(FromMaster::CheckpointResources(Box::new(message)))
    }
}

fn asking(name: &str, text: &str) -> mesos::TaskInfo {
    mesos::TaskInfo { resources: parse(text).expect("resources"), ..task(name) }
}

fn dynamic(resource: mesos::Resource, role: &str) -> mesos::Resource {
    let reservation = ReservationInfo {
        r#type: Some(reservation_info::Type::Dynamic as i32),
        role: Some(role.into()),
        ..Default::default()
    };
    mesos::Resource { reservations: vec![reservation], ..resource }
}

#[test]
fn tasks_hold_what_they_were_given_until_they_have_ended() {
    let mut world = World::with_resources("cpus:2;mem:512;ports:[1-10]");
    let spec = world.run(asking("t", "cpus:1.5;mem:512;ports:[2-3]")).launched.remove(0);
    let container = ContainerId::new(spec.container_id).expect("id");
    assert_eq!(world.free(), "cpus:0.5; ports:[1-1, 4-10]");
    world.status(&container, "t", TaskState::TaskRunning, 1);
    let status = world.run(asking("u", "cpus:1")).statuses().remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskDropped, Reason::InvalidOffers));
    assert!(status.message().contains("no cpus:1 left of"), "{}", status.message());
    world.status(&container, "t", TaskState::TaskFinished, 2);
    assert_eq!(world.free(), "cpus:2; mem:512; ports:[1-10]");
    assert_eq!(world.run(asking("v", "cpus:2")).launched.len(), 1);
}

#[test]
fn what_the_slave_never_had_is_unknown_to_it() {
    let mut world = World::with_resources("cpus:2;cpus(a):1");
    for text in ["cpus:3", "mem:1", "cpus(b):1", "cpus(a):2"] {
        let status = world.run(asking(text, text)).statuses().remove(0);
        assert_eq!((status.state(), status.reason()), (TaskState::TaskDropped, Reason::ResourcesUnknown), "{text}");
    }
    assert_eq!(world.run(asking("u", "cpus(a):1;cpus:2")).launched.len(), 1);
}

#[test]
fn a_framework_that_is_being_removed_holds_nothing_for_its_master_has_offered_it_to_others() {
    let mut world = World::with_resources("cpus:1");
    world.run(asking("t", "cpus:1"));
    assert!(world.run(asking("u", "cpus:1")).launched.is_empty());
    let message = ShutdownFrameworkMessage { framework_id: mesos::FrameworkId { value: "F".into() } };
    world.hear(FromMaster::ShutdownFramework(Box::new(message)));
    let mut other = run(asking("u", "cpus:1"), Some(true));
    other.framework.id = Some(mesos::FrameworkId { value: "G".into() });
    assert_eq!(world.hear(FromMaster::RunTask(Box::new(other))).launched.len(), 1);
}

#[test]
fn an_executor_that_holds_several_tasks_is_told_of_their_sum_when_one_comes_or_ends() {
    let mut world = World::with_resources("cpus:4");
    let container = world.with_executor("e", ExecutorState::Running);
    let mut give = |name, cpus| {
        let one = mesos::TaskInfo { resources: vec![scalar("cpus", cpus)], ..custom(name, "e") };
        world.hear(FromMaster::RunTask(Box::new(run(one, Some(false))))).changed
    };
    assert_eq!(give("a", 1.0), [(container.clone(), "cpus(allocated: *):1".to_string())]);
    assert_eq!(give("b", 0.5), [(container.clone(), "cpus(allocated: *):1.5".to_string())]);
    assert_eq!(world.free(), "cpus:2.5");
    let wanted = world.status(&container, "a", TaskState::TaskFinished, 1);
    assert_eq!(wanted.changed, [(container, "cpus(allocated: *):0.5".to_string())]);
    assert_eq!(world.free(), "cpus:3.5");
}

#[test]
fn an_old_masters_resources_are_completed_and_told_in_the_old_form() {
    let mut world = World::with_resources("cpus:2;cpus(web):1");
    let mut message = run(asking("t", "cpus:1"), None);
    message.framework.role = Some("web".into());
    message.task.resources = vec![mesos::Resource { role: Some("web".into()), ..scalar("cpus", 1.0) }];
    let spec = world.hear(FromMaster::RunTask(Box::new(message))).launched.remove(0);
    let given: Resources = spec.resources.iter().cloned().collect();
    assert_eq!(given.to_string(), "cpus(allocated: web)(reservations: [(STATIC,web)]):1");
    assert!(spec.environment.iter().any(|each| each.name == "MESOS_ALLOCATION_ROLE" && each.value == "web"));
    world.ping(false);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    for resource in again.slave.resources.iter().chain(&again.tasks[0].resources) {
        assert!(resource.role.is_some() && resource.reservations.is_empty(), "{resource:?}");
    }
    let task = &again.tasks[0].resources[0];
    assert_eq!((task.role(), task.allocation_info.as_ref().expect("allocated").role()), ("web", "web"));
}

#[test]
fn with_several_roles_and_none_said_a_task_is_an_error() {
    let mut world = World::with_resources("cpus:2");
    let mut message = run(asking("t", "cpus:1"), Some(true));
    message.framework.roles = vec!["a".into(), "b".into()];
    let multi = framework_info::capability::Type::MultiRole as i32;
    message.framework.capabilities = vec![framework_info::Capability { r#type: Some(multi) }];
    let wanted = world.hear(FromMaster::RunTask(Box::new(message)));
    assert_eq!(wanted.statuses()[0].reason(), Reason::TaskInvalid);
    assert_eq!(wanted.exits(), ["t"]);
}

#[test]
fn reservations_are_written_down_first_counted_and_told_with_the_next_registration() {
    let mut world = World::with_resources("cpus:2");
    let reserved = dynamic(scalar("cpus", 1.0), "a");
    let wanted = world.run(mesos::TaskInfo { resources: vec![reserved.clone()], ..task("early") });
    assert_eq!(wanted.statuses()[0].reason(), Reason::ResourcesUnknown);
    assert_eq!(world.checkpoint(vec![reserved.clone()]).checkpointed, [[reserved.clone()]]);
    assert_eq!(world.checkpoint(vec![reserved.clone()]).checkpointed.len(), 0, "nothing new");
    assert_eq!(world.slave.total_resources().to_string(), "cpus:1; cpus(reservations: [(DYNAMIC,a)]):1");
    assert_eq!(world.run(mesos::TaskInfo { resources: vec![reserved], ..task("t") }).launched.len(), 1);
    assert_eq!(world.free(), "cpus:1");
    world.ping(false);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    let told = &again.checkpointed_resources[0];
    assert_eq!((told.role(), told.reservation.is_some()), ("a", true));
    assert_eq!(world.checkpoint(Vec::new()).checkpointed, [Vec::new()]);
    assert_eq!(world.slave.total_resources().to_string(), "cpus:2");
}

#[test]
fn reservations_of_what_is_not_there_change_nothing() {
    let mut world = World::with_resources("cpus:2");
    for resource in [dynamic(scalar("cpus", 3.0), "a"), scalar("cpus", 1.0)] {
        assert!(world.checkpoint(vec![resource]).checkpointed.is_empty());
        assert_eq!(world.slave.total_resources().to_string(), "cpus:2");
    }
}

#[test]
fn a_slave_starts_with_the_reservations_that_it_has_kept_or_says_why_not() {
    let fresh = |text: &str| {
        let mut world = World::new();
        world.slave.config.info.resources = parse(text).expect("resources");
        world
    };
    let kept = vec![dynamic(scalar("cpus", 1.0), "a")];
    let mut world = fresh("cpus:2");
    world.slave = world.slave.with_checkpointed(kept.clone()).expect("compatible");
    world.event(Event::MasterDetected(pid(MASTER)));
    let first: RegisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(first.checkpointed_resources[0].role(), "a");
    let error = fresh("mem:64").slave.with_checkpointed(kept).expect_err("incompatible");
    assert_eq!(
        error,
        "checkpointed resources cpus(reservations: [(DYNAMIC,a)]):1 are incompatible with agent resources mem:64: mem:64 does \
         not contain cpus:1"
    );
}
