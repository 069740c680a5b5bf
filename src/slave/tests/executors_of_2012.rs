//! Executors under a master of 2012: it counts them and forgets them in its own way, and calls their tasks lost when they exit.

use super::executors::{driver, own_task};
use super::*;
use crate::slave::executor::{FromExecutor, ToExecutor};

impl World {
    /// Registered with a master of 2012.
    fn with_old_master() -> World {
        let mut world = World::registered();
        world.shows(Dialect::V2012);
        world
    }

    /// A task of a framework's own executor, as a master of 2012 sends it.
    fn run_in_2012(&mut self, task: mesos::TaskInfo) -> Wanted {
        let message = RunTaskMessage {
            framework: mesos::FrameworkInfo { id: None, capabilities: vec![], ..framework() },
            framework_id: framework().id,
            task,
            pid: Some("1@127.0.0.1:5062".into()),
            ..Default::default()
        };
        self.hear(FromMaster::RunTask(Box::new(message)))
    }

    /// An executor that has these tasks and has registered.
    fn talks_in_2012(&mut self, tasks: &[&str]) -> ContainerId {
        let mut launched = tasks.iter().flat_map(|task| self.run_in_2012(own_task(task)).launched).collect::<Vec<_>>();
        let container = ContainerId::new(launched.remove(0).container_id).expect("container id");
        assert!(launched.is_empty(), "one executor for all");
        self.started(&container);
        self.say(driver(), FromExecutor::Register);
        container
    }
}

/// The states of the updates, and `exit`, in the order in which they were sent.
fn said(wanted: &Wanted) -> Vec<String> {
    let word = |(_, message): &(Pid, Outgoing)| {
        let update = message.decode::<StatusUpdateMessage>().map(|message| message.update.status);
        let update = update.map(|status| format!("{} {}", status.task_id.value, status.state().as_str_name()));
        update.or(message.decode::<ExitedExecutorMessage>().map(|_| "exit".to_string()))
    };
    wanted.sent.iter().filter_map(word).collect()
}

#[test]
fn the_end_of_a_task_does_not_wait_for_an_earlier_acknowledgement_and_comes_before_the_exit() {
    let mut world = World::with_old_master();
    let container = world.talks_in_2012(&["a", "b"]);
    assert_eq!(said(&world.update(driver(), "a", TaskState::TaskRunning, 1)), ["a TASK_RUNNING"]);
    assert_eq!(said(&world.update(driver(), "a", TaskState::TaskFinished, 2)), ["a TASK_FINISHED"]);
    assert_eq!(said(&world.update(driver(), "b", TaskState::TaskRunning, 3)), ["b TASK_RUNNING"]);
    assert_eq!(said(&world.gone(&container, None)), ["b TASK_FAILED", "exit"]);
}

#[test]
fn each_update_is_acknowledged_by_itself_and_only_what_is_not_is_sent_again() {
    let mut world = World::with_old_master();
    world.talks_in_2012(&["a"]);
    world.update(driver(), "a", TaskState::TaskStarting, 1);
    world.update(driver(), "a", TaskState::TaskRunning, 2);
    world.update(driver(), "a", TaskState::TaskRunning, 3);
    assert!(world.acknowledge("a", 2).sent.is_empty(), "the others are on their way already");
    assert_eq!(world.later(Duration::from_secs(10)).messages::<StatusUpdateMessage>().len(), 2);
    world.acknowledge("a", 1);
    let again: StatusUpdateMessage = world.later(Duration::from_secs(10)).only();
    assert_eq!(again.update.uuid(), [3; 16]);
    world.acknowledge("a", 3);
    assert!(world.later(Duration::from_secs(60)).statuses().is_empty());
}

#[test]
fn a_task_that_follows_an_executors_exit_gets_a_new_one_while_the_last_updates_of_the_old_one_wait() {
    let mut world = World::with_old_master();
    let before = world.talks_in_2012(&["a"]);
    world.update(driver(), "a", TaskState::TaskRunning, 1);
    world.acknowledge("a", 1);
    let uuid = world.gone(&before, None).only::<StatusUpdateMessage>().update.uuid().to_vec();
    let wanted = world.run_in_2012(own_task("b"));
    assert_eq!((said(&wanted).len(), wanted.launched.len()), (0, 1));
    let container = ContainerId::new(wanted.launched[0].container_id.clone()).expect("container id");
    assert!(container != before);
    world.started(&container);
    let told = world.say(driver(), FromExecutor::Register).told;
    let tasks: Vec<&str> = told
        .iter()
        .filter_map(|(_, message)| match message {
            ToExecutor::Launch { task, .. } => Some(task.task_id.value.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(tasks, ["b"], "the old one's tasks are not the new one's to run");
    assert_eq!(said(&world.later(Duration::from_secs(10))), ["a TASK_FAILED"]);
    world.acknowledge_uuid("a", &uuid);
    assert!(said(&world.later(Duration::from_secs(10))).is_empty());
    let executor = world.slave.frameworks().values().flat_map(|framework| framework.executors.values()).next();
    assert_eq!(executor.map(|executor| executor.tasks.len()), Some(1));
}

#[test]
fn an_executor_that_was_never_launched_is_told_of_as_exited_once_its_task_has_been_refused() {
    let mut world = World::with_old_master();
    let mut refused = own_task("a");
    let command = refused.executor.as_mut().and_then(|executor| executor.command.as_mut()).expect("a command");
    command.value = Some(String::new());
    let wanted = world.run_in_2012(refused.clone());
    assert_eq!(said(&wanted), ["a TASK_FAILED", "exit"]);
    // One that is here exits when it exits.
    world.talks_in_2012(&["b"]);
    let twice = mesos::TaskInfo { command: Some(Default::default()), ..own_task("c") };
    assert_eq!(said(&world.run_in_2012(twice)), ["c TASK_FAILED"], "0.9 has no TASK_ERROR");
}
