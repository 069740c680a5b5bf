//! Who runs a container's command, and what is in its environment: Mesos' own variables (`executorEnvironment` in
//! `src/slave/slave.cpp`), then the command's.

use std::path::Path;

use super::Slave;
use super::constants::MESOS_VERSION;
use crate::ids::SlaveId;
use crate::messages::container::Variable;
use crate::messages::mesos::{self, ExecutorInfo};

impl Slave {
    /// Who runs the command: the command's own user, or else the framework's (`Slave::_run` in Mesos).
    pub(super) fn user(&self, framework: &mesos::FrameworkInfo, executor: &ExecutorInfo) -> Option<String> {
        if !self.config.switch_user {
            return None;
        }
        let own = executor.command.as_ref().and_then(|command| command.user.clone());
        own.or_else(|| Some(framework.user.clone())).filter(|user| !user.is_empty())
    }

    /// What the command finds in its environment, the last of a name winning. `role`: what a command task is given is
    /// allocated to this one.
    pub(super) fn environment(
        &self,
        slave: &SlaveId,
        framework: &mesos::FrameworkInfo,
        executor: &ExecutorInfo,
        role: Option<String>,
        sandbox: &Path,
    ) -> Vec<Variable> {
        let sandbox = sandbox.to_string_lossy().into_owned();
        let framework_id = framework.id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
        let mut variables: Vec<(String, String)> = vec![
            ("MESOS_FRAMEWORK_ID".into(), framework_id),
            ("MESOS_EXECUTOR_ID".into(), executor.executor_id.value.clone()),
            ("MESOS_SLAVE_ID".into(), slave.to_string()),
            ("MESOS_SLAVE_PID".into(), self.config.pid.to_string()),
            ("MESOS_AGENT_ENDPOINT".into(), self.config.pid.address.to_string()),
            ("MESOS_DIRECTORY".into(), sandbox.clone()),
            ("MESOS_SANDBOX".into(), sandbox),
            ("MESOS_CHECKPOINT".into(), u8::from(framework.checkpoint()).to_string()),
            ("MESOS_VERSION".into(), MESOS_VERSION.into()),
        ];
        if framework.checkpoint() {
            let timeout = format!("{}secs", self.config.recovery_timeout.as_secs());
            variables.push(("MESOS_RECOVERY_TIMEOUT".into(), timeout));
        }
        // The command executor sets the role last (`CommandExecutor::launch`).
        let role = role.map(|role| ("MESOS_ALLOCATION_ROLE".to_string(), role));
        for own in own_variables(executor).into_iter().chain(role) {
            variables.retain(|(name, _)| *name != own.0);
            variables.push(own);
        }
        variables.into_iter().map(|(name, value)| Variable { name, value }).collect()
    }
}

fn own_variables(executor: &ExecutorInfo) -> Vec<(String, String)> {
    let environment = executor.command.as_ref().and_then(|command| command.environment.as_ref());
    let variables = environment.map(|environment| environment.variables.as_slice()).unwrap_or_default();
    variables.iter().map(|variable| (variable.name.clone(), variable.value().to_string())).collect()
}
