//! The default executor's containers without a VM: one that holds tasks, and a task in it.

use super::*;
use crate::messages::container::Joined;

fn holder() -> Container {
    Container::launch(|spec, _| {
        spec.holds_tasks = Some(true);
        // The slave makes it so.
        std::fs::create_dir(&spec.sandbox).expect("a sandbox");
        std::fs::set_permissions(&spec.sandbox, PermissionsExt::from_mode(0o755)).expect("mode");
    })
}

fn holding() -> Container {
    let mut container = holder();
    container.until(|container| container.updates.len() == 2);
    container
}

#[test]
fn a_holder_runs_nothing_until_it_is_told_to_end() {
    let mut container = holding();
    assert!(!container.sandbox.join("stdout").exists(), "no command has begun");
    container.kill(60_000);
    let (states, message) = container.run();
    assert_eq!(
        (states, message.as_str()),
        (after_start(TaskState::TaskKilled), "the executor's container was told to end")
    );
    let outcome = container.directory.read_outcome().expect("outcome").expect("an outcome");
    assert_eq!((outcome.status.task_id.value.as_str(), outcome.wait_status), ("", Some(0)));
}

#[test]
fn a_holder_s_slave_that_is_gone_is_its_end() {
    let mut container = holding();
    container.connection = None;
    container.until(|container| container.child.try_wait().is_some());
    assert!(container.directory.is_done());
}

#[test]
fn a_task_that_joins_is_run_as_its_own_user_below_the_holder_s_sandbox() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can switch users
    }
    let holder = holding();
    let sandbox = holder.sandbox.join("containers/t1");
    std::fs::create_dir_all(&sandbox).expect("the slave makes the sandbox");
    let mut task = Container::launch(|spec, info| {
        spec.joins = Some(Joined { container_id: "holder".into(), address: None });
        spec.user = Some("nobody".into());
        spec.sandbox = sandbox.to_str().expect("utf-8").into();
        info.value = Some("cd \"$PWD\" && id -un; echo x 2>/dev/null >../../mine || echo kept out".into());
    });
    task.sandbox = sandbox;
    assert_eq!(task.run(), (after_start(TaskState::TaskFinished), "Command exited with status 0".into()));
    assert_eq!(task.read("stdout"), "nobody\nkept out\n");
    let status = task.updates.last().and_then(|status| status.container_status.clone()).expect("container status");
    let parent = status.container_id.and_then(|id| id.parent).expect("a parent");
    assert_eq!(parent.value, "holder");
}
