//! Who runs a container's command, and what is in its environment: Mesos' own variables (`executorEnvironment` in
//! `src/slave/slave.cpp`), then the command's.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use super::Slave;
use super::constants::REREGISTRATION_TIMEOUT;
use crate::flags::values::format_duration;
use crate::ids::SlaveId;
use crate::messages::container::Variable;
use crate::messages::mesos::{self, CommandInfo, ExecutorInfo};

impl Slave {
    /// Who runs the command: the command's own user, or else the framework's (`Slave::_run` in Mesos).
    pub(super) fn user(&self, framework: &mesos::FrameworkInfo, executor: &ExecutorInfo) -> Option<String> {
        self.user_of(framework, executor.command.as_ref())
    }

    /// Who runs this command.
    pub(super) fn user_of(&self, framework: &mesos::FrameworkInfo, command: Option<&CommandInfo>) -> Option<String> {
        if !self.config.switch_user {
            return None;
        }
        let own = command.and_then(|command| command.user.clone());
        own.or_else(|| Some(framework.user.clone())).filter(|user| !user.is_empty())
    }

    /// What the command finds in its environment, the last of a name winning. `role`: what a command task is given is
    /// allocated to this one. `token`: by which an executor shows who it is.
    pub(super) fn environment(
        &self,
        slave: &SlaveId,
        framework: &mesos::FrameworkInfo,
        executor: &ExecutorInfo,
        role: Option<String>,
        token: Option<String>,
        sandbox: &Path,
    ) -> Vec<Variable> {
        let sandbox = sandbox.to_string_lossy().into_owned();
        let framework_id = framework.id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
        let grace = executor.shutdown_grace_period.as_ref();
        let grace = grace.map_or(self.config.shutdown_grace, |own| Duration::from_nanos(own.nanoseconds.max(0) as u64));
        let mut variables: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: String| put(&mut variables, name.into(), value);
        if let Some(ip) = self.config.libprocess_ip {
            set("LIBPROCESS_IP", ip.to_string());
        }
        for (name, value) in &self.config.executor_environment {
            set(name, value.clone());
        }
        set("LIBPROCESS_PORT", "0".into());
        set("MESOS_FRAMEWORK_ID", framework_id);
        set("MESOS_EXECUTOR_ID", executor.executor_id.value.clone());
        set("MESOS_SLAVE_ID", slave.to_string());
        set("MESOS_SLAVE_PID", self.config.executor_pid.to_string());
        set("MESOS_AGENT_ENDPOINT", self.config.executor_pid.address.to_string());
        set("MESOS_DIRECTORY", sandbox.clone());
        set("MESOS_CHECKPOINT", u8::from(framework.checkpoint()).to_string());
        set("MESOS_HTTP_COMMAND_EXECUTOR", "0".into());
        set("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", format_duration(grace));
        if framework.checkpoint() {
            set("MESOS_RECOVERY_TIMEOUT", format_duration(self.config.recovery_timeout));
            set("MESOS_SUBSCRIPTION_BACKOFF_MAX", format_duration(REREGISTRATION_TIMEOUT));
        }
        if let Some(token) = token {
            set("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", token);
        }
        // The containerizer's, which is later than the slave's (`MesosContainerizerProcess::_launch`).
        set("MESOS_SANDBOX", sandbox);
        // The command executor sets the role last (`CommandExecutor::launch`).
        let role = role.map(|role| ("MESOS_ALLOCATION_ROLE".to_string(), role));
        for own in own_variables(executor.command.as_ref()).into_iter().chain(role) {
            put(&mut variables, own.0, own.1);
        }
        variables.into_iter().map(|(name, value)| Variable { name, value }).collect()
    }

    /// What a task of the default executor finds: of the slave's and the executor's variables nothing, as in any nested container
    /// (`Http::_launchContainer`, `MesosContainerizerProcess::_launch`), but what the executor adds itself (`DefaultExecutor::_launchGroup`).
    /// `address`: the guest's.
    pub(super) fn nested_environment(
        &self,
        task: &mesos::TaskInfo,
        address: Option<Ipv4Addr>,
        sandbox: &Path,
    ) -> Vec<Variable> {
        let mut variables = vec![("MESOS_SANDBOX".to_string(), sandbox.to_string_lossy().into_owned())];
        for (name, value) in own_variables(task.command.as_ref()) {
            put(&mut variables, name, value);
        }
        // In Mesos it is where the executor's libprocess listens.
        let address = address.or(self.config.libprocess_ip).unwrap_or(*self.config.pid.address.ip());
        put(&mut variables, "MESOS_CONTAINER_IP".into(), address.to_string());
        let allocation = task.resources.first().and_then(|first| first.allocation_info.as_ref());
        if let Some(role) = allocation.map(|allocation| allocation.role()) {
            put(&mut variables, "MESOS_ALLOCATION_ROLE".into(), role.to_string());
        }
        variables.into_iter().map(|(name, value)| Variable { name, value }).collect()
    }
}

/// The last of a name wins.
fn put(variables: &mut Vec<(String, String)>, name: String, value: String) {
    variables.retain(|(other, _)| *other != name);
    variables.push((name, value));
}

fn own_variables(command: Option<&CommandInfo>) -> Vec<(String, String)> {
    let environment = command.and_then(|command| command.environment.as_ref());
    let variables = environment.map(|environment| environment.variables.as_slice()).unwrap_or_default();
    variables.iter().map(|variable| (variable.name.clone(), variable.value().to_string())).collect()
}
