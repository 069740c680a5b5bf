//! Task groups on Mesos' default executor, which the slave plays: its container is launched first, and the tasks' inside it.

use std::net::Ipv4Addr;

use super::*;
use crate::messages::mesos::executor_info;
use crate::resources::{Resources, resource_text, scalar};
use crate::slave::executor::{FromExecutor, Via};

const SECOND: Duration = Duration::from_secs(1);
const THREE: Duration = Duration::from_secs(3);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

pub(super) fn default_executor() -> mesos::ExecutorInfo {
    mesos::ExecutorInfo {
        r#type: Some(executor_info::Type::Default as i32),
        executor_id: mesos::ExecutorId { value: "E".into() },
        ..Default::default()
    }
}

pub(super) fn group(tasks: Vec<mesos::TaskInfo>, launch_executor: bool) -> RunTaskGroupMessage {
    RunTaskGroupMessage {
        framework: framework(),
        executor: default_executor(),
        task_group: mesos::TaskGroupInfo { tasks },
        launch_executor: Some(launch_executor),
        ..Default::default()
    }
}

pub(super) fn of(names: &[&str]) -> Vec<mesos::TaskInfo> {
    names.iter().map(|name| task(name)).collect()
}

fn id(spec: &Spec) -> ContainerId {
    ContainerId::new(spec.container_id.clone()).expect("container id")
}

fn name_in(spec: &Spec) -> &str {
    spec.task.as_ref().map_or("", |task| &task.task_id.value)
}

/// A slave with one default executor.
struct Pod {
    world: World,
    holder: ContainerId,
    /// The tasks' containers, by the tasks' names.
    members: BTreeMap<String, ContainerId>,
    uuids: u8,
}

impl Pod {
    /// These run, in one group.
    fn running(names: &[&str]) -> Pod {
        let mut pod = Pod::launched(of(names));
        pod.holds();
        names.iter().for_each(|name| pod.run(name));
        pod
    }

    /// The executor's container is being launched.
    fn launched(tasks: Vec<mesos::TaskInfo>) -> Pod {
        let mut world = World::registered();
        world.slave.config.info.resources = vec![scalar("cpus", 4.0)];
        let wanted = world.hear(FromMaster::RunTaskGroup(Box::new(group(tasks, true))));
        let [spec] = wanted.launched.as_slice() else { panic!("{:?}", wanted.launched) };
        assert!(spec.holds_tasks() && spec.task.is_none() && spec.joins.is_none());
        Pod { world, holder: id(spec), members: BTreeMap::new(), uuids: 0 }
    }

    fn holds(&mut self) -> Wanted {
        let container = self.holder.clone();
        let wanted = self.world.event(Event::ExecutorStarted { container, address: Some(ADDRESS), runs: true });
        self.take(wanted)
    }

    /// One more group for the executor that is here.
    fn add(&mut self, names: &[&str]) -> Wanted {
        let wanted = self.world.hear(FromMaster::RunTaskGroup(Box::new(group(of(names), false))));
        self.take(wanted)
    }

    fn take(&mut self, wanted: Wanted) -> Wanted {
        self.members.extend(wanted.launched.iter().map(|spec| (name_in(spec).to_string(), id(spec))));
        wanted
    }

    fn status(&mut self, name: &str, state: TaskState) -> Wanted {
        self.uuids += 1;
        let container = self.members[name].clone();
        let wanted = self.world.status(&container, name, state, self.uuids);
        assert_eq!(wanted.acknowledged.len(), 1, "the child was not told that its status is in our hands");
        wanted
    }

    fn run(&mut self, name: &str) {
        self.status(name, TaskState::TaskRunning);
        let uuid = self.uuids;
        self.world.acknowledge(name, uuid);
    }

    fn end(&mut self, name: &str, state: TaskState) -> Wanted {
        let wanted = self.status(name, state);
        let uuid = self.uuids;
        self.world.acknowledge(name, uuid);
        wanted
    }

    fn gone(&mut self, name: &str) -> Wanted {
        self.world.gone(&self.members[name].clone(), None)
    }

    /// It has ended, and so has its container.
    fn over(&mut self, name: &str, state: TaskState) -> Wanted {
        self.end(name, state);
        self.gone(name)
    }

    fn killed(&self, wanted: &Wanted) -> Vec<(String, Duration)> {
        let name = |container: &ContainerId| {
            let member = self.members.iter().find(|(_, each)| *each == container);
            member.map_or("holder".to_string(), |(name, _)| name.clone())
        };
        wanted.killed.iter().map(|(container, grace)| (name(container), *grace)).collect()
    }

    fn holder_gone(&mut self, reason: Option<&str>) -> Wanted {
        self.world.gone(&self.holder.clone(), reason)
    }
}

fn kills(names: &[&str], grace: Duration) -> Vec<(String, Duration)> {
    names.iter().map(|name| (name.to_string(), grace)).collect()
}

pub(super) fn states(wanted: &Wanted) -> Vec<(String, TaskState)> {
    wanted.statuses().iter().map(|status| (status.task_id.value.clone(), status.state())).collect()
}

pub(super) fn exit(wanted: &Wanted) -> i32 {
    wanted.only::<ExitedExecutorMessage>().status
}

#[test]
fn a_groups_tasks_are_launched_inside_their_executors_container_when_that_is_there() {
    let mut pod = Pod::launched(of(&["a", "b"]));
    let container = pod.holder.clone();
    let wanted = pod.world.event(Event::ExecutorStarted { container, address: Some(ADDRESS), runs: false });
    assert!(wanted.launched.is_empty());
    let wanted = pod.holds();
    let [a, b] = wanted.launched.as_slice() else { panic!("{:?}", wanted.launched) };
    assert_eq!((name_in(a), name_in(b)), ("a", "b"));
    for spec in [a, b] {
        let joins = spec.joins.as_ref().expect("it joins another");
        assert_eq!(joins.container_id, pod.holder.to_string());
        assert_eq!(joins.address.as_deref(), Some("10.0.0.2"));
        let runs = format!("/work_dir/slaves/S0/frameworks/F/executors/E/runs/{}", pod.holder);
        assert_eq!(spec.sandbox, format!("{runs}/containers/{}", spec.container_id));
        assert!(!spec.holds_tasks());
    }
    let status = pod.status("a", TaskState::TaskStarting).statuses().remove(0);
    let named = status.container_status.expect("container status");
    let container = named.container_id.expect("container id");
    assert_eq!(container.value, pod.members["a"].to_string());
    assert_eq!(container.parent.expect("its executor's").value, pod.holder.to_string());
    assert_eq!(named.network_infos[0].ip_addresses[0].ip_address(), "10.0.0.2");
    assert_eq!(status.executor_id.expect("executor").value, "E");
}

#[test]
fn a_task_finds_what_mesos_gives_a_nested_container() {
    let variable = |name: &str, value: &str| mesos::environment::Variable {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let own = vec![variable("A", "its own"), variable("MESOS_CONTAINER_IP", "a lie")];
    let command = mesos::CommandInfo {
        value: Some("true".into()),
        user: Some("nobody".into()),
        environment: Some(mesos::Environment { variables: own }),
        ..Default::default()
    };
    let task = mesos::TaskInfo { command: Some(command), resources: vec![scalar("cpus", 0.1)], ..task("a") };
    let mut pod = Pod::launched(vec![task, super::task("b")]);
    let wanted = pod.holds();
    let [a, b] = wanted.launched.as_slice() else { panic!("{:?}", wanted.launched) };
    let found: Vec<_> = a.environment.iter().map(|each| format!("{}={}", each.name, each.value)).collect();
    let sandbox = format!("MESOS_SANDBOX={}", a.sandbox);
    assert_eq!(found, [&sandbox, "A=its own", "MESOS_CONTAINER_IP=10.0.0.2", "MESOS_ALLOCATION_ROLE=*"]);
    assert_eq!((a.user.as_deref(), b.user.as_deref()), (Some("nobody"), Some("root")));
    assert_eq!(a.resources.iter().map(resource_text).collect::<Vec<_>>(), ["cpus(allocated: *):0.1"]);
}

#[test]
fn when_all_tasks_have_finished_the_executor_ends_and_its_exit_is_told_when_its_container_is_gone() {
    let mut pod = Pod::running(&["a", "b"]);
    let wanted = pod.end("a", TaskState::TaskFinished);
    assert!(wanted.killed.is_empty(), "one that finishes leaves the others alone");
    assert!(pod.gone("a").killed.is_empty());
    assert!(pod.end("b", TaskState::TaskFinished).killed.is_empty(), "its container is still there");
    let wanted = pod.gone("b");
    assert_eq!(pod.killed(&wanted), kills(&["holder"], Duration::ZERO));
    assert!(wanted.messages::<ExitedExecutorMessage>().is_empty());
    assert_eq!(exit(&pod.holder_gone(None)), 0);
    assert!(pod.world.slave.frameworks().is_empty());
}

#[test]
fn a_failed_task_ends_its_group_and_no_other() {
    let mut pod = Pod::running(&["a", "b"]);
    pod.add(&["c"]);
    pod.run("c");
    let wanted = pod.end("a", TaskState::TaskFailed);
    assert_eq!(pod.killed(&wanted), kills(&["b"], THREE));
    pod.gone("a");
    let wanted = pod.end("b", TaskState::TaskKilled);
    assert_eq!(states(&wanted), [("b".to_string(), TaskState::TaskKilled)]);
    assert!(pod.gone("b").killed.is_empty(), "another group runs");
    let wanted = pod.over("c", TaskState::TaskFinished);
    assert_eq!(pod.killed(&wanted), kills(&["holder"], Duration::ZERO));
}

#[test]
fn a_group_ends_before_the_files_of_the_failed_one_are_back() {
    let mut pod = Pod::running(&["a", "b"]);
    let container = pod.members["a"].clone();
    let wanted = pod.world.event(Event::TaskDecided { container, state: TaskState::TaskFailed });
    assert_eq!((pod.killed(&wanted), states(&wanted)), (kills(&["b"], THREE), vec![]));
    let wanted = pod.end("a", TaskState::TaskFailed);
    assert_eq!((pod.killed(&wanted), states(&wanted)), (vec![], vec![("a".to_string(), TaskState::TaskFailed)]));
}

#[test]
fn a_killed_task_has_its_own_grace_once_and_takes_its_group_along() {
    let policy = |seconds| Some(mesos::KillPolicy { grace_period: Some(Duration::from_secs(seconds).into()) });
    let mut pod = Pod::launched(vec![mesos::TaskInfo { kill_policy: policy(20), ..task("a") }, task("b")]);
    pod.holds();
    ["a", "b"].iter().for_each(|name| pod.run(name));
    let wanted = pod.world.kill("a");
    assert_eq!(pod.killed(&wanted), kills(&["a"], Duration::from_secs(20)));
    let again = KillTaskMessage {
        framework_id: mesos::FrameworkId { value: "F".into() },
        task_id: mesos::TaskId { value: "a".into() },
        kill_policy: policy(1),
    };
    assert!(pod.world.hear(FromMaster::KillTask(Box::new(again))).killed.is_empty(), "as Mesos' default executor");
    let wanted = pod.end("a", TaskState::TaskKilled);
    assert_eq!(pod.killed(&wanted), kills(&["b"], THREE));
    assert!(pod.world.kill("b").killed.is_empty());
}

#[test]
fn a_group_that_is_killed_before_its_executors_container_is_there_is_killed_whole() {
    let mut pod = Pod::launched(of(&["a", "b"]));
    let wanted = pod.world.kill("b");
    assert_eq!(states(&wanted), ["a", "b"].map(|name| (name.to_string(), TaskState::TaskKilled)));
    let message = "A task within the task group was killed before delivery to the executor";
    assert!(wanted.statuses().iter().all(|status| status.message() == message));
    let wanted = pod.holds();
    assert!(wanted.launched.is_empty());
    assert_eq!(pod.killed(&wanted), kills(&["holder"], Duration::ZERO), "it has nothing to do");
    assert_eq!(exit(&pod.holder_gone(None)), 0);
}

#[test]
fn a_second_group_joins_and_what_the_executor_holds_grows_and_shrinks() {
    let mut pod = Pod::running(&["a"]);
    let with = |name: &str| mesos::TaskInfo { resources: vec![scalar("cpus", 0.5)], ..task(name) };
    let message = group(vec![with("b"), with("c")], false);
    let wanted = pod.world.hear(FromMaster::RunTaskGroup(Box::new(message)));
    let wanted = pod.take(wanted);
    assert_eq!(wanted.launched.iter().map(name_in).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(wanted.changed, [(pod.holder.clone(), "cpus(allocated: *):1".to_string())]);
    let wanted = pod.over("b", TaskState::TaskFinished);
    assert!(wanted.killed.is_empty());
    let used = pod.world.slave.used_resources();
    assert!(used.contains(&Resources::from_iter([scalar("cpus", 0.5)])), "{used}");
}

#[test]
fn a_master_that_wants_a_second_executor_of_the_name_has_the_first_ended() {
    let mut pod = Pod::running(&["a"]);
    let wanted = pod.world.hear(FromMaster::RunTaskGroup(Box::new(group(of(&["b", "c"]), true))));
    assert_eq!(states(&wanted), ["b", "c"].map(|name| (name.to_string(), TaskState::TaskDropped)));
    assert_eq!(pod.killed(&wanted), kills(&["a"], THREE));
    let wanted = pod.over("a", TaskState::TaskKilled);
    assert_eq!(pod.killed(&wanted), kills(&["holder"], Duration::ZERO));
    assert_eq!(exit(&pod.holder_gone(None)), 0);
}

#[test]
fn a_task_for_an_executor_that_is_ending_is_dropped() {
    let mut pod = Pod::running(&["a"]);
    pod.over("a", TaskState::TaskFinished);
    let wanted = pod.add(&["b"]);
    assert_eq!(states(&wanted), [("b".to_string(), TaskState::TaskDropped)]);
    assert_eq!(wanted.statuses()[0].reason(), Reason::ExecutorTerminated);
}

#[test]
fn when_the_executors_container_dies_its_tasks_have_failed_and_their_containers_are_ended() {
    let mut pod = Pod::running(&["a", "b"]);
    pod.end("a", TaskState::TaskFinished);
    let wanted = pod.holder_gone(Some("the virtual machine crashed"));
    assert_eq!(states(&wanted), [("b".to_string(), TaskState::TaskFailed)]);
    assert_eq!(wanted.statuses()[0].reason(), Reason::ExecutorTerminated);
    assert_eq!(pod.killed(&wanted), kills(&["a", "b"], Duration::ZERO));
    assert!(wanted.messages::<ExitedExecutorMessage>().is_empty(), "its tasks' containers are still there");
    assert!(states(&pod.status("b", TaskState::TaskKilled)).is_empty(), "it has been said what became of it");
    assert!(pod.gone("a").messages::<ExitedExecutorMessage>().is_empty());
    assert_eq!(exit(&pod.gone("b")), -1);
}

#[test]
fn an_executor_whose_container_died_has_not_ended_in_order_though_its_tasks_are_heard_of_first() {
    let ends = [(None, Some("its child crashed"), -1), (Some(None), None, -1), (Some(Some(0)), None, 0)];
    for (told, reason, expected) in ends {
        let mut pod = Pod::running(&["a"]);
        let wanted = pod.over("a", TaskState::TaskFailed);
        assert_eq!(pod.killed(&wanted), kills(&["holder"], Duration::ZERO));
        let container = pod.holder.clone();
        if let Some(wait_status) = told {
            pod.world.event(Event::ExecutorEnded { container, wait_status, reason: None, message: None });
        }
        assert_eq!(exit(&pod.holder_gone(reason)), expected);
    }
}

#[test]
fn a_task_whose_container_dies_ends_the_whole_executor() {
    let mut pod = Pod::running(&["a"]);
    pod.add(&["b"]);
    pod.run("b");
    let wanted = pod.world.gone(&pod.members["a"].clone(), Some("its child crashed"));
    assert_eq!(states(&wanted), [("a".to_string(), TaskState::TaskFailed)]);
    assert_eq!(pod.killed(&wanted), kills(&["b"], THREE));
    let wanted = pod.over("b", TaskState::TaskKilled);
    assert_eq!(pod.killed(&wanted), kills(&["holder"], Duration::ZERO));
}

#[test]
fn a_task_whose_container_cannot_be_launched_fails_with_its_group() {
    let mut pod = Pod::running(&["other"]);
    pod.add(&["a", "b"]);
    let wanted = pod.world.gone(&pod.members["a"].clone(), Some("cannot make the sandbox"));
    assert_eq!(states(&wanted), [("a".to_string(), TaskState::TaskFailed)]);
    assert_eq!(wanted.statuses()[0].reason(), Reason::ContainerLaunchFailed);
    assert_eq!(pod.killed(&wanted), kills(&["b"], THREE), "the other group runs on");
}

#[test]
fn an_executor_whose_container_cannot_be_launched_fails_all_tasks() {
    let mut pod = Pod::launched(of(&["a", "b"]));
    let wanted = pod.holder_gone(Some("no memory"));
    assert_eq!(states(&wanted), ["a", "b"].map(|name| (name.to_string(), TaskState::TaskFailed)));
    assert!(wanted.statuses().iter().all(|status| status.reason() == Reason::ContainerLaunchFailed));
    assert_eq!(exit(&wanted), -1);
}

#[test]
fn an_executor_that_is_shut_down_gives_its_tasks_three_seconds_and_is_killed_after_five() {
    let mut pod = Pod::running(&["a", "b"]);
    let message = ShutdownExecutorMessage {
        framework_id: Some(mesos::FrameworkId { value: "F".into() }),
        executor_id: Some(mesos::ExecutorId { value: "E".into() }),
    };
    let wanted = pod.world.hear(FromMaster::ShutdownExecutor(Box::new(message)));
    assert_eq!(pod.killed(&wanted), kills(&["a", "b"], THREE));
    pod.over("a", TaskState::TaskKilled);
    assert!(pod.world.later(SECOND * 5 - Duration::from_millis(1)).killed.is_empty());
    let wanted = pod.world.later(Duration::from_millis(1));
    assert_eq!(pod.killed(&wanted), kills(&["b", "holder"], Duration::ZERO));
    let wanted = pod.holder_gone(None);
    assert_eq!(states(&wanted), [("b".to_string(), TaskState::TaskKilled)]);
    assert_eq!(exit(&pod.gone("b")), 9);
    assert!(pod.world.later(SECOND * 60).killed.is_empty());
}

#[test]
fn a_framework_that_is_over_hears_nothing_more_and_all_of_its_containers_end() {
    let mut pod = Pod::running(&["a", "b"]);
    let message = ShutdownFrameworkMessage { framework_id: mesos::FrameworkId { value: "F".into() } };
    let wanted = pod.world.hear(FromMaster::ShutdownFramework(Box::new(message)));
    assert_eq!(pod.killed(&wanted), kills(&["a", "b"], THREE));
    assert!(states(&pod.status("a", TaskState::TaskKilled)).is_empty());
    pod.gone("a");
    let wanted = pod.world.gone(&pod.members["b"].clone(), Some("its child crashed"));
    assert!(states(&wanted).is_empty());
    assert_eq!(pod.killed(&wanted), kills(&["holder"], Duration::ZERO));
    pod.holder_gone(None);
    assert!(pod.world.slave.frameworks().is_empty());
}

#[test]
fn a_slave_that_stops_waits_for_the_tasks_containers_too() {
    let mut pod = Pod::running(&["a"]);
    let wanted = pod.world.event(Event::Stop);
    assert_eq!(pod.killed(&wanted), kills(&["a"], THREE));
    let wanted = pod.holder_gone(Some("the virtual machine crashed"));
    assert!(!wanted.exit, "a task's container is there");
    pod.uuids = 0;
    let end = wanted.statuses().remove(0);
    assert!(!pod.world.acknowledge_uuid("a", end.uuid()).exit);
    assert!(pod.gone("a").exit);
}

#[test]
fn a_slave_that_stops_before_the_executors_container_is_there_launches_no_task() {
    let mut pod = Pod::launched(of(&["a"]));
    let wanted = pod.world.event(Event::Stop);
    assert_eq!(pod.killed(&wanted), kills(&["holder"], Duration::ZERO));
    assert!(pod.holds().launched.is_empty());
}

#[test]
fn the_master_hears_of_the_executor_and_its_tasks_when_the_slave_comes_back() {
    let mut pod = Pod::running(&["a", "b"]);
    pod.status("a", TaskState::TaskFinished);
    pod.world.ping(false);
    let message: ReregisterSlaveMessage = pod.world.later(SECOND).only();
    let [executor] = message.executor_infos.as_slice() else { panic!("{:?}", message.executor_infos) };
    assert_eq!(executor.r#type(), executor_info::Type::Default);
    assert_eq!(executor.command, None, "no master knows of one");
    let tasks: Vec<_> = message.tasks.iter().map(|task| (task.task_id.value.as_str(), task.state())).collect();
    assert_eq!(tasks, [("a", TaskState::TaskFinished), ("b", TaskState::TaskRunning)]);
    assert!(message.tasks.iter().all(|task| task.executor_id.as_ref().is_some_and(|id| id.value == "E")));
    // While nobody listens the group goes on, and its master hears of all of it.
    let wanted = pod.status("b", TaskState::TaskFailed);
    assert!(states(&wanted).is_empty());
    assert_eq!(states(&pod.world.reregistered()).len(), 2);
}

#[test]
fn nobody_speaks_for_a_default_executor_or_a_command_task() {
    let mut pod = Pod::running(&["a"]);
    let driver = super::executors::driver();
    let wanted = pod.world.update(driver.clone(), "a", TaskState::TaskFailed, 9);
    assert!(states(&wanted).is_empty() && wanted.told.is_empty());
    let wanted = pod.world.say(Via::Http(None), FromExecutor::Subscribe { tasks: vec![], updates: vec![] });
    assert!(wanted.launched.is_empty());
    assert!(states(&pod.world.status(&pod.holder.clone(), "a", TaskState::TaskFailed, 9)).is_empty());
    pod.world.running("command");
    let ids = (FrameworkId::new("F").expect("id"), ExecutorId::new("command").expect("id"));
    let speaker = executor::Speaker { framework: ids.0, executor: ids.1, via: driver };
    let message = FromExecutor::Update(Box::new(pod.world.a_status("command", TaskState::TaskFailed, 9)));
    assert!(states(&pod.world.event(Event::Executor { speaker, message })).is_empty());
}

#[test]
fn a_task_says_nothing_of_another() {
    let mut pod = Pod::running(&["a", "b"]);
    let container = pod.members["a"].clone();
    assert!(states(&pod.world.status(&container, "b", TaskState::TaskFailed, 9)).is_empty());
}
