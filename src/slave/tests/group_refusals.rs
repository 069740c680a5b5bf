//! Task groups that are not launched, and what is said of their tasks.

use super::groups::{default_executor, exit, group, of, states};
use super::*;
use crate::messages::mesos::container_info;

#[test]
fn what_a_real_master_would_not_have_let_pass_is_an_error() {
    let command = Some(mesos::CommandInfo { value: Some("./executor".into()), ..Default::default() });
    let executor = mesos::ExecutorInfo { command, ..default_executor() };
    let single = mesos::TaskInfo { command: None, executor: Some(default_executor()), ..task("a") };
    let single =
        RunTaskMessage { framework: framework(), task: single, launch_executor: Some(true), ..Default::default() };
    let messages = [
        FromMaster::RunTaskGroup(Box::new(RunTaskGroupMessage { executor, ..group(of(&["a"]), true) })),
        FromMaster::RunTaskGroup(Box::new(group(of(&["a", "a"]), true))),
        FromMaster::RunTask(Box::new(single)),
    ];
    for message in messages {
        let wanted = World::registered().hear(message);
        assert!(wanted.launched.is_empty());
        assert_eq!(states(&wanted), [("a".to_string(), TaskState::TaskError)]);
        assert_eq!(wanted.statuses()[0].reason(), Reason::TaskInvalid);
        assert_eq!(exit(&wanted), -1);
    }
}

#[test]
fn a_group_of_which_one_task_cannot_be_given_what_it_asks_for_is_refused_whole() {
    let container = Some(mesos::ContainerInfo {
        r#type: container_info::Type::Mesos as i32,
        hostname: Some("h".into()),
        ..Default::default()
    });
    let secret = mesos::environment::Variable {
        name: "S".into(),
        r#type: Some(mesos::environment::variable::Type::Secret as i32),
        ..Default::default()
    };
    let environment = Some(mesos::Environment { variables: vec![secret] });
    let command = Some(mesos::CommandInfo { value: Some("true".into()), environment, ..Default::default() });
    let tasks = [
        mesos::TaskInfo { container: container.clone(), ..task("b") },
        mesos::TaskInfo { command, ..task("b") },
        mesos::TaskInfo { command: None, ..task("b") },
    ];
    let executor = mesos::ExecutorInfo { container, ..default_executor() };
    let mut groups: Vec<_> = tasks.map(|second| group(vec![task("a"), second], true)).into();
    groups.push(RunTaskGroupMessage { executor, ..group(of(&["a", "b"]), true) });
    for group in groups {
        let wanted = World::registered().hear(FromMaster::RunTaskGroup(Box::new(group)));
        assert_eq!(states(&wanted), ["a", "b"].map(|name| (name.to_string(), TaskState::TaskFailed)));
        assert!(wanted.statuses().iter().all(|status| status.reason() == Reason::ContainerLaunchFailed));
        assert_eq!(exit(&wanted), -1);
    }
}
