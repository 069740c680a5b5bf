//! Executors of the frameworks' own: registration by both APIs, tasks, updates, messages, and every way in which their lives end.

use std::net::Ipv4Addr;

use super::*;
use crate::ids::{ExecutorId, FrameworkId};
use crate::libprocess::ConnectionId;
use crate::messages::mesos::internal::ExecutorToFrameworkMessage;
use crate::slave::executor::{FromExecutor, Speaker, Standing, ToExecutor, Via};

const DRIVER: &str = "executor(1)@10.0.0.2:40000";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn driver() -> Via {
    Via::Driver(pid(DRIVER))
}

fn stream(number: u64) -> Via {
    Via::Http(Some(ConnectionId(number)))
}

pub(super) fn own_task(name: &str) -> mesos::TaskInfo {
    let executor = mesos::ExecutorInfo {
        executor_id: mesos::ExecutorId { value: "E".into() },
        command: Some(mesos::CommandInfo { value: Some("./executor".into()), ..Default::default() }),
        ..Default::default()
    };
    mesos::TaskInfo { command: None, executor: Some(executor), ..task(name) }
}

fn again() -> FromExecutor {
    FromExecutor::Subscribe { tasks: vec![], updates: vec![] }
}

/// The names of what was said, in order.
fn names(wanted: &Wanted) -> Vec<&'static str> {
    wanted
        .told
        .iter()
        .map(|(_, message)| match message {
            ToExecutor::Registered { .. } => "registered",
            ToExecutor::Reregistered(_) => "reregistered",
            ToExecutor::Launch { .. } => "launch",
            ToExecutor::LaunchGroup(_) => "launch group",
            ToExecutor::Kill { .. } => "kill",
            ToExecutor::Acknowledge(_) => "acknowledge",
            ToExecutor::Message(_) => "message",
            ToExecutor::Shutdown => "shutdown",
        })
        .collect()
}

impl World {
    fn launch(&mut self, framework: mesos::FrameworkInfo, task: mesos::TaskInfo) -> Wanted {
        let launch_executor = Some(true);
        self.hear(FromMaster::RunTask(Box::new(RunTaskMessage {
            framework,
            task,
            launch_executor,
            ..Default::default()
        })))
    }

    pub(super) fn run_own(&mut self, name: &str, launch_executor: bool) -> Wanted {
        self.hear(FromMaster::RunTask(Box::new(RunTaskMessage {
            framework: framework(),
            task: own_task(name),
            launch_executor: Some(launch_executor),
            ..Default::default()
        })))
    }

    pub(super) fn say(&mut self, via: Via, message: FromExecutor) -> Wanted {
        let ids = (FrameworkId::new("F").expect("id"), ExecutorId::new("E").expect("id"));
        let speaker = Speaker { framework: ids.0, executor: ids.1, via };
        self.event(Event::Executor { speaker, message })
    }

    pub(super) fn update(&mut self, via: Via, task: &str, state: TaskState, uuid: u8) -> Wanted {
        let status = mesos::TaskStatus {
            task_id: mesos::TaskId { value: task.into() },
            state: state as i32,
            uuid: Some(vec![uuid; 16]),
            ..Default::default()
        };
        self.say(via, FromExecutor::Update(Box::new(status)))
    }

    pub(super) fn started(&mut self, container: &ContainerId) -> Wanted {
        let address = Some(Ipv4Addr::new(10, 0, 0, 2));
        self.event(Event::ExecutorStarted { container: container.clone(), address, runs: true })
    }

    fn ended(&mut self, container: &ContainerId, wait_status: Option<i32>) -> Wanted {
        let message = Some("Command exited with status 1".to_string());
        self.event(Event::ExecutorEnded { container: container.clone(), wait_status, reason: None, message });
        self.gone(container, None)
    }

    /// An executor that was launched with task `a`, runs in its guest, and has registered.
    pub(super) fn talking(via: Via) -> (World, ContainerId) {
        let mut world = World::registered();
        let spec = world.run_own("a", true).launched.remove(0);
        let container = ContainerId::new(spec.container_id).expect("container id");
        world.started(&container);
        let hello = match via {
            Via::Driver(_) => FromExecutor::Register,
            Via::Http(_) | Via::Default => again(),
        };
        let wanted = world.say(via, hello);
        assert_eq!(names(&wanted), ["registered", "launch"]);
        (world, container)
    }
}

#[test]
fn an_executor_finds_mesos_environment_and_its_guests_host_as_its_slave() {
    let mut world = World::new();
    world.slave.config.libprocess_ip = Some(Ipv4Addr::LOCALHOST);
    let given = [("A", "operator"), ("MESOS_DIRECTORY", "/elsewhere"), ("LIBPROCESS_PORT", "5"), ("B", "operator")];
    world.slave.config.executor_environment = given.map(|(name, value)| (name.into(), value.into())).to_vec();
    world.register();
    let variable = |name: &str, value: &str| mesos::environment::Variable {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let mut task = own_task("t");
    if let Some(command) = task.executor.as_mut().and_then(|executor| executor.command.as_mut()) {
        command.environment = Some(mesos::Environment { variables: vec![variable("B", "the executor's own")] });
    }
    let spec = world.launch(mesos::FrameworkInfo { checkpoint: Some(true), ..framework() }, task).launched.remove(0);
    let mut found: Vec<_> = spec.environment.iter().map(|each| format!("{}={}", each.name, each.value)).collect();
    found.sort();
    let wanted = [
        "A=operator".to_string(),
        "B=the executor's own".into(),
        "LIBPROCESS_IP=127.0.0.1".into(),
        "LIBPROCESS_PORT=0".into(),
        "MESOS_AGENT_ENDPOINT=10.0.0.1:5051".into(),
        "MESOS_CHECKPOINT=1".into(),
        format!("MESOS_DIRECTORY={}", spec.sandbox),
        "MESOS_EXECUTOR_ID=E".into(),
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs".into(),
        "MESOS_FRAMEWORK_ID=F".into(),
        "MESOS_HTTP_COMMAND_EXECUTOR=0".into(),
        "MESOS_RECOVERY_TIMEOUT=15mins".into(),
        format!("MESOS_SANDBOX={}", spec.sandbox),
        "MESOS_SLAVE_ID=S0".into(),
        "MESOS_SLAVE_PID=slave(1)@10.0.0.1:5051".into(),
        "MESOS_SUBSCRIPTION_BACKOFF_MAX=2secs".into(),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn an_executor_gets_its_tasks_when_it_has_registered_and_later_ones_at_once() {
    let mut world = World::registered();
    let wanted = world.run_own("a", true);
    let spec = &wanted.launched[0];
    assert!(spec.task.is_none(), "the child runs the executor, not the task");
    assert_eq!(spec.executor.executor_id.value, "E");
    let container = ContainerId::new(spec.container_id.clone()).expect("container id");
    assert!(world.run_own("b", false).launched.is_empty());
    world.started(&container);
    let wanted = world.say(driver(), FromExecutor::Register);
    assert_eq!(names(&wanted), ["registered", "launch", "launch"]);
    assert_eq!(wanted.linked, [pid(DRIVER)]);
    assert!(wanted.told.iter().all(|(via, _)| *via == driver()));
    assert_eq!(names(&world.run_own("c", false)), ["launch"]);
}

#[test]
fn an_update_is_acknowledged_to_the_executor_when_the_slave_has_it_and_forwarded_as_mesos_does() {
    for via in [driver(), stream(7)] {
        let (mut world, container) = World::talking(via.clone());
        let wanted = world.update(via.clone(), "a", TaskState::TaskRunning, 1);
        assert_eq!(names(&wanted), ["acknowledge"]);
        assert_eq!(wanted.told[0].0, via);
        let status = wanted.statuses().remove(0);
        assert_eq!((status.state(), status.source()), (TaskState::TaskRunning, Source::Executor));
        assert_eq!(status.executor_id.expect("executor").value, "E");
        let place = status.container_status.expect("place");
        assert_eq!(place.container_id.expect("container").value, container.as_str());
        assert_eq!(place.network_infos[0].ip_addresses[0].ip_address(), "10.0.0.2");
        // The same once more is acknowledged, and not forwarded.
        let wanted = world.update(via, "a", TaskState::TaskRunning, 1);
        assert_eq!(names(&wanted), ["acknowledge"]);
        assert!(wanted.statuses().is_empty());
    }
}

#[test]
fn an_executor_that_does_not_register_in_time_is_ended_and_its_tasks_have_failed() {
    let mut world = World::registered();
    let container = ContainerId::new(world.run_own("a", true).launched.remove(0).container_id).expect("id");
    assert!(world.later(70 * SECOND).killed.is_empty(), "the guest's boot does not count");
    world.ping(true);
    world.started(&container);
    assert_eq!(world.slave.deadline(), Some(world.now.instant + MINUTE));
    let wanted = world.later(MINUTE);
    assert_eq!(wanted.killed, [(container.clone(), Duration::ZERO)]);
    assert_eq!(names(&world.say(driver(), FromExecutor::Register)), ["shutdown"]);
    let wanted = world.ended(&container, Some(9));
    let status = wanted.statuses().remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskFailed, Reason::ExecutorRegistrationTimeout));
    assert_eq!(status.message(), "Executor did not register within 1mins");
    assert_eq!(wanted.only::<ExitedExecutorMessage>().status, 9);
}

#[test]
fn a_driver_that_registers_twice_is_shut_down_and_a_v1_client_that_comes_back_is_not() {
    let (mut world, _) = World::talking(driver());
    assert_eq!(names(&world.say(driver(), FromExecutor::Register)), ["shutdown"]);
    let (mut world, _) = World::talking(stream(7));
    world.update(stream(7), "a", TaskState::TaskRunning, 1);
    let wanted = world.say(stream(8), again());
    assert_eq!(names(&wanted), ["registered"]);
    assert_eq!((wanted.told[0].0.clone(), wanted.hung_up), (stream(8), vec![ConnectionId(7)]));
    let wanted = world.update(Via::Http(None), "a", TaskState::TaskFinished, 2);
    assert_eq!((wanted.told[0].0.clone(), names(&wanted)), (stream(8), vec!["acknowledge"]));
}

#[test]
fn what_a_v1_client_missed_or_could_not_say_is_settled_when_it_comes_back() {
    let (mut world, _) = World::talking(stream(7));
    assert_eq!(names(&world.run_own("b", false)), ["launch"]);
    let running = mesos::TaskStatus {
        task_id: mesos::TaskId { value: "a".into() },
        state: TaskState::TaskRunning as i32,
        uuid: Some(vec![1; 16]),
        ..Default::default()
    };
    let wanted = world.say(stream(8), FromExecutor::Subscribe { tasks: vec![], updates: vec![running] });
    let statuses: Vec<_> =
        wanted.statuses().into_iter().map(|each| (each.task_id.value.clone(), each.state())).collect();
    assert_eq!(statuses, [("a".to_string(), TaskState::TaskRunning), ("b".to_string(), TaskState::TaskDropped)]);
    assert_eq!(names(&wanted), ["registered", "acknowledge"], "SUBSCRIBED comes first");
}

#[test]
fn an_executor_that_ends_with_tasks_running_leaves_a_terminal_update_for_each_and_its_exit() {
    let (mut world, container) = World::talking(driver());
    world.run_own("b", false);
    world.update(driver(), "a", TaskState::TaskRunning, 1);
    world.acknowledge("a", 1);
    let wanted = world.ended(&container, Some(1 << 8));
    assert_eq!(wanted.statuses()[0].message(), "Executor terminated: Command exited with status 1");
    let mut statuses = wanted.statuses();
    statuses.sort_by(|left, right| left.task_id.value.cmp(&right.task_id.value));
    let ends: Vec<_> = statuses.iter().map(|each| (each.task_id.value.as_str(), each.state(), each.reason())).collect();
    let failed = |task| (task, TaskState::TaskFailed, Reason::ExecutorTerminated);
    assert_eq!(ends, [failed("a"), failed("b")]);
    let exit: ExitedExecutorMessage = wanted.only();
    assert_eq!((exit.executor_id.value.as_str(), exit.status), ("E", 256));
    let (mut world, container) = World::talking(stream(7));
    assert_eq!(world.ended(&container, Some(0)).hung_up, [ConnectionId(7)], "nothing more comes on its stream");
}

#[test]
fn a_task_that_is_killed_before_the_executor_has_it_never_reaches_it() {
    let mut world = World::registered();
    let container = ContainerId::new(world.run_own("a", true).launched.remove(0).container_id).expect("id");
    let kill = KillTaskMessage {
        framework_id: mesos::FrameworkId { value: "F".into() },
        task_id: mesos::TaskId { value: "a".into() },
        kill_policy: None,
    };
    let wanted = world.hear(FromMaster::KillTask(Box::new(kill)));
    let status = wanted.statuses().remove(0);
    assert_eq!((status.state(), status.reason()), (TaskState::TaskKilled, Reason::TaskKilledDuringLaunch));
    assert!(wanted.killed.is_empty(), "the executor may yet get another task");
    world.started(&container);
    let wanted = world.say(driver(), FromExecutor::Register);
    assert_eq!(names(&wanted), ["shutdown"], "it has nothing to run");
    assert_eq!(world.later(Duration::from_secs(5)).killed, [(container, Duration::ZERO)]);
}

#[test]
fn a_running_task_is_killed_by_its_executor() {
    let (mut world, _) = World::talking(stream(7));
    let policy = mesos::KillPolicy { grace_period: Some(mesos::DurationInfo { nanoseconds: 7 }) };
    let kill = KillTaskMessage {
        framework_id: mesos::FrameworkId { value: "F".into() },
        task_id: mesos::TaskId { value: "a".into() },
        kill_policy: Some(policy),
    };
    let wanted = world.hear(FromMaster::KillTask(Box::new(kill)));
    assert!(wanted.killed.is_empty());
    assert!(matches!(&wanted.told[0].1, ToExecutor::Kill { policy: Some(told), .. } if *told == policy));
}

#[test]
fn an_executor_that_ignores_its_shutdown_is_killed_when_its_grace_is_over() {
    let (mut world, container) = World::talking(stream(7));
    let message = ShutdownExecutorMessage {
        framework_id: Some(mesos::FrameworkId { value: "F".into() }),
        executor_id: Some(mesos::ExecutorId { value: "E".into() }),
    };
    let wanted = world.hear(FromMaster::ShutdownExecutor(Box::new(message)));
    assert_eq!(names(&wanted), ["shutdown"]);
    assert!(world.later(Duration::from_millis(4999)).killed.is_empty());
    assert_eq!(world.later(Duration::from_millis(1)).killed, [(container, Duration::ZERO)]);
}

#[test]
fn messages_go_both_ways_and_only_to_an_executor_that_runs() {
    let (mut world, _) = World::talking(driver());
    let data = vec![0, 255, 10];
    let wanted = world.say(driver(), FromExecutor::Message(data.clone()));
    assert_eq!(wanted.sent[0].0, pid(MASTER), "the framework has no address of its own");
    assert_eq!(wanted.only::<ExecutorToFrameworkMessage>().data, data);
    let message = FrameworkToExecutorMessage {
        slave_id: mesos::SlaveId { value: "S0".into() },
        framework_id: mesos::FrameworkId { value: "F".into() },
        executor_id: mesos::ExecutorId { value: "E".into() },
        data: data.clone(),
    };
    let wanted = world.hear(FromMaster::FrameworkToExecutor(Box::new(message.clone())));
    assert!(matches!(&wanted.told[0].1, ToExecutor::Message(told) if told.data == data));
    let mut world = World::registered();
    world.run_own("a", true);
    assert!(world.hear(FromMaster::FrameworkToExecutor(Box::new(message))).told.is_empty());
}

#[test]
fn an_executor_acts_for_its_own_tasks_only_and_from_its_own_address() {
    let (mut world, _) = World::talking(driver());
    world.running("other");
    assert!(world.update(driver(), "other", TaskState::TaskFailed, 9).statuses().is_empty());
    let ids = (FrameworkId::new("F").expect("id"), ExecutorId::new("E").expect("id"));
    let standing = |last| world.slave.standing(&ids.0, &ids.1, Ipv4Addr::new(10, 0, 0, last));
    assert_eq!((standing(2), standing(3)), (Standing::Registered, Standing::Elsewhere));
    let unknown = ExecutorId::new("X").expect("id");
    assert_eq!(world.slave.standing(&ids.0, &unknown, Ipv4Addr::LOCALHOST), Standing::NoExecutor);
    let command = ExecutorId::new("other").expect("id");
    assert_eq!(world.slave.standing(&ids.0, &command, Ipv4Addr::LOCALHOST), Standing::NoExecutor);
}

#[test]
fn nobody_speaks_for_a_guests_executor_before_its_address_is_known_nor_when_it_is_gone() {
    let mut world = World::registered();
    world.slave.config.guests = true;
    let spec = world.run_own("a", true).launched.remove(0);
    let container = ContainerId::new(spec.container_id).expect("container id");
    let ids = (FrameworkId::new("F").expect("id"), ExecutorId::new("E").expect("id"));
    let standing = |world: &World, last| world.slave.standing(&ids.0, &ids.1, Ipv4Addr::new(10, 0, 0, last));
    assert_eq!((standing(&world, 2), standing(&world, 3)), (Standing::Elsewhere, Standing::Elsewhere));
    let address = Some(Ipv4Addr::new(10, 0, 0, 2));
    world.event(Event::ExecutorStarted { container: container.clone(), address, runs: false });
    assert_eq!((standing(&world, 2), standing(&world, 3)), (Standing::Unregistered, Standing::Elsewhere));
    world.say(driver(), FromExecutor::Register);
    world.ended(&container, Some(256));
    // Until its tasks' last updates are acknowledged the executor is still known, and its address may be another's.
    assert_eq!((standing(&world, 2), standing(&world, 3)), (Standing::Elsewhere, Standing::Elsewhere));
}

#[test]
fn an_executor_that_sends_task_staging_is_shut_down() {
    let (mut world, _) = World::talking(driver());
    let wanted = world.update(driver(), "a", TaskState::TaskStaging, 1);
    assert_eq!(names(&wanted), ["shutdown"]);
    assert!(wanted.statuses().is_empty());
}

#[test]
fn an_executor_whose_last_task_has_ended_lives_on_for_the_next() {
    let (mut world, _) = World::talking(driver());
    world.update(driver(), "a", TaskState::TaskFinished, 1);
    world.acknowledge("a", 1);
    assert_eq!(world.slave.frameworks().len(), 1);
    assert_eq!(names(&world.run_own("b", false)), ["launch"]);
}

#[test]
fn an_executor_that_died_before_it_registered_is_not_waited_for() {
    let mut world = World::registered();
    let spec = world.run_own("a", true).launched.remove(0);
    let container = ContainerId::new(spec.container_id).expect("container id");
    world.started(&container);
    let end = world.ended(&container, Some(9)).statuses().remove(0);
    assert!(world.later(Duration::from_secs(61)).killed.is_empty(), "its container is gone");
    world.acknowledge_uuid("a", end.uuid());
    assert!(world.slave.frameworks().is_empty());
}

#[test]
fn what_an_executor_repeats_of_a_task_that_is_done_with_begins_no_new_stream() {
    let (mut world, _) = World::talking(driver());
    world.update(driver(), "a", TaskState::TaskRunning, 1);
    world.acknowledge("a", 1);
    world.update(driver(), "a", TaskState::TaskFinished, 2);
    world.acknowledge("a", 2);
    for (state, uuid) in [(TaskState::TaskRunning, 1), (TaskState::TaskFinished, 2)] {
        let wanted = world.update(driver(), "a", state, uuid);
        assert!(wanted.statuses().is_empty());
        assert_eq!(names(&wanted), ["acknowledge"], "or it would repeat them for ever");
    }
    assert!(world.later(Duration::from_secs(3600)).statuses().is_empty());
}

#[test]
fn a_stranger_that_registers_is_told_to_end() {
    let mut world = World::registered();
    assert_eq!(names(&world.say(driver(), FromExecutor::Register)), ["shutdown"]);
    let wanted = world.say(stream(7), again());
    assert_eq!((names(&wanted), wanted.hung_up), (vec!["shutdown"], vec![ConnectionId(7)]));
}

#[test]
fn the_master_hears_of_an_executor_that_runs_when_the_slave_comes_back() {
    let (mut world, _) = World::talking(driver());
    world.ping(false);
    let message: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(message.executor_infos.len(), 1);
    assert_eq!(message.tasks[0].executor_id.as_ref().expect("executor").value, "E");
}

#[test]
fn a_group_reaches_its_executor_whole_or_not_at_all() {
    let mut world = World::registered();
    let group = |names: &[&str]| RunTaskGroupMessage {
        framework: framework(),
        executor: own_task("").executor.expect("executor"),
        task_group: mesos::TaskGroupInfo { tasks: names.iter().map(|name| task(name)).collect() },
        ..Default::default()
    };
    let wanted = world.hear(FromMaster::RunTaskGroup(Box::new(group(&["a", "b"]))));
    let container = ContainerId::new(wanted.launched[0].container_id.clone()).expect("id");
    world.hear(FromMaster::RunTaskGroup(Box::new(group(&["c", "d"]))));
    let kill = KillTaskMessage {
        framework_id: mesos::FrameworkId { value: "F".into() },
        task_id: mesos::TaskId { value: "d".into() },
        kill_policy: None,
    };
    let wanted = world.hear(FromMaster::KillTask(Box::new(kill)));
    assert_eq!(wanted.statuses().iter().map(|each| each.state()).collect::<Vec<_>>(), [TaskState::TaskKilled; 2]);
    world.started(&container);
    let wanted = world.say(stream(7), again());
    assert_eq!(names(&wanted), ["registered", "launch group"]);
    assert!(matches!(&wanted.told[1].1, ToExecutor::LaunchGroup(group) if group.tasks.len() == 2));
}

#[test]
fn a_driver_that_comes_back_before_it_had_its_tasks_gets_them_then() {
    let mut world = World::registered();
    let container = ContainerId::new(world.run_own("a", true).launched.remove(0).container_id).expect("id");
    world.started(&container);
    assert_eq!(names(&world.say(driver(), again())), ["reregistered", "launch"]);
}
