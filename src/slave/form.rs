//! Resources in the forms of Mesos' times. Within, they are as Mesos has had them since 1.4: reservations as a stack, and each
//! allocated to a role. Masters before that do not say to whom (before 1.2), and know `role` and `reservation` only; Mesos'
//! agent fills in the one (`injectAllocationInfo` in `Slave::run`), and tells all masters of its resources in the old form, for
//! it cannot know which it has got (`downgradeResources` in `Slave::doReliableRegistration`).

use crate::messages::mesos;
use crate::messages::mesos::framework_info::capability;
use crate::messages::mesos::internal::{RegisterSlaveMessage, ReregisterSlaveMessage};
use crate::messages::mesos::resource::AllocationInfo;
use crate::messages::mesos::{ExecutorInfo, Resource, TaskInfo};
use crate::resources::{downgrade, upgrade};

/// The role to which resources of a framework are allocated if nobody says otherwise; none if it has several, or none at all.
fn only_role(framework: &mesos::FrameworkInfo) -> Option<&str> {
    let multi = capability::Type::MultiRole as i32;
    if framework.capabilities.iter().all(|each| each.r#type != Some(multi)) {
        return Some(framework.role());
    }
    let first = framework.roles.first()?;
    framework.roles.iter().all(|role| role == first).then_some(first)
}

/// Brings the resources of a task or executor, as its master sent them, into the form that is kept.
///
/// # Errors
/// When nobody says to which of the framework's roles they are allocated.
pub(super) fn complete<'a>(
    resources: impl Iterator<Item = &'a mut Resource>,
    framework: &mesos::FrameworkInfo,
) -> Result<(), String> {
    for resource in resources {
        upgrade(resource);
        if resource.allocation_info.is_none() {
            let Some(role) = only_role(framework) else {
                return Err(format!("it is not said to which role of framework {} they are allocated", framework.name));
            };
            resource.allocation_info = Some(AllocationInfo { role: Some(role.to_string()) });
        }
    }
    Ok(())
}

/// All resources in a task.
pub(super) fn of_task(task: &mut TaskInfo) -> impl Iterator<Item = &mut Resource> {
    task.resources.iter_mut().chain(task.executor.iter_mut().flat_map(of_executor))
}

/// All resources in an executor.
pub(super) fn of_executor(executor: &mut ExecutorInfo) -> impl Iterator<Item = &mut Resource> {
    executor.resources.iter_mut()
}

/// A message that tells a master of resources.
pub(super) trait TellsOfResources {
    /// Each of them.
    fn resources(&mut self) -> impl Iterator<Item = &mut Resource>;
}

impl TellsOfResources for RegisterSlaveMessage {
    fn resources(&mut self) -> impl Iterator<Item = &mut Resource> {
        self.slave.resources.iter_mut().chain(&mut self.checkpointed_resources)
    }
}

impl TellsOfResources for ReregisterSlaveMessage {
    fn resources(&mut self) -> impl Iterator<Item = &mut Resource> {
        let own = self.slave.resources.iter_mut().chain(&mut self.checkpointed_resources);
        let tasks = self.tasks.iter_mut().flat_map(|task| &mut task.resources);
        own.chain(tasks).chain(self.executor_infos.iter_mut().flat_map(of_executor))
    }
}

/// The message with all resources in the form of before Mesos 1.4, but for those that have none.
pub(super) fn before_refinement<M: TellsOfResources>(mut message: M) -> M {
    message.resources().for_each(downgrade);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{resource_text, scalar};

    fn framework(roles: &[&str]) -> mesos::FrameworkInfo {
        let multi = mesos::framework_info::Capability { r#type: Some(capability::Type::MultiRole as i32) };
        mesos::FrameworkInfo {
            roles: roles.iter().map(|role| role.to_string()).collect(),
            capabilities: vec![multi],
            ..Default::default()
        }
    }

    fn completed(framework: &mesos::FrameworkInfo, mut resource: Resource) -> Result<String, String> {
        complete([&mut resource].into_iter(), framework)?;
        Ok(resource_text(&resource))
    }

    #[test]
    fn what_an_old_master_leaves_out_is_the_frameworks_only_role() {
        let old = mesos::FrameworkInfo { role: Some("web".into()), ..Default::default() };
        let given = Resource { role: Some("web".into()), ..scalar("cpus", 1.0) };
        assert_eq!(completed(&old, given).as_deref(), Ok("cpus(allocated: web)(reservations: [(STATIC,web)]):1"));
        let nobody = Resource { role: Some("*".into()), ..scalar("cpus", 1.0) };
        assert_eq!(completed(&Default::default(), nobody).as_deref(), Ok("cpus(allocated: *):1"));
        assert_eq!(completed(&framework(&["a"]), scalar("cpus", 1.0)).as_deref(), Ok("cpus(allocated: a):1"));
    }

    #[test]
    fn what_the_master_says_stands() {
        let allocation_info = Some(AllocationInfo { role: Some("b".into()) });
        let given = Resource { allocation_info, ..scalar("cpus", 1.0) };
        assert_eq!(completed(&framework(&["a", "b"]), given).as_deref(), Ok("cpus(allocated: b):1"));
    }

    #[test]
    fn with_several_roles_nobody_guesses() {
        assert!(completed(&framework(&["a", "b"]), scalar("cpus", 1.0)).is_err());
        assert!(completed(&framework(&[]), scalar("cpus", 1.0)).is_err());
    }
}
