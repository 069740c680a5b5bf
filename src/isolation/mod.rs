//! The parent's half of isolation: the 2012 module's verbs as a trait, and the factory that makes one of its two kinds.
//!
//! ```text
//! slave core ── launch, kill, resources_changed, acknowledge ──► dyn Isolation ──┬─ process::ProcessIsolation
//!            ◄── Step, Update, Exited ────────────────────────                   └─ vm::VmIsolation
//!                                                                                     both over children::Children
//! ```

pub mod children;
#[cfg(test)]
mod holder_tests;
mod member;
pub mod process;
mod session;
pub mod settle;
pub mod usage;
pub mod vm;
#[cfg(test)]
mod vm_tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::container::directory::DirectoryError;
use crate::container::status::Update;
use crate::ids::{ContainerId, IdError};
use crate::messages::container::Spec;
use crate::messages::mesos::{self, TaskState};
use crate::poll::PollSet;
use usage::Usages;

/// What happened to a container. An event lives from one turn to the next: its size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerEvent {
    /// A step of its life is done.
    Step {
        /// Whose.
        container: ContainerId,
        /// `overlay`, `boot`, `address`, `ssh`, `run`, `collect`, `destroy`.
        name: String,
        /// How long it took.
        took: Duration,
    },
    /// What its command's URIs name has been fetched, or not.
    Fetched {
        /// Whose.
        container: ContainerId,
        /// All of it is there.
        succeeded: bool,
    },
    /// What became of a command task or, of a task without a name, an executor. It is repeated until it is acknowledged, so the same
    /// uuid may come twice.
    Update {
        /// Whose.
        container: ContainerId,
        /// With its uuid.
        update: Update,
    },
    /// The child is gone, and so is everything of the container. The last event of a container.
    Exited {
        /// Whose.
        container: ContainerId,
        /// How.
        ended: Ended,
    },
}

impl ContainerEvent {
    /// Whether it tells how a container begins, and not of an end.
    pub fn is_beginning(&self) -> bool {
        match self {
            ContainerEvent::Step { .. } | ContainerEvent::Fetched { .. } => true,
            ContainerEvent::Update { update, .. } => {
                matches!(update.status.state(), TaskState::TaskStarting | TaskState::TaskRunning)
            }
            ContainerEvent::Exited { .. } => false,
        }
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The child sent a terminal update, or was to be cleaned up by itself and was.
    Orderly,
    /// The child ended without a terminal update; what it left has been cleaned up. Or it ran in another container's VM, with or without a
    /// terminal update, and what it ran may still run there: that container has to end.
    Died {
        /// Why, for an operator.
        reason: String,
    },
}

/// Why a container was not launched. Nothing of it is left.
#[derive(Debug)]
pub enum LaunchError {
    /// The container's id is not fit to name a directory.
    Id(IdError),
    /// There is a container with this id.
    Exists(ContainerId),
    /// Its runtime directory could not be used.
    Directory(DirectoryError),
    /// Its child could not be started.
    Spawn(io::Error),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaunchError::Id(source) => write!(f, "not a container id: {source}"),
            LaunchError::Exists(container) => write!(f, "container {container} exists already"),
            LaunchError::Directory(source) => {
                write!(f, "{source}; check --runtime_dir and its file system")
            }
            LaunchError::Spawn(source) => {
                write!(f, "cannot start the container's child: {source}; check the limits on processes and descriptors")
            }
        }
    }
}

impl std::error::Error for LaunchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LaunchError::Id(source) => Some(source),
            LaunchError::Directory(source) => Some(source),
            LaunchError::Spawn(source) => Some(source),
            LaunchError::Exists(_) => None,
        }
    }
}

impl From<DirectoryError> for LaunchError {
    fn from(source: DirectoryError) -> LaunchError {
        LaunchError::Directory(source)
    }
}

/// How executors are kept apart from the host and from each other. Nothing here blocks.
pub trait Isolation {
    /// Starts a container. What follows comes as events, an end in any case.
    ///
    /// # Errors
    /// When it could not even be begun; no event comes then.
    fn launch(&mut self, spec: Spec, now: Instant) -> Result<(), LaunchError>;

    /// Ends a container: TERM, KILL after the grace period; should the child itself be stuck, it is killed 15 s later and
    /// cleaned up after. A container that is gone is left alone.
    fn kill(&mut self, container: &ContainerId, grace: Duration, now: Instant);

    /// The executor's resources, all of them, are these now.
    #[allow(dead_code)] // a command task keeps what it was given; executors with several tasks do not
    fn resources_changed(&mut self, container: &ContainerId, resources: &[mesos::Resource]);

    /// The slave holds the update with this uuid; the child need not repeat it.
    fn acknowledge(&mut self, container: &ContainerId, uuid: &[u8]);

    /// What the containers take of the host now: reads of `/proc`.
    fn usage(&mut self) -> Usages;

    /// Containers that could not be cleaned up after, so far.
    fn destroy_errors(&self) -> u64;

    /// Waits for what the children do.
    fn register(&self, set: &mut PollSet);

    /// Takes what has come.
    fn turn(&mut self, set: &PollSet, now: Instant) -> Vec<ContainerEvent>;

    /// When to call [`Isolation::turn`] though nothing came.
    fn deadline(&self) -> Option<Instant>;
}

/// Which isolation, with what it needs to know.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A process of the host.
    Process,
    /// A virtual machine.
    Vm(Box<vm::VmConfig>),
}

/// Makes the isolation that `--isolation` names; runtime directories lie below `runtime_dir`.
pub fn create(kind: Kind, runtime_dir: PathBuf) -> Box<dyn Isolation> {
    match kind {
        Kind::Process => Box::new(process::ProcessIsolation::new(runtime_dir)),
        Kind::Vm(config) => Box::new(vm::VmIsolation::new(runtime_dir, *config)),
    }
}
