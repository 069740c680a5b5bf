//! Which checks a task may have: Mesos' rules, in its words (`src/common/validation.cpp`, `src/master/validation.cpp` of 1.11.0). A real
//! master has looked already; an old one, of before these rules, has not.

use crate::messages::mesos::environment::variable;
use crate::messages::mesos::{CheckInfo, CommandInfo, Environment, HealthCheck, TaskInfo, check_info, health_check};

/// What is wrong with a task's checks or its `max_completion_time`.
///
/// # Errors
/// The text for the framework.
pub fn task(task: &TaskInfo) -> Result<(), String> {
    if task.max_completion_time.as_ref().is_some_and(|most| most.nanoseconds < 0) {
        return Err("Task's `max_completion_time` must be non-negative".into());
    }
    if let Some(check) = &task.check {
        self::check(check).map_err(|error| format!("Task uses invalid check: {error}"))?;
    }
    if let Some(check) = &task.health_check {
        health(check).map_err(|error| format!("Task uses invalid health check: {error}"))?;
    }
    Ok(())
}

fn check(check: &CheckInfo) -> Result<(), String> {
    if check.r#type.is_none() {
        return Err("CheckInfo must specify 'type'".into());
    }
    match check.r#type() {
        check_info::Type::Command => {
            let command = check.command.as_ref().ok_or("Expecting 'command' to be set for COMMAND check")?;
            command_of("Command check", "Check", &command.command)?;
        }
        check_info::Type::Http => {
            let http = check.http.as_ref().ok_or("Expecting 'http' to be set for HTTP check")?;
            path("HTTP check", http.path.as_deref())?;
            port(http.port)?;
        }
        check_info::Type::Tcp => port(check.tcp.as_ref().ok_or("Expecting 'tcp' to be set for TCP check")?.port)?,
        check_info::Type::Unknown => return Err("'UNKNOWN' is not a valid check type".into()),
    }
    seconds("delay_seconds", check.delay_seconds)?;
    seconds("interval_seconds", check.interval_seconds)?;
    seconds("timeout_seconds", check.timeout_seconds)
}

fn health(check: &HealthCheck) -> Result<(), String> {
    if check.r#type.is_none() {
        return Err("HealthCheck must specify 'type'".into());
    }
    match check.r#type() {
        health_check::Type::Command => {
            let command = check.command.as_ref().ok_or("Expecting 'command' to be set for COMMAND health check")?;
            command_of("Command health check", "Health check", command)?;
        }
        health_check::Type::Http => {
            let http = check.http.as_ref().ok_or("Expecting 'http' to be set for HTTP health check")?;
            if let Some(scheme) = http.scheme.as_deref().filter(|scheme| !["http", "https"].contains(scheme)) {
                return Err(format!("Unsupported HTTP health check scheme: '{scheme}'"));
            }
            path("HTTP health check", http.path.as_deref())?;
            port(http.port)?;
        }
        health_check::Type::Tcp => {
            port(check.tcp.as_ref().ok_or("Expecting 'tcp' to be set for TCP health check")?.port)?;
        }
        health_check::Type::Unknown => return Err("'UNKNOWN' is not a valid health check type".into()),
    }
    seconds("delay_seconds", check.delay_seconds)?;
    seconds("grace_period_seconds", check.grace_period_seconds)?;
    seconds("interval_seconds", check.interval_seconds)?;
    seconds("timeout_seconds", check.timeout_seconds)
}

fn command_of(kind: &str, whose: &str, command: &CommandInfo) -> Result<(), String> {
    if command.value.is_none() {
        let what = if command.shell() { "'shell command'" } else { "'executable path'" };
        return Err(format!("{kind} must contain {what}"));
    }
    let invalid = |error| format!("{whose}'s `CommandInfo` is invalid: {error}");
    command.environment.as_ref().map_or(Ok(()), environment).map_err(invalid)
}

fn environment(environment: &Environment) -> Result<(), String> {
    for variable in &environment.variables {
        let name = &variable.name;
        match variable.r#type() {
            variable::Type::Value if variable.value.is_none() => {
                return Err(format!("Environment variable '{name}' of type 'VALUE' must have a value set"));
            }
            variable::Type::Unknown => return Err("Environment variable of type 'UNKNOWN' is not allowed".into()),
            variable::Type::Value | variable::Type::Secret => {}
        }
    }
    Ok(())
}

fn path(kind: &str, path: Option<&str>) -> Result<(), String> {
    match path.filter(|path| !path.starts_with('/')) {
        Some(path) => Err(format!("The path '{path}' of {kind} must start with '/'")),
        None => Ok(()),
    }
}

/// Mesos runs such a check, which then always fails.
fn port(port: u32) -> Result<(), String> {
    match port {
        1..=65535 => Ok(()),
        _ => Err(format!("{port} is not a port")),
    }
}

fn seconds(name: &str, seconds: Option<f64>) -> Result<(), String> {
    // Not a number is refused, too; Mesos' executor dies of it.
    match seconds.is_none_or(|seconds| seconds >= 0.0) {
        true => Ok(()),
        false => Err(format!("Expecting '{name}' to be non-negative")),
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
