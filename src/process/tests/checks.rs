//! Checks of a process container, with real commands. (HTTP and TCP checks are this binary's own subcommand, and so tested from outside.)

use super::*;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{
    CheckInfo, DurationInfo, Environment, HealthCheck, KillPolicy, check_info, environment, health_check,
};

fn command(text: &str) -> CommandInfo {
    CommandInfo { value: Some(text.into()), ..Default::default() }
}

/// A check each hundredth of a second.
fn check(command: CommandInfo) -> CheckInfo {
    CheckInfo {
        r#type: Some(check_info::Type::Command as i32),
        command: Some(check_info::Command { command }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.01),
        ..Default::default()
    }
}

fn health(command: CommandInfo) -> HealthCheck {
    HealthCheck {
        r#type: Some(health_check::Type::Command as i32),
        command: Some(command),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.01),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        ..Default::default()
    }
}

fn launch(task: &str, ask: impl FnOnce(&mut TaskInfo)) -> Container {
    Container::launch(|spec, info| {
        ask(spec.task.get_or_insert_default());
        info.value = Some(task.into());
    })
}

impl Container {
    fn exit_codes(&self) -> Vec<Option<i32>> {
        let statuses = self.updates.iter().filter_map(|status| status.check_status.as_ref());
        statuses.map(|status| status.command.as_ref().expect("a command's status").exit_code).collect()
    }

    fn healthy(&self) -> Vec<Option<bool>> {
        self.updates.iter().map(|status| status.healthy).collect()
    }
}

#[test]
fn a_check_that_comes_to_pass_is_told_of_once_in_each_way() {
    let mut container = launch("echo ready >ready; exec sleep 600", |task| {
        task.check = Some(check(command("echo x >>runs; [ -e go ]")));
    });
    container.until(|container| container.exit_codes().contains(&Some(1)));
    let runs = container.sandbox.join("runs");
    container.until(|_| std::fs::read_to_string(&runs).is_ok_and(|runs| runs.len() > 8));
    std::fs::write(container.sandbox.join("go"), "").expect("go");
    container.until(|container| container.exit_codes().contains(&Some(0)));
    assert_eq!(container.exit_codes(), [None, None, Some(1), Some(0)], "TASK_STARTING and TASK_RUNNING have none yet");
    let told = &container.updates[2];
    assert_eq!((told.state(), told.reason()), (TaskState::TaskRunning, Reason::TaskCheckStatusUpdated));
    container.kill(60_000);
    container.run();
    assert_eq!(container.exit_codes().last(), Some(&None), "a terminal status has none again");
}

#[test]
fn a_task_whose_health_check_fails_twice_is_killed() {
    let mut container = launch("exec sleep 600", |task| {
        task.health_check = Some(health(command("exit 1")));
        // It has all the time that it may need to die of the first signal.
        task.kill_policy = Some(KillPolicy { grace_period: Some(Duration::from_secs(60).into()) });
    });
    let (states, message) = container.run();
    let running = TaskState::TaskRunning;
    assert_eq!(states, [TaskState::TaskStarting, running, running, running, TaskState::TaskKilled]);
    assert_eq!(container.healthy(), [None, None, Some(false), Some(false), Some(false)]);
    assert_eq!(container.updates[2].reason(), Reason::TaskHealthCheckStatusUpdated);
    assert_eq!((container.updates[4].reason, message.as_str()), (None, "Command terminated with signal Terminated"));
}

#[test]
fn a_healthy_task_is_told_of_once_and_ends_by_itself() {
    let mut container = launch("until [ -e passed ]; do sleep 0.01; done", |task| {
        task.health_check = Some(health(command("echo x >>runs; [ $(wc -l <runs) -lt 4 ] || touch passed")));
    });
    assert_eq!(container.run().0.last(), Some(&TaskState::TaskFinished));
    assert_eq!(container.healthy(), [None, None, Some(true), None]);
}

#[test]
fn a_check_that_hangs_is_ended_with_its_children_and_has_failed() {
    let mut container = launch("exec sleep 600", |task| {
        // A slow machine may end it before it has come to hang; then the next one does. One is enough.
        let hangs = command("[ ! -s check ] || exit 0; setsid sleep 600 & echo $! >child; echo $$ >check; wait");
        let (timeout_seconds, consecutive_failures) = (Some(0.5), Some(1_000_000));
        task.health_check = Some(HealthCheck { timeout_seconds, consecutive_failures, ..health(hangs) });
    });
    let (check, child) = (container.await_file("check"), container.await_file("child"));
    container.until(|container| container.healthy().contains(&Some(false)));
    // They were killed before that was told; that they are gone takes the kernel a moment.
    container.until(|_| !is_running(&child) && !is_running(&check));
    container.until(|container| container.healthy().last() == Some(&Some(true)));
    container.kill(60_000);
    assert_eq!(container.run().0.last(), Some(&TaskState::TaskKilled));
}

#[test]
fn a_check_has_the_task_s_environment_sandbox_and_user_and_its_own_variables() {
    let variable = |name: &str, value: &str| environment::Variable {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let mut container = Container::launch(|spec, info| {
        spec.environment = vec![
            Variable { name: "A".into(), value: "the task's".into() },
            Variable { name: "B".into(), value: "the task's".into() },
        ];
        if nix::unistd::geteuid().is_root() {
            spec.user = Some("nobody".into());
        }
        let mut exec = command("sh");
        exec.shell = Some(false);
        let script = "echo \"$A $B $(pwd) $(id -un)\"; echo end >&2; touch mine; cat; echo $1 >done";
        exec.arguments = ["sh", "-c", script, "x", "word"].map(String::from).to_vec();
        exec.environment = Some(Environment { variables: vec![variable("B", "the 'check''s'")] });
        spec.task.get_or_insert_default().check = Some(CheckInfo { interval_seconds: Some(600.0), ..check(exec) });
        info.value = Some("id -un >user; exec sleep 600".into());
    });
    assert_eq!(container.await_file("done"), "word\n");
    let user = container.await_file("user");
    let expected = format!("the task's the 'check''s' {} {user}end\n", container.sandbox.display());
    assert_eq!(container.read("stderr"), expected);
    assert_eq!(container.read("stdout"), "");
    container.kill(0);
    container.run();
}

#[test]
fn a_check_that_cannot_be_executed_has_failed() {
    let mut container = launch("exec sleep 600", |task| {
        let missing = CommandInfo { shell: Some(false), ..command("/no/such/program") };
        task.health_check = Some(health(missing));
    });
    assert_eq!(container.run().0.last(), Some(&TaskState::TaskKilled));
}

/// An HTTPS health check at a port.
fn https(port: u16) -> HealthCheck {
    let http = health_check::HttpCheckInfo { port: port.into(), scheme: Some("https".into()), ..Default::default() };
    let kind = Some(health_check::Type::Http as i32);
    HealthCheck { r#type: kind, http: Some(http), command: None, ..health(CommandInfo::default()) }
}

#[test]
fn an_https_server_is_asked_by_curl_whoever_has_signed_its_certificate() {
    let there = |program: &str| std::process::Command::new(program).arg("version").output().is_ok();
    if !there("curl") || !there("openssl") {
        return;
    }
    let port = crate::loopback::port_for_a_server();
    let key =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=t -keyout key -out cert";
    let serve = format!("exec openssl s_server -www -accept 127.0.0.1:{port} -key key -cert cert");
    let mut container = launch(&format!("{key} && {serve}"), |task| {
        task.health_check = Some(HealthCheck { grace_period_seconds: Some(600.0), ..https(port) });
    });
    container.until(|container| container.healthy().contains(&Some(true)));
    container.kill(0);
    container.run();
}

#[test]
fn an_https_server_that_is_not_there_is_not_healthy() {
    let mut container = launch("exec sleep 600", |task| task.health_check = Some(https(1)));
    assert_eq!(container.run().0.last(), Some(&TaskState::TaskKilled));
    assert_eq!(container.healthy()[2..], [Some(false); 3]);
}

#[test]
fn no_check_runs_once_the_task_is_being_killed() {
    let mut container = launch("trap '' TERM; while :; do sleep 0.01; done", |task| {
        task.check = Some(check(command("echo x >>runs; exit $(wc -l <runs)")));
    });
    container.until(|container| container.exit_codes().len() > 4);
    container.kill(300);
    container.run();
    // Each of its runs has another status, and was told of; the last may have been under way.
    let runs = container.read("runs").lines().count();
    let told = container.exit_codes().into_iter().flatten().count();
    assert!(runs <= told + 1, "{runs} runs, {told} told of");
}

#[test]
fn a_task_that_takes_too_long_has_failed_for_that_reason() {
    let mut container = launch("trap '' TERM; echo deaf >deaf; while :; do sleep 0.01; done", |task| {
        task.max_completion_time = Some(DurationInfo { nanoseconds: 500_000_000 });
    });
    let (states, message) = container.run();
    // On a slow machine its time may be over before it is deaf to the first signal.
    let signals: &[&str] =
        if container.sandbox.join("deaf").exists() { &["Killed"] } else { &["Killed", "Terminated"] };
    assert_eq!(states, after_start(TaskState::TaskFailed));
    assert!(signals.iter().any(|name| message == format!("Command terminated with signal {name}")), "{message}");
    assert_eq!(container.updates[2].reason(), Reason::MaxCompletionTimeReached);
}
