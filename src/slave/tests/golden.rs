//! What this slave says to what a real master said, held against what Mesos' own agent said: message by message, from
//! `tests/wire/master` (see its README). Ids, uuids and times are the recording's own, so they are set from it or put aside;
//! the other differences are named here, each with its reason.

use std::path::PathBuf;

use super::*;
use crate::messages::mesos::slave_info::Capability;

fn captured<M: Message + Name + Default>(file: &str) -> M {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/wire/master", file].iter().collect();
    let body = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    M::decode(body.as_slice()).expect("captured message")
}

/// A message of the master, as it comes from the network.
fn heard<M: Message + Name + Default>(file: &str) -> FromMaster {
    let message: M = captured(file);
    FromMaster::decode(&M::full_name(), &message.encode_to_vec()).expect("a message that a slave understands")
}

impl World {
    /// A slave with the resources of the agent in the recording.
    fn recorded(info: mesos::SlaveInfo) -> World {
        let mut world = World::new();
        world.slave.config.info = mesos::SlaveInfo { id: None, ..info };
        world
    }

    fn replay<M: Message + Name + Default>(&mut self, file: &str) -> Wanted {
        self.hear(heard::<M>(file))
    }

    /// A container reports what the recorded agent's executor reported.
    fn child_reports(&mut self, container: &ContainerId, recorded: &StatusUpdateMessage) -> Wanted {
        let status = &recorded.update.status;
        let status = mesos::TaskStatus {
            task_id: status.task_id.clone(),
            state: status.state,
            message: status.message.clone(),
            source: status.source,
            reason: status.reason,
            uuid: status.uuid.clone(),
            timestamp: status.timestamp,
            ..Default::default()
        };
        self.event(Event::ContainerStatus { container: container.clone(), status: Box::new(status) })
    }
}

/// Ours says that it can do less, and holds the master to it.
fn fewer_capabilities(ours: &[Capability], theirs: &mut Vec<Capability>) {
    assert!(ours.len() < theirs.len());
    theirs.retain(|each| ours.contains(each));
    assert_eq!(ours, theirs.as_slice());
}

/// The process of Mesos' executor, which a command task has none of here, and the random id of the container.
fn without_process(mut status: mesos::TaskStatus, container: &ContainerId) -> mesos::TaskStatus {
    let place = status.container_status.as_mut().expect("container status");
    place.executor_pid = None;
    place.container_id = Some(container.to_proto());
    status
}

/// Registers and runs the recorded task; gives its container.
fn launched(world: &mut World) -> ContainerId {
    world.event(Event::MasterDetected(pid(MASTER)));
    world.later(Duration::from_secs(1));
    world.replay::<SlaveRegisteredMessage>("registered.pb");
    let mut run: RunTaskMessage = captured("run-task.pb");
    // The version of the resources that the recorded agent was offered with is its own.
    run.resource_version_uuids[0].uuid = world.slave.resource_version();
    let spec = world.hear(FromMaster::RunTask(Box::new(run))).launched.remove(0);
    ContainerId::new(spec.container_id).expect("container id")
}

#[test]
fn a_registration_is_mesos_registration_with_fewer_capabilities() {
    let mut theirs: RegisterSlaveMessage = captured("register.pb");
    let mut world = World::recorded(theirs.slave.clone());
    world.event(Event::MasterDetected(pid(MASTER)));
    // Until then the message also has what masters of 2012 want.
    world.shows(Dialect::V1);
    let ours: RegisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    fewer_capabilities(&ours.agent_capabilities, &mut theirs.agent_capabilities);
    theirs.resource_version_uuid = ours.resource_version_uuid.clone();
    assert_eq!(ours, theirs);
}

#[test]
fn a_registered_slave_owes_nothing_but_a_pong_to_the_master_that_pings() {
    let mut world = World::recorded(captured::<RegisterSlaveMessage>("register.pb").slave);
    world.event(Event::MasterDetected(pid(MASTER)));
    world.later(Duration::from_secs(1));
    // Mesos' agent sends an UpdateSlaveMessage now, for it has claimed RESOURCE_PROVIDER; ours has not.
    assert!(world.replay::<SlaveRegisteredMessage>("registered.pb").sent.is_empty());
    let message = heard::<PingSlaveMessage>("ping.pb");
    let wanted = world.event(Event::Message { from: pid(OBSERVER), message });
    assert_eq!(wanted.only::<PongSlaveMessage>(), PongSlaveMessage {});
    assert_eq!(wanted.sent[0].0, pid(OBSERVER));
}

#[test]
fn the_updates_of_a_command_task_are_those_of_mesos_in_every_field() {
    let mut world = World::recorded(captured::<RegisterSlaveMessage>("register.pb").slave);
    let container = launched(&mut world);
    for step in 1..=3 {
        let mut theirs: StatusUpdateMessage = captured(&format!("update-{step}.pb"));
        let ours: StatusUpdateMessage = world.child_reports(&container, &theirs).only();
        theirs.update.status = without_process(theirs.update.status, &container);
        assert_eq!(ours, theirs, "step {step}");
        if step < 3 {
            let file = format!("acknowledgement-{step}.pb");
            assert!(world.replay::<StatusUpdateAcknowledgementMessage>(&file).sent.is_empty());
        }
    }
    // The last update was not acknowledged; the framework's end is the end of it.
    world.replay::<ShutdownFrameworkMessage>("shutdown-framework.pb");
    assert!(world.later(Duration::from_secs(10)).statuses().is_empty());
    world.gone(&container, None);
    assert!(world.slave.frameworks().is_empty());
}

#[test]
fn the_kill_of_a_recorded_task_reaches_its_container_with_the_default_grace() {
    let mut world = World::recorded(captured::<RegisterSlaveMessage>("register.pb").slave);
    let container = launched(&mut world);
    let recorded: KillTaskMessage = captured("kill-task.pb");
    let run: RunTaskMessage = captured("run-task.pb");
    let kill = KillTaskMessage { framework_id: run.framework.id.expect("id"), task_id: run.task.task_id, ..recorded };
    let wanted = world.hear(FromMaster::KillTask(Box::new(kill)));
    assert_eq!(wanted.killed, [(container, Duration::from_secs(3))]);
}

#[test]
fn a_slave_that_was_lost_with_a_running_task_comes_back_as_mesos_does() {
    let mut theirs: ReregisterSlaveMessage = captured("reregister.pb");
    let task = theirs.tasks[0].clone();
    let mut world = World::recorded(theirs.slave.clone());
    world.event(Event::MasterDetected(pid(MASTER)));
    // Until then the message also has what masters of 2012 want.
    world.shows(Dialect::V1);
    world.later(Duration::from_secs(1));
    let slave_id = theirs.slave.id.clone().expect("id");
    world.hear(FromMaster::Registered(Box::new(SlaveRegisteredMessage { slave_id, connection: None })));
    let container = run_again(&mut world, &theirs.frameworks[0], &task);

    assert_eq!(world.ping(false).linked, [pid(MASTER)]);
    let ours: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    fewer_capabilities(&ours.agent_capabilities, &mut theirs.agent_capabilities);
    theirs.resource_version_uuid = ours.resource_version_uuid.clone();
    // A framework that has nothing here any more is not told of: the master need not know it, and we do not keep it.
    theirs.completed_frameworks.clear();
    for status in &mut theirs.tasks[0].statuses {
        *status = without_process(status.clone(), &container);
    }
    assert_eq!(ours, theirs);

    let wanted = world.replay::<SlaveReregisteredMessage>("reregistered.pb");
    assert!(wanted.sent.is_empty(), "{:?}", wanted.sent);
    assert!(world.replay::<UpdateFrameworkMessage>("update-framework.pb").sent.is_empty());
}

/// Launches the task that the recorded agent had, and lets it report what that had reported.
fn run_again(world: &mut World, framework: &mesos::FrameworkInfo, task: &mesos::Task) -> ContainerId {
    let info = mesos::TaskInfo {
        name: task.name.clone(),
        task_id: task.task_id.clone(),
        slave_id: task.slave_id.clone(),
        resources: task.resources.clone(),
        ..super::task("")
    };
    let message = RunTaskMessage { framework: framework.clone(), task: info, ..Default::default() };
    let spec = world.hear(FromMaster::RunTask(Box::new(message))).launched.remove(0);
    let container = ContainerId::new(spec.container_id).expect("container id");
    for status in &task.statuses {
        let update = StatusUpdate { status: status.clone(), ..Default::default() };
        world.child_reports(&container, &StatusUpdateMessage { update, pid: None });
        world.hear(FromMaster::Acknowledge(Box::new(StatusUpdateAcknowledgementMessage {
            slave_id: task.slave_id.clone(),
            framework_id: task.framework_id.clone(),
            task_id: task.task_id.clone(),
            uuid: status.uuid().to_vec(),
        })));
    }
    container
}
