//! Tasks that are not launched: what the framework hears, and whether the master hears of an executor that is not there.

use super::*;
use crate::messages::mesos::{ContainerInfo, ExecutorInfo, container_info};

/// A task of an executor of the framework's own.
pub(super) fn custom(name: &str, executor: &str) -> mesos::TaskInfo {
    let info = ExecutorInfo {
        executor_id: mesos::ExecutorId { value: executor.into() },
        command: Some(mesos::CommandInfo { value: Some("executor".into()), ..Default::default() }),
        ..Default::default()
    };
    mesos::TaskInfo { executor: Some(info), command: None, ..task(name) }
}

pub(super) fn run(task: mesos::TaskInfo, launch_executor: Option<bool>) -> RunTaskMessage {
    RunTaskMessage { framework: framework(), task, launch_executor, ..Default::default() }
}

impl World {
    /// Sends a message that leads to no launch; gives what is said of its first task, and the executors reported as exited.
    fn refused(&mut self, message: RunTaskMessage) -> (TaskState, Reason, Vec<String>) {
        let wanted = self.hear(FromMaster::RunTask(Box::new(message)));
        assert!(wanted.launched.is_empty());
        let status = wanted.only::<StatusUpdateMessage>().update.status;
        assert_eq!(status.source(), Source::Slave);
        (status.state(), status.reason(), wanted.exits())
    }

    /// Puts an executor of the framework's own here, as if a task had brought it.
    pub(super) fn with_executor(&mut self, name: &str, state: ExecutorState) -> ContainerId {
        let container = ContainerId::new(format!("container-of-{name}")).expect("id");
        let info = custom("", name).executor.expect("executor");
        let executor = Executor {
            played: None,
            info,
            container: container.clone(),
            sandbox: "/sandbox".into(),
            is_command: false,
            state,
            wait_status: None,
            conversation: Some(Default::default()),
            tasks: BTreeMap::new(),
            completed: Default::default(),
        };
        let id = FrameworkId::new("F").expect("id");
        let framework = self.slave.frameworks.entry(id).or_insert_with(|| Framework::new(framework(), None));
        framework.executors.insert(ExecutorId::new(name).expect("id"), executor);
        container
    }
}

impl Wanted {
    /// The executors whose exit the master hears of.
    pub(super) fn exits(&self) -> Vec<String> {
        self.messages::<ExitedExecutorMessage>().into_iter().map(|exit| exit.executor_id.value).collect()
    }
}

const NOBODY: Vec<String> = Vec::new();

#[test]
fn what_no_container_here_has_is_a_container_that_could_not_be_launched() {
    let plain = || ContainerInfo { r#type: container_info::Type::Mesos as i32, ..Default::default() };
    let with_container = |container: ContainerInfo| mesos::TaskInfo { container: Some(container), ..task("t") };
    let with_resource = |resource: mesos::Resource| mesos::TaskInfo { resources: vec![resource], ..task("t") };
    let with_command = |command: mesos::CommandInfo| mesos::TaskInfo { command: Some(command), ..task("t") };
    let command = mesos::CommandInfo { value: Some("true".into()), ..Default::default() };
    let volume = mesos::resource::disk_info::Persistence { id: "v".into(), ..Default::default() };
    let disk = mesos::resource::DiskInfo { persistence: Some(volume), ..Default::default() };
    let bare =
        mesos::Volume { container_path: "/x".into(), mode: mesos::volume::Mode::Rw as i32, ..Default::default() };
    let host_volume = mesos::resource::DiskInfo { volume: Some(bare.clone()), ..Default::default() };
    let disk_with = |disk| mesos::Resource { disk: Some(disk), ..crate::resources::scalar("disk", 1.0) };
    let secret = mesos::environment::Variable {
        name: "S".into(),
        r#type: Some(mesos::environment::variable::Type::Secret as i32),
        ..Default::default()
    };
    let variables = mesos::Environment { variables: vec![secret] };
    let with_secret = mesos::CommandInfo { environment: Some(variables), ..command.clone() };
    let tasks = [
        with_container(ContainerInfo { r#type: container_info::Type::Docker as i32, ..Default::default() }),
        with_container(ContainerInfo { volumes: vec![bare], ..plain() }),
        with_container(ContainerInfo { network_infos: vec![Default::default()], ..plain() }),
        with_container(ContainerInfo { hostname: Some("h".into()), ..plain() }),
        with_container(ContainerInfo { rlimit_info: Some(Default::default()), ..plain() }),
        with_container(ContainerInfo { linux_info: Some(Default::default()), ..plain() }),
        with_container(ContainerInfo { tty_info: Some(Default::default()), ..plain() }),
        with_container(ContainerInfo {
            mesos: Some(container_info::MesosInfo { image: Some(Default::default()) }),
            ..plain()
        }),
        with_resource(mesos::Resource { shared: Some(Default::default()), ..crate::resources::scalar("disk", 1.0) }),
        with_resource(disk_with(host_volume)),
        with_command(mesos::CommandInfo { environment: with_secret.environment.clone(), ..command }),
        with_command(mesos::CommandInfo::default()),
        with_command(mesos::CommandInfo { shell: Some(false), ..Default::default() }),
        mesos::TaskInfo { health_check: Some(health_check(with_secret)), ..task("t") },
    ];
    for task in tasks {
        let shown = format!("{task:?}");
        let mut world = World::registered();
        let expected = (TaskState::TaskFailed, Reason::ContainerLaunchFailed, NOBODY);
        assert_eq!(world.refused(run(task, Some(true))), expected, "{shown}");
    }
    let mut world = World::registered();
    let volume = with_resource(mesos::Resource { disk: Some(disk), ..crate::resources::scalar("disk", 1.0) });
    let unknown = (TaskState::TaskDropped, Reason::ResourcesUnknown, vec!["t".to_string()]);
    assert_eq!(world.refused(run(volume, Some(true))), unknown, "a volume that no master has told of");
    let empty = ContainerInfo { mesos: Some(Default::default()), ..plain() };
    assert_eq!(world.run(mesos::TaskInfo { task_id: task("u").task_id, ..with_container(empty) }).launched.len(), 1);
}

fn health_check(command: mesos::CommandInfo) -> mesos::HealthCheck {
    let kind = Some(mesos::health_check::Type::Command as i32);
    mesos::HealthCheck { r#type: kind, command: Some(command), ..Default::default() }
}

#[test]
fn checks_and_a_time_to_complete_are_launched_when_they_make_sense() {
    let command = mesos::CommandInfo { value: Some("true".into()), ..Default::default() };
    let most = |nanoseconds| Some(mesos::DurationInfo { nanoseconds });
    let good =
        mesos::TaskInfo { health_check: Some(health_check(command)), max_completion_time: most(1), ..task("good") };
    let mut world = World::registered();
    assert_eq!(world.run(good).launched.len(), 1);
    let invalid = [
        mesos::TaskInfo { health_check: Some(Default::default()), ..task("t") },
        mesos::TaskInfo { check: Some(Default::default()), ..task("t") },
        mesos::TaskInfo { max_completion_time: most(-1), ..task("t") },
        mesos::TaskInfo { check: Some(Default::default()), ..custom("t", "t") },
    ];
    for task in invalid {
        let expected = (TaskState::TaskError, Reason::TaskInvalid, vec!["t".to_string()]);
        assert_eq!(World::registered().refused(run(task, Some(true))), expected);
    }
}

#[test]
fn limits_are_dropped_as_by_an_agent_that_cannot_enforce_them() {
    let limits = [("cpus".to_string(), mesos::value::Scalar { value: 1.0 })].into();
    let mut world = World::registered();
    let expected = (TaskState::TaskDropped, Reason::GcError, vec!["e".to_string()]);
    assert_eq!(world.refused(run(mesos::TaskInfo { limits, ..custom("t", "e") }, Some(true))), expected);
}

#[test]
fn each_task_of_a_group_is_refused_and_the_groups_executor_told_of_once() {
    let mut world = World::registered();
    let without_command = mesos::TaskInfo { command: None, ..task("b") };
    let message = RunTaskGroupMessage {
        framework: framework(),
        executor: mesos::ExecutorInfo {
            r#type: Some(mesos::executor_info::Type::Default as i32),
            command: None,
            ..custom("", "group").executor.expect("executor")
        },
        task_group: mesos::TaskGroupInfo { tasks: vec![task("a"), without_command] },
        launch_executor: Some(true),
        ..Default::default()
    };
    let wanted = world.hear(FromMaster::RunTaskGroup(Box::new(message)));
    let states: Vec<_> =
        wanted.statuses().iter().map(|status| (status.task_id.value.clone(), status.state())).collect();
    assert_eq!(states, [("a".to_string(), TaskState::TaskFailed), ("b".to_string(), TaskState::TaskFailed)]);
    assert_eq!(wanted.exits(), ["group"]);
}

#[test]
fn a_task_that_is_not_well_formed_is_an_error() {
    let neither = mesos::TaskInfo { command: None, ..task("t") };
    let both = mesos::TaskInfo { command: task("").command, ..custom("t", "e") };
    let negative = mesos::TaskInfo { resources: vec![crate::resources::scalar("cpus", -1.0)], ..task("t") };
    for (task, exit) in
        [(task("../../etc"), "../../etc"), (custom("t", "../e"), "../e"), (neither, "t"), (both, "e"), (negative, "t")]
    {
        let expected = (TaskState::TaskError, Reason::TaskInvalid, vec![exit.to_string()]);
        assert_eq!(World::registered().refused(run(task, Some(true))), expected);
    }
    let old = (TaskState::TaskError, Reason::TaskInvalid, NOBODY);
    assert_eq!(World::registered().refused(run(task("../../etc"), None)), old);
}

#[test]
fn a_task_for_another_slave_is_dropped_as_by_mesos() {
    let mut world = World::registered();
    let mut elsewhere = task("elsewhere");
    elsewhere.slave_id.value = "S1".into();
    let wanted = world.run(elsewhere);
    assert!(wanted.launched.is_empty() && wanted.sent.is_empty());
}

#[test]
fn a_task_that_wants_an_executor_that_has_gone_is_dropped() {
    let mut world = World::registered();
    let dropped = (TaskState::TaskDropped, Reason::ExecutorTerminated, NOBODY);
    assert_eq!(world.refused(run(custom("t", "e"), Some(false))), dropped);
    world.with_executor("e", ExecutorState::Gone);
    assert_eq!(world.refused(run(custom("u", "e"), None)), dropped);
    world.with_executor("e", ExecutorState::Ending);
    assert_eq!(world.refused(run(custom("v", "e"), Some(false))), dropped);
    let mut old = run(custom("w", "e"), Some(false));
    old.framework.capabilities.clear();
    assert_eq!(world.refused(old).0, TaskState::TaskLost);
}

#[test]
fn an_executor_that_the_master_has_given_up_is_ended_and_its_exit_told_when_it_is_gone() {
    let mut world = World::registered();
    let container = world.with_executor("e", ExecutorState::Running);
    let wanted = world.hear(FromMaster::RunTask(Box::new(run(custom("t", "e"), Some(true)))));
    assert_eq!(wanted.statuses()[0].reason(), Reason::ExecutorTerminated);
    assert_eq!(wanted.killed, [(container.clone(), Duration::ZERO)], "it has not registered, and so cannot be asked");
    assert_eq!(wanted.exits(), NOBODY);
    assert_eq!(world.gone(&container, None).exits(), ["e"]);
}

#[test]
fn the_exit_of_an_executor_is_told_with_what_wait_gave_and_that_of_a_command_task_is_not() {
    let mut world = World::registered();
    let container = world.running("t");
    assert_eq!(world.gone(&container, Some("died")).exits(), NOBODY);
    let container = world.with_executor("e", ExecutorState::Running);
    let framework = world.slave.frameworks.values_mut().next().expect("framework");
    framework.executors.values_mut().for_each(|executor| executor.wait_status = Some(9));
    let exit = world.gone(&container, None).only::<ExitedExecutorMessage>();
    assert_eq!((exit.executor_id.value.as_str(), exit.status), ("e", 9));
}

#[test]
fn the_executor_that_was_to_come_to_a_framework_that_goes_is_told_of() {
    let mut world = World::registered();
    world.running("t");
    let message = ShutdownFrameworkMessage { framework_id: mesos::FrameworkId { value: "F".into() } };
    world.hear(FromMaster::ShutdownFramework(Box::new(message)));
    let wanted = world.hear(FromMaster::RunTask(Box::new(run(custom("u", "e"), Some(true)))));
    assert!(wanted.statuses().is_empty());
    assert_eq!(wanted.exits(), ["e"]);
}

#[test]
fn a_task_whose_offer_is_of_an_older_version_is_dropped() {
    let mut world = World::registered();
    let current = world.slave.resource_version();
    let version = |value: Vec<u8>| ResourceVersionUuid { uuid: mesos::Uuid { value }, ..Default::default() };
    let with = |version, task| RunTaskMessage { resource_version_uuids: vec![version], ..run(task, Some(true)) };
    let resources = vec![crate::resources::scalar("cpus", 1.0)];
    world.slave.config.info.resources = resources.clone();
    let some = |name| mesos::TaskInfo { resources: resources.clone(), ..task(name) };
    let outdated = |exit: &str| (TaskState::TaskDropped, Reason::InvalidOffers, vec![exit.to_string()]);
    assert_eq!(world.refused(with(version(vec![7; 16]), some("t"))), outdated("t"));
    let provided = mesos::Resource {
        provider_id: Some(mesos::ResourceProviderId { value: "p".into() }),
        ..crate::resources::scalar("disk", 1.0)
    };
    let provided = mesos::TaskInfo { resources: vec![provided], ..task("v") };
    assert_eq!(world.refused(with(version(current.value.clone()), provided)), outdated("v"));
    let message = with(version(current.value), some("u"));
    assert_eq!(world.hear(FromMaster::RunTask(Box::new(message))).launched.len(), 1);
}
