//! Mesos' rules for checks, each once.

use super::*;
use crate::messages::mesos::environment::Variable;
use crate::messages::mesos::{CommandInfo, DurationInfo};

fn command(value: Option<&str>) -> CommandInfo {
    CommandInfo { value: value.map(str::to_string), ..Default::default() }
}

fn of_check(change: impl FnOnce(&mut CheckInfo)) -> Result<(), String> {
    let mut info = CheckInfo {
        r#type: Some(check_info::Type::Command as i32),
        command: Some(check_info::Command { command: command(Some("true")) }),
        http: Some(check_info::Http { port: 80, path: Some("/".into()) }),
        tcp: Some(check_info::Tcp { port: 80 }),
        ..Default::default()
    };
    change(&mut info);
    task(&TaskInfo { check: Some(info), ..Default::default() })
}

fn of_health(change: impl FnOnce(&mut HealthCheck)) -> Result<(), String> {
    let mut info = HealthCheck {
        r#type: Some(health_check::Type::Http as i32),
        command: Some(command(Some("true"))),
        http: Some(health_check::HttpCheckInfo { port: 80, ..Default::default() }),
        tcp: Some(health_check::TcpCheckInfo { port: 80, ..Default::default() }),
        ..Default::default()
    };
    change(&mut info);
    task(&TaskInfo { health_check: Some(info), ..Default::default() })
}

fn refused(result: Result<(), String>, text: &str) {
    let error = result.expect_err(text);
    assert!(error.ends_with(text), "{error}");
}

#[test]
fn a_task_without_checks_and_checks_of_each_type_are_taken() {
    assert_eq!(task(&TaskInfo::default()), Ok(()));
    for kind in [1, 2, 3] {
        assert_eq!(of_check(|info| info.r#type = Some(kind)), Ok(()));
        assert_eq!(of_health(|info| info.r#type = Some(kind)), Ok(()));
    }
    let https = |info: &mut HealthCheck| info.http.as_mut().expect("http").scheme = Some("https".into());
    assert_eq!(of_health(https), Ok(()));
}

#[test]
fn a_check_must_have_a_type_and_what_belongs_to_it() {
    refused(of_check(|info| info.r#type = None), "Task uses invalid check: CheckInfo must specify 'type'");
    refused(of_check(|info| info.r#type = Some(0)), "'UNKNOWN' is not a valid check type");
    refused(of_check(|info| info.command = None), "Expecting 'command' to be set for COMMAND check");
    refused(of_health(|info| info.r#type = None), "Task uses invalid health check: HealthCheck must specify 'type'");
    refused(of_health(|info| info.http = None), "Expecting 'http' to be set for HTTP health check");
    let (http, tcp) = (Some(2), Some(3));
    refused(of_check(|info| (info.r#type, info.http) = (http, None)), "Expecting 'http' to be set for HTTP check");
    refused(of_check(|info| (info.r#type, info.tcp) = (tcp, None)), "Expecting 'tcp' to be set for TCP check");
    refused(of_health(|info| (info.r#type, info.tcp) = (tcp, None)), "Expecting 'tcp' to be set for TCP health check");
    let nothing = |info: &mut HealthCheck| (info.r#type, info.command) = (Some(1), Some(command(None)));
    refused(of_health(nothing), "Command health check must contain 'shell command'");
}

#[test]
fn a_scheme_a_path_a_port_or_a_variable_that_cannot_be_is_refused() {
    let http =
        |change: fn(&mut health_check::HttpCheckInfo)| of_health(|info| change(info.http.as_mut().expect("http")));
    refused(http(|http| http.scheme = Some("ftp".into())), "Unsupported HTTP health check scheme: 'ftp'");
    refused(http(|http| http.path = Some("x".into())), "The path 'x' of HTTP health check must start with '/'");
    refused(http(|http| http.port = 0), "0 is not a port");
    refused(http(|http| http.port = 65536), "65536 is not a port");
    let unset = |info: &mut CheckInfo| {
        let environment = Environment { variables: vec![Variable { name: "A".into(), ..Default::default() }] };
        info.command.as_mut().expect("command").command.environment = Some(environment);
    };
    refused(of_check(unset), "Environment variable 'A' of type 'VALUE' must have a value set");
}

#[test]
fn no_time_is_negative_or_not_a_number() {
    refused(of_check(|info| info.delay_seconds = Some(-1.0)), "Expecting 'delay_seconds' to be non-negative");
    refused(of_check(|info| info.timeout_seconds = Some(f64::NAN)), "Expecting 'timeout_seconds' to be non-negative");
    refused(of_health(|info| info.interval_seconds = Some(-0.1)), "Expecting 'interval_seconds' to be non-negative");
    refused(
        of_health(|info| info.grace_period_seconds = Some(-1.0)),
        "Expecting 'grace_period_seconds' to be non-negative",
    );
    assert_eq!(of_check(|info| info.timeout_seconds = Some(0.0)), Ok(()));
    let most = |nanoseconds| TaskInfo { max_completion_time: Some(DurationInfo { nanoseconds }), ..Default::default() };
    refused(task(&most(-1)), "Task's `max_completion_time` must be non-negative");
    assert_eq!(task(&most(0)), Ok(()));
}
