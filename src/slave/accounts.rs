//! What there is and who holds it. A master counts for itself and offers only what is free; where it is wrong, or offers of
//! two masters' times meet, more guests than the host has memory for would be the end of all of them.
//!
//! Mesos' agent counts nothing and takes what comes. Here tasks that do not fit are dropped as if their offer had been
//! outdated, which it was: not as invalid, for they may be launched again. A framework that is being removed counts for nothing
//! any more: its master has offered what it held to others already, and Mesos' agent runs these beside what is still ending.

use super::decision::Verdict;
use super::launch::Assignment;
use super::refusal::Refusal;
use super::{Action, Slave};
use crate::messages::mesos::Resource;
use crate::messages::mesos::internal::CheckpointResourcesMessage;
use crate::messages::mesos::task_status::Reason;
use crate::resources::{Resources, apply_checkpointed, resources_text, upgrade};

impl Slave {
    /// Takes over the reservations and volumes that an earlier slave left on disk.
    ///
    /// # Errors
    /// They cannot have been made of what this slave has.
    pub fn with_checkpointed(mut self, resources: Vec<Resource>) -> Result<Slave, String> {
        apply_checkpointed(&self.own_resources(), &resources).map_err(|error| {
            let (kept, own) = (resources_text(&resources), self.own_resources());
            format!("checkpointed resources {kept} are incompatible with agent resources {own}: {error}")
        })?;
        self.checkpointed_resources = resources;
        Ok(self)
    }

    fn own_resources(&self) -> Resources {
        self.config.info.resources.iter().cloned().collect()
    }

    /// All that there is, with reservations and volumes as masters have made them; allocated to nobody.
    pub fn total_resources(&self) -> Resources {
        let own = self.own_resources();
        // What does not fit is not kept.
        apply_checkpointed(&own, &self.checkpointed_resources).unwrap_or(own)
    }

    /// What executors and tasks hold; allocated to nobody.
    pub fn used_resources(&self) -> Resources {
        let frameworks = self.frameworks.values().filter(|framework| !framework.terminating);
        let executors = frameworks.flat_map(|framework| framework.executors.values());
        let mut used = Resources::new();
        for executor in executors.filter(|executor| executor.state.is_alive()) {
            used.add_all(&executor.resources().unallocated());
        }
        used
    }

    /// Why an assignment cannot be given what it asks for, if it cannot.
    pub(super) fn lacking(&self, assignment: &Assignment, verdict: Verdict) -> Option<Refusal> {
        let asked: Vec<Resource> = match verdict {
            Verdict::Launch => assignment.resources().cloned().collect(),
            Verdict::Join | Verdict::Drop { .. } => {
                assignment.tasks.iter().flat_map(|task| &task.resources).cloned().collect()
            }
        };
        let asked = match Resources::checked(&asked) {
            Ok(asked) => asked.unallocated(),
            Err(error) => return Some(Refusal::Invalid(error.to_string())),
        };
        let mut free = self.total_resources();
        if !free.contains(&asked) {
            let text = format!("the slave has no {asked}, but {free}");
            return Some(Refusal::Dropped(Reason::ResourcesUnknown, text));
        }
        free.subtract_all(&self.used_resources());
        let text = || format!("there is no {asked} left of the slave's resources, but {free}");
        (!free.contains(&asked)).then(|| Refusal::Dropped(Reason::InvalidOffers, text()))
    }

    /// The master's word on reservations and volumes, all of them. They are written down before anything is done with them.
    pub(super) fn checkpoint_resources(&mut self, message: CheckpointResourcesMessage) {
        let mut resources = message.resources;
        resources.iter_mut().for_each(upgrade);
        let all = |list: &[Resource]| list.iter().cloned().collect::<Resources>();
        if all(&resources) == all(&self.checkpointed_resources) {
            return log::debug!("the checkpointed resources are as they were");
        }
        if let Err(error) = apply_checkpointed(&self.own_resources(), &resources) {
            // Mesos' agent dies of it, again and again. Here tasks that use them are dropped, as they are unknown.
            return log::error!(
                "kept the checkpointed resources as they were, for {} cannot be: {error}; compare --resources with what the \
                 master has reserved",
                resources_text(&resources)
            );
        }
        log::info!("updated the checkpointed resources to {}", resources_text(&resources));
        self.actions.push(Action::CheckpointResources(resources.clone()));
        self.checkpointed_resources = resources;
    }
}
