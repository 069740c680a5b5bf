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

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
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
            DirBuilder::new().mode(0o755).create(directory)?;
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
