//! The sandboxes on the host, made before their containers are launched.
//!
//! ```text
//! …/executors/E/runs/<container id>/              an executor's, its user's and ours; `latest` beside it leads there
//!                       ├── containers/<its own>/  of a default executor: a task's, its user's and ours
//!                       └── tasks/<task id>        a link to that, for those who do not know the container
//! ```
//!
//! A default executor's own sandbox stays root's, as do the two directories in it: what is made in them later must not be led elsewhere by
//! a task that runs already. Others may pass through, for each task may have a user of its own.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::ids::TaskId;
use crate::messages::container::Spec;
use crate::slave::{CONTAINERS, TASKS};

/// Makes the sandbox of a container that is to be launched.
///
/// # Errors
/// What the system says; an existing sandbox is one.
pub(super) fn prepare(spec: &Spec) -> io::Result<()> {
    let sandbox = Path::new(&spec.sandbox);
    if spec.joins.is_some() {
        return inside(sandbox, spec);
    }
    let runs = sandbox.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o755).create(runs)?;
    if spec.holds_tasks() {
        for directory in [sandbox.to_path_buf(), sandbox.join(CONTAINERS), sandbox.join(TASKS)] {
            DirBuilder::new().mode(0o755).create(&directory)?;
            // Whatever our own umask is: the tasks' users pass through.
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        }
        // It runs nothing that would write there, but of every executor they are asked for.
        for output in ["stdout", "stderr"] {
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(sandbox.join(output))?;
        }
    } else {
        DirBuilder::new().mode(0o750).create(sandbox)?;
    }
    let latest = runs.join("latest");
    let _ = fs::remove_file(&latest);
    if let Err(error) = symlink(sandbox, &latest) {
        log::debug!("no link {}: {error}", latest.display());
    }
    Ok(())
}

/// A task's sandbox inside its executor's, and the link to it. An older task of the same name gives its link up.
fn inside(sandbox: &Path, spec: &Spec) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let id = spec.task.as_ref().map(|task| TaskId::try_from(&task.task_id)).transpose().map_err(invalid)?;
    let executors = sandbox.parent().and_then(Path::parent).ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().mode(0o750).create(sandbox)?;
    let Some(id) = id else { return Ok(()) };
    let link: PathBuf = executors.join(TASKS).join(id.as_str());
    let _ = fs::remove_file(&link);
    if let Err(error) = symlink(sandbox, &link) {
        log::debug!("no link {}: {error}", link.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use crate::messages::container::Joined;
    use crate::messages::mesos::{TaskId as Id, TaskInfo};

    /// A directory of one test, as the executor `E` has it.
    struct Runs(PathBuf, /* until the test is over */ #[allow(dead_code)] Scratch);

    impl Runs {
        fn new() -> Runs {
            let scratch = Scratch::new();
            Runs(scratch.path().join("E/runs"), scratch)
        }

        fn spec(&self, sandbox: &str) -> Spec {
            Spec { sandbox: self.0.join(sandbox).to_string_lossy().into_owned(), ..Default::default() }
        }

        fn task(&self, name: &str, container: &str) -> Spec {
            let task = TaskInfo { task_id: Id { value: name.into() }, ..Default::default() };
            let joins = Some(Joined { container_id: "c".into(), address: None });
            Spec { task: Some(task), joins, ..self.spec(&format!("c/containers/{container}")) }
        }

        fn mode(&self, path: &str) -> u32 {
            fs::metadata(self.0.join(path)).expect("it is there").permissions().mode() & 0o777
        }
    }

    #[test]
    fn an_executors_sandbox_is_its_own_and_the_newest_is_linked() {
        let runs = Runs::new();
        for name in ["old", "new"] {
            prepare(&runs.spec(name)).expect("a sandbox");
        }
        assert_eq!(fs::read_link(runs.0.join("latest")).expect("a link"), runs.0.join("new"));
        assert_eq!(runs.mode("new") & 0o007, 0);
        assert!(prepare(&runs.spec("new")).is_err(), "it is there already");
    }

    #[test]
    fn tasks_have_sandboxes_inside_their_executors_and_links_by_their_names() {
        let runs = Runs::new();
        prepare(&Spec { holds_tasks: Some(true), ..runs.spec("c") }).expect("a sandbox");
        for container in ["first", "second"] {
            prepare(&runs.task("t", container)).expect("a sandbox");
            let link = fs::read_link(runs.0.join("c/tasks/t")).expect("a link");
            assert_eq!(link, runs.0.join("c/containers").join(container));
        }
        assert_eq!(fs::read_link(runs.0.join("latest")).expect("a link"), runs.0.join("c"), "not a task's");
        assert_eq!(
            (runs.mode("c") & 0o005, runs.mode("c/containers") & 0o005),
            (5, 5),
            "its tasks' users pass through"
        );
        assert_eq!(runs.mode("c/containers/first") & 0o007, 0);
        let output = |path: &str| fs::read(runs.0.join(path)).expect("it is there");
        assert_eq!((output("c/stdout"), output("c/stderr")), (vec![], vec![]), "as of any executor");
    }

    #[test]
    fn a_tasks_name_leads_nowhere_and_a_missing_executor_is_not_made() {
        let runs = Runs::new();
        assert!(prepare(&runs.task("t", "first")).is_err());
        prepare(&Spec { holds_tasks: Some(true), ..runs.spec("c") }).expect("a sandbox");
        assert!(prepare(&runs.task("../../t", "first")).is_err());
        assert!(!runs.0.join("c/containers/first").exists());
    }
}
