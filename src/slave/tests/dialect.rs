//! A master of 2012: what it said on the wire, from `tests/wire/mesos-0.9`, and what it can read of what we say.

use std::path::PathBuf;

use super::*;
use crate::messages::mesos::internal::StatusUpdateAcknowledgementMessage as Acknowledgement;
use crate::resources::scalar;

const OLD_MASTER: &str = "master@127.0.0.1:5060";
const OLD_OBSERVER: &str = "2@127.0.0.1:5060";
const SCHEDULER: &str = "1@127.0.0.1:5062";
const TASK: &str = "6-command-tasks/0009_0001.015_master-to-slave_mesos.internal.RunTaskMessage.http";
const REGISTERED: &str = "6-command-tasks/0002_0000.001_master-to-slave_mesos.internal.SlaveRegisteredMessage.http";
const ACKNOWLEDGEMENT: &str =
    "6-command-tasks/0024_0001.029_sched-to-slave_mesos.internal.StatusUpdateAcknowledgementMessage.http";

/// A recorded message: its name and body.
fn recorded(file: &str) -> (String, Vec<u8>) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/wire/mesos-0.9", file].iter().collect();
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the head's end");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let name = head.split(['/', ' ']).nth(3).expect("a name").to_string();
    let chunk = &bytes[end + 4..];
    if chunk.is_empty() {
        return (name, Vec::new());
    }
    let line = chunk.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
    let size = usize::from_str_radix(&String::from_utf8_lossy(&chunk[..line]), 16).expect("hexadecimal");
    (name, chunk[line + 2..][..size].to_vec())
}

fn decoded<M: Message + Default>(file: &str) -> M {
    M::decode(recorded(file).1.as_slice()).expect("a recorded message")
}

impl World {
    fn replay_old(&mut self, from: &str, file: &str) -> Wanted {
        let (name, body) = recorded(file);
        let message = FromMaster::decode(&name, &body).expect("a message that a slave understands");
        self.event(Event::Message { from: pid(from), message })
    }

    /// Registered with the recorded master.
    fn registered_in_2012() -> World {
        let mut world = World::new();
        world.slave.config.info.resources = vec![scalar("cpus", 4.0), scalar("mem", 1024.0)];
        world.event(Event::MasterDetected(pid(OLD_MASTER)));
        world.later(Duration::from_secs(1));
        world.old_master_shows_itself();
        world.replay_old(OLD_MASTER, REGISTERED);
        assert_eq!(world.slave.registered_master(), Some(&pid(OLD_MASTER)));
        world
    }

    fn old_master_shows_itself(&mut self) {
        self.event(Event::Shown { address: pid(OLD_MASTER).address, dialect: Dialect::V2012 });
    }

    fn old_task_runs(&mut self) -> ContainerId {
        let spec = self.replay_old(OLD_MASTER, TASK).launched.remove(0);
        ContainerId::new(spec.container_id).expect("container id")
    }
}

#[test]
fn the_first_registration_has_what_0_9_requires_until_the_master_is_known_to_be_of_1_x() {
    let mut world = World::new();
    world.event(Event::MasterDetected(pid(MASTER)));
    let first: RegisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!((first.slave.webui_hostname(), first.slave.webui_port()), ("host", 5051));
    assert_eq!(first.version(), "1.11.0", "a master of 1.x takes the same message");
    world.shows(Dialect::V1);
    let second: RegisterSlaveMessage = world.later(Duration::from_secs(2)).only();
    assert_eq!((second.slave.webui_hostname, second.slave.webui_port), (None, None));
}

#[test]
fn a_registration_with_a_master_of_2012_has_all_that_the_recorded_slave_said() {
    let (_, body) = recorded("1-basic/0001_0000.000_slave-to-master_mesos.internal.RegisterSlaveMessage.http");
    let theirs = RegisterSlaveMessage::decode(body.as_slice()).expect("a registration").slave;
    let mut world = World::new();
    world.slave.config.info.hostname = theirs.hostname.clone();
    world.slave.config.info.resources = theirs.resources.clone();
    world.event(Event::MasterDetected(pid(OLD_MASTER)));
    world.old_master_shows_itself();
    let ours = world.later(Duration::from_secs(1)).only::<RegisterSlaveMessage>().slave;
    // 0.9 knows no roles; "*" is what having none is called since.
    let mut ours = ours;
    ours.resources.iter_mut().for_each(|resource| assert_eq!(resource.role.take().as_deref(), Some("*")));
    // Where a slave's page is: there it is a port of its own, here the only one.
    let same_port = mesos::SlaveInfo { webui_port: theirs.webui_port, port: None, ..ours };
    assert_eq!(mesos::SlaveInfo { webui_hostname: theirs.webui_hostname.clone(), ..same_port }, theirs);
}

#[test]
fn a_bare_ping_is_answered_by_a_bare_pong_to_the_process_that_sent_it() {
    let mut world = World::registered_in_2012();
    let wanted = world.replay_old(OLD_OBSERVER, "1-basic/0003_0000.001_master.2-to-slave_PING.http");
    let [(to, message)] = wanted.sent.as_slice() else { panic!("{:?}", wanted.sent) };
    assert_eq!((to, message.name.as_str(), message.body.len()), (&pid(OLD_OBSERVER), "PONG", 0));
}

#[test]
fn bare_pings_keep_a_slave_registered_and_their_absence_makes_it_ask_again() {
    let mut world = World::registered_in_2012();
    for _ in 0..20 {
        assert!(world.later(Duration::from_secs(15)).linked.is_empty());
        world.replay_old(OLD_OBSERVER, "1-basic/0003_0000.001_master.2-to-slave_PING.http");
    }
    assert_eq!(world.later(Duration::from_secs(75)).linked, [pid(OLD_MASTER)]);
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.slave_id, again.slave.id, "0.9 requires the id beside the description");
}

#[test]
fn a_task_of_0_9_reaches_its_container_though_its_framework_is_named_beside_its_description() {
    let mut world = World::registered_in_2012();
    let message: RunTaskMessage = decoded(TASK);
    assert_eq!(message.framework.id, None);
    let spec = world.replay_old(OLD_MASTER, TASK).launched.remove(0);
    assert_eq!(spec.framework.id, message.framework_id);
    assert_eq!(spec.task.map(|task| (task.name, task.command)), Some((message.task.name, message.task.command)));
}

#[test]
fn a_scheduler_of_0_9_acknowledges_the_updates_of_its_own_framework_and_no_other_does() {
    let mut world = World::registered_in_2012();
    let container = world.old_task_runs();
    let recorded: Acknowledgement = decoded(ACKNOWLEDGEMENT);
    let id: RunTaskMessage = decoded(TASK);
    let acknowledge = |from: &str, world: &mut World| {
        let message = Acknowledgement { task_id: id.task.task_id.clone(), ..recorded.clone() };
        world.event(Event::Message { from: pid(from), message: FromMaster::Acknowledge(Box::new(message)) });
        world.later(Duration::from_secs(10)).statuses().len()
    };
    let status = mesos::TaskStatus {
        task_id: id.task.task_id.clone(),
        state: TaskState::TaskRunning as i32,
        uuid: Some(recorded.uuid.clone()),
        ..Default::default()
    };
    let sent = world.event(Event::ContainerStatus { container, status: Box::new(status) });
    let update: StatusUpdateMessage = sent.only();
    assert_eq!(update.pid(), "slave(1)@127.0.0.1:5051", "where the acknowledgement is to go");
    assert_eq!(acknowledge("2@127.0.0.1:5062", &mut world), 1, "another process of the scheduler's program");
    assert_eq!(acknowledge("1@127.0.0.1:5063", &mut world), 1, "another program");
    assert_eq!(acknowledge(SCHEDULER, &mut world), 0);
    assert!(world.later(Duration::from_secs(3600)).statuses().is_empty());
}

#[test]
fn a_scheduler_says_nothing_to_us_but_acknowledgements() {
    let mut world = World::registered_in_2012();
    world.old_task_runs();
    let kill: RunTaskMessage = decoded(TASK);
    let message = KillTaskMessage {
        framework_id: kill.framework_id.expect("id"),
        task_id: kill.task.task_id,
        ..Default::default()
    };
    let message = FromMaster::KillTask(Box::new(message));
    assert!(world.event(Event::Message { from: pid(SCHEDULER), message }).killed.is_empty());
}

#[test]
fn the_refusal_of_a_task_is_acknowledged_by_a_scheduler_that_has_nothing_else_here() {
    let mut world = World::registered_in_2012();
    let mut message: RunTaskMessage = decoded(TASK);
    message.task.command = None;
    let task_id = message.task.task_id.clone();
    let framework_id = message.framework_id.clone().expect("id");
    let wanted = world.event(Event::Message { from: pid(OLD_MASTER), message: FromMaster::RunTask(Box::new(message)) });
    let update: StatusUpdateMessage = wanted.only();
    assert_eq!(update.update.status.state(), TaskState::TaskFailed, "0.9 has no TASK_ERROR");
    let message = Acknowledgement {
        slave_id: mesos::SlaveId { value: "S".into() },
        framework_id,
        task_id,
        uuid: update.update.uuid().to_vec(),
    };
    world.event(Event::Message { from: pid(SCHEDULER), message: FromMaster::Acknowledge(Box::new(message)) });
    assert!(world.later(Duration::from_secs(3600)).statuses().is_empty());
}

#[test]
fn the_kill_of_a_task_that_nobody_knows_is_answered_once_and_asks_for_no_acknowledgement() {
    let mut world = World::registered_in_2012();
    let message = KillTaskMessage {
        framework_id: mesos::FrameworkId { value: "F".into() },
        task_id: mesos::TaskId { value: "t".into() },
        ..Default::default()
    };
    let message = FromMaster::KillTask(Box::new(message));
    let update: StatusUpdateMessage = world.event(Event::Message { from: pid(OLD_MASTER), message }).only();
    assert_eq!((update.pid, update.update.status.state()), (None, TaskState::TaskLost));
    assert!(world.later(Duration::from_secs(3600)).statuses().is_empty());
}

#[test]
fn an_update_for_2012_is_sent_every_ten_seconds_and_one_for_1_x_ever_more_rarely() {
    let sent_in_five_minutes =
        |world: &mut World| (0..300).map(|_| world.later(Duration::from_secs(1)).statuses().len()).sum::<usize>();
    let mut world = World::registered_in_2012();
    let container = world.old_task_runs();
    let run: RunTaskMessage = decoded(TASK);
    world.status(&container, &run.task.task_id.value, TaskState::TaskRunning, 1);
    let pings = (0..4).map(|_| {
        world.replay_old(OLD_OBSERVER, "1-basic/0003_0000.001_master.2-to-slave_PING.http");
        (0..70).map(|_| world.later(Duration::from_secs(1)).statuses().len()).sum::<usize>()
    });
    assert_eq!(pings.sum::<usize>(), 28);

    let mut world = World::registered();
    world.shows(Dialect::V1);
    let spec = world.run(task("t")).launched.remove(0);
    world.status(&ContainerId::new(spec.container_id).expect("id"), "t", TaskState::TaskRunning, 1);
    world.hear(FromMaster::Registered(Box::new(SlaveRegisteredMessage {
        slave_id: mesos::SlaveId { value: "S0".into() },
        connection: Some(MasterSlaveConnection { total_ping_timeout_seconds: Some(9999.0) }),
    })));
    assert_eq!(sent_in_five_minutes(&mut world), 4);
}

#[test]
fn a_scheduler_that_has_moved_acknowledges_from_its_new_place() {
    let mut world = World::registered_in_2012();
    let container = world.old_task_runs();
    let run: RunTaskMessage = decoded(TASK);
    let framework_id = run.framework_id.expect("id");
    let moved = UpdateFrameworkMessage {
        framework_id: framework_id.clone(),
        pid: Some("1@127.0.0.1:7777".into()),
        framework_info: None,
    };
    let moved = FromMaster::UpdateFramework(Box::new(moved));
    world.event(Event::Message { from: pid(OLD_MASTER), message: moved });
    world.status(&container, &run.task.task_id.value, TaskState::TaskRunning, 1);
    let message =
        Acknowledgement { slave_id: run.task.slave_id, framework_id, task_id: run.task.task_id, uuid: vec![1; 16] };
    let message = FromMaster::Acknowledge(Box::new(message));
    world.event(Event::Message { from: pid("1@127.0.0.1:7777"), message });
    assert!(world.later(Duration::from_secs(3600)).statuses().is_empty());
}

#[test]
fn a_state_that_0_9_does_not_know_is_told_by_one_that_it_knows() {
    let known = [0, 1, 2, 3, 4, 5, 6];
    for state in (0..=20).filter_map(|number| TaskState::try_from(number).ok()) {
        let mut world = World::registered_in_2012();
        let container = world.old_task_runs();
        let run: RunTaskMessage = decoded(TASK);
        let wanted = world.status(&container, &run.task.task_id.value, state, 1);
        let update = wanted.only::<StatusUpdateMessage>().update;
        assert!(known.contains(&update.status.state), "{state:?}");
        assert!(known.contains(&update.latest_state.expect("latest")), "{state:?}");
        assert!(update.uuid.is_some() && update.timestamp > 0.0 && update.slave_id.is_some());
        if known.contains(&(state as i32)) {
            assert_eq!(update.status.state(), state);
        }
        world.event(Event::Exited(pid(OLD_MASTER)));
        let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
        assert!(known.contains(&again.tasks[0].state), "{state:?} in a re-registration");
    }
}

#[test]
fn a_master_of_1_x_hears_every_state_as_it_is_also_after_it_was_lost() {
    let mut world = World::registered();
    world.shows(Dialect::V1);
    let container = world.running("t");
    world.status(&container, "t", TaskState::TaskKilling, 2);
    world.event(Event::Exited(pid(MASTER)));
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.tasks[0].state(), TaskState::TaskKilling);
    assert_eq!(again.slave_id, again.slave.id, "who comes back there may be of 2012");
    assert_eq!(again.slave.webui_hostname(), "host");
}

#[test]
fn only_a_master_of_2012_hears_of_the_end_of_a_command_tasks_executor() {
    let mut world = World::registered_in_2012();
    let container = world.old_task_runs();
    let ended: ExitedExecutorMessage = world.gone(&container, None).only();
    let run: RunTaskMessage = decoded(TASK);
    assert_eq!(Some(ended.framework_id), run.framework_id);
    assert_eq!((ended.slave_id, ended.status), (run.task.slave_id, 0));

    let mut world = World::registered();
    world.shows(Dialect::V1);
    let container = world.running("t");
    assert!(world.gone(&container, None).messages::<ExitedExecutorMessage>().is_empty());
}

#[test]
fn a_shutdown_without_a_body_ends_the_slave() {
    let mut world = World::registered_in_2012();
    let container = world.old_task_runs();
    let file = "4-pong-timeout/0030_0090.012_master-to-slave_mesos.internal.ShutdownMessage.http";
    assert_eq!(world.replay_old(OLD_MASTER, file).killed[0].0, container);
}

#[test]
fn what_somebody_else_shows_is_nothing_to_the_master() {
    let mut world = World::registered();
    world.shows(Dialect::V1);
    let address = pid("master@127.0.0.1:6666").address;
    world.event(Event::Shown { address, dialect: Dialect::V2012 });
    let container = world.running("t");
    let wanted = world.status(&container, "t", TaskState::TaskKilling, 2);
    assert_eq!(wanted.statuses()[0].state(), TaskState::TaskKilling);
}

#[test]
fn an_executor_of_2012_is_told_what_its_driver_requires_and_one_of_1_x_is_not() {
    let run: RunTaskMessage = decoded(TASK);
    let framework = mesos::FrameworkInfo { id: run.framework_id.clone(), ..run.framework };
    let registered = ToExecutor::Registered {
        executor: Box::default(),
        framework: Box::new(framework.clone()),
        slave: Box::new(mesos::SlaveInfo { hostname: "host".into(), ..Default::default() }),
        container: Default::default(),
    };
    let launch =
        ToExecutor::Launch { framework: Box::new(framework), task: Box::new(run.task), scheduler: SCHEDULER.into() };
    let acknowledge = ToExecutor::Acknowledge(decoded(ACKNOWLEDGEMENT));
    for (dialect, required) in [(Dialect::V2012, true), (Dialect::Unknown, true), (Dialect::V1, false)] {
        let message = registered.to_driver(dialect).expect("a message");
        let message: ExecutorRegisteredMessage = message.decode().expect("registered");
        assert_eq!(message.slave_info.webui_hostname.is_some(), required);
        assert_eq!(message.executor_info.command.is_some_and(|command| command.value.is_some()), required);
        let message: RunTaskMessage = launch.to_driver(dialect).expect("a message").decode().expect("a task");
        assert_eq!((message.framework_id.is_some(), message.pid()), (required, SCHEDULER));
    }
    assert!(acknowledge.to_driver(Dialect::V2012).is_none(), "its driver knows none");
    assert!(acknowledge.to_driver(Dialect::V1).is_some());
}
