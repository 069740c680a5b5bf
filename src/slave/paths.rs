//! Where things lie below `--work_dir`, as Mesos lays them out (`src/slave/paths.hpp`): operators' tools know these paths.

use std::path::{Path, PathBuf};

use crate::ids::{ContainerId, ExecutorId, FrameworkId, SlaveId};

/// A container's sandbox:
/// `<work_dir>/slaves/<S>/frameworks/<F>/executors/<E>/runs/<container id>`.
pub fn sandbox(
    work_dir: &Path,
    slave: &SlaveId,
    framework: &FrameworkId,
    executor: &ExecutorId,
    container: &ContainerId,
) -> PathBuf {
    let mut path = work_dir.to_path_buf();
    path.extend(["slaves", slave.as_str()]);
    path.extend(["frameworks", framework.as_str()]);
    path.extend(["executors", executor.as_str()]);
    path.extend(["runs", container.as_str()]);
    path
}

/// The sandbox of a task of the default executor, below its executor's: `<sandbox>/containers/<container id>`
/// (`containerizer::paths::getSandboxPath`).
pub fn nested_sandbox(executors: &Path, container: &ContainerId) -> PathBuf {
    executors.join(CONTAINERS).join(container.as_str())
}

/// The directory of a default executor's sandbox in which its tasks' sandboxes are.
pub const CONTAINERS: &str = "containers";

/// The directory of a default executor's sandbox in which links to its tasks' sandboxes are, by the tasks' names
/// (`DefaultExecutor::__launchGroup`): Mesos' web interface asks for `<sandbox>/tasks/<task id>`.
pub const TASKS: &str = "tasks";

/// The name under which `/files` also serves an executor's newest sandbox:
/// `/frameworks/<F>/executors/<E>/runs/latest`.
pub fn virtual_sandbox(framework: &FrameworkId, executor: &ExecutorId) -> String {
    format!("/frameworks/{framework}/executors/{executor}/runs/latest")
}

/// Where the reservations and volumes that masters have made are kept: `<work_dir>/meta/resources/resources.info`.
pub fn resources_info(work_dir: &Path) -> PathBuf {
    work_dir.join("meta/resources/resources.info")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_where_mesos_puts_it() {
        let path = sandbox(
            Path::new("/var/lib/mesos"),
            &SlaveId::new("S0").expect("id"),
            &FrameworkId::new("F").expect("id"),
            &ExecutorId::new("e x").expect("id"),
            &ContainerId::new("c").expect("id"),
        );
        assert_eq!(path, Path::new("/var/lib/mesos/slaves/S0/frameworks/F/executors/e x/runs/c"));
    }
}
