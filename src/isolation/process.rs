//! `--isolation=process`: the executor is a process of the host, in a session of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::children::{Children, Cleanup};
use super::usage::Usages;
use super::{ContainerEvent, Isolation, LaunchError};
use crate::ids::ContainerId;
use crate::messages::container::Spec;
use crate::messages::mesos;
use crate::poll::PollSet;
use crate::subprocess::Spawn;

/// Children that run `mesos-slave process-container DIR`.
#[derive(Debug)]
pub struct ProcessIsolation(Children);

impl ProcessIsolation {
    /// No container yet.
    pub fn new(runtime_dir: PathBuf) -> ProcessIsolation {
        ProcessIsolation(Children::new(runtime_dir, program, Cleanup::Session))
    }
}

fn program(directory: &Path) -> Spawn {
    Spawn::ourselves("process-container").arg(directory)
}

impl Isolation for ProcessIsolation {
    fn launch(&mut self, spec: Spec, now: Instant) -> Result<(), LaunchError> {
        self.0.launch(Spec { vm: None, ..spec }, now)
    }

    fn kill(&mut self, container: &ContainerId, grace: Duration, now: Instant) {
        self.0.kill(container, grace, now);
    }

    fn resources_changed(&mut self, container: &ContainerId, resources: &[mesos::Resource]) {
        self.0.resources_changed(container, resources);
    }

    fn acknowledge(&mut self, container: &ContainerId, uuid: &[u8]) {
        self.0.acknowledge(container, uuid);
    }

    fn usage(&mut self) -> Usages {
        self.0.usage()
    }

    fn destroy_errors(&self) -> u64 {
        self.0.destroy_errors()
    }

    fn register(&self, set: &mut PollSet) {
        self.0.register(set);
    }

    fn turn(&mut self, set: &PollSet, now: Instant) -> Vec<ContainerEvent> {
        self.0.turn(set, now)
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }
}
