//! Who is offered what: one rule.
//!
//! **Every slave's unused resources are offered, whole, to one framework at a time, in turn.** Frameworks take turns in the order of
//! their ids, and each gets it for the first of its roles; a role that it has suppressed, or for which it has lately declined as much
//! of this slave, is passed over, and so is a framework that is disconnected. What an
//! offer holds is nobody else's until the framework accepts or declines it, or it is rescinded; there is no time limit. What is
//! left of an accepted offer, and all of a declined one, stays away from that framework for `refuse_seconds` (5 s if not given, at
//! least 1 s, which is as often as Mesos allocates), unless more becomes free on that slave. There are no shares, weights or quotas.

use std::time::{Duration, Instant};

use super::accounts;
use super::core::Core;
use super::events;
use super::frameworks::{Framework, YEAR};
use super::launching::Allotment;
use crate::ids::{FrameworkId, SlaveId};
use crate::messages::mesos::framework_info::capability::Type as Capability;
use crate::messages::mesos::resource::AllocationInfo;
use crate::messages::mesos::scheduler::call;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{self, Filters, OfferId, Resource, TaskInfo, TaskState, offer::operation};

/// The shortest time between two offers of the same resources to the same framework (Mesos' `--allocation_interval`).
const MIN_REFUSAL: Duration = Duration::from_secs(1);

/// How many refusals of a framework are remembered.
const MAX_FILTERS: usize = 100;

/// Resources in a framework's hands.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) framework: FrameworkId,
    pub(super) slave: SlaveId,
    pub(super) role: String,
    /// Without role and allocation, as `accounts` keeps them.
    pub(super) resources: Vec<Resource>,
}

/// What a framework does not want to be offered again for a while.
#[derive(Debug)]
pub(super) struct Filter {
    slave: SlaveId,
    role: String,
    resources: Vec<Resource>,
    pub(super) until: Instant,
}

impl Core {
    /// What nobody uses or has been offered on a slave. Reckoned anew each time: there is no second account to disagree with.
    pub(super) fn unused(&self, id: &SlaveId) -> Vec<Resource> {
        let Some(slave) = self.slaves.get(id) else {
            return Vec::new();
        };
        let tasks =
            self.tasks.values().filter(|task| super::slaves::on(task, id) && !events::is_terminal(task.state()));
        let executors = self.executors.iter().filter(|((slave, ..), _)| slave == id);
        let offers = self.offers.values().filter(|offer| offer.slave == *id);
        let used = tasks
            .map(|task| &task.resources)
            .chain(executors.map(|(_, executor)| &executor.resources))
            .chain(offers.map(|offer| &offer.resources));
        used.fold(slave.info.resources.clone(), |left, used| accounts::minus(left, used))
    }

    /// Offers what is free to those whose turn it is.
    pub(super) fn make_offers(&mut self) {
        let slaves: Vec<SlaveId> =
            self.slaves.iter().filter(|(_, slave)| slave.is_connected()).map(|(id, _)| id.clone()).collect();
        let mut made: Vec<(FrameworkId, Vec<mesos::Offer>)> = Vec::new();
        for slave in slaves {
            while let Some((framework, offer)) = self.next_offer_of(&slave) {
                match made.iter_mut().find(|(id, _)| *id == framework) {
                    Some((_, offers)) => offers.push(offer),
                    None => made.push((framework, vec![offer])),
                }
            }
        }
        for (framework, offers) in made {
            self.tell(&framework, events::offers(offers));
        }
    }

    fn next_offer_of(&mut self, slave: &SlaveId) -> Option<(FrameworkId, mesos::Offer)> {
        let free = self.unused(slave);
        let after = self.frameworks.keys().filter(|id| Some(*id) > self.last_offered.as_ref());
        let before = self.frameworks.keys().filter(|id| Some(*id) <= self.last_offered.as_ref());
        let (id, role, share) = after.chain(before).find_map(|id| self.share_of(id, slave, &free))?;
        let name = format!("{}-O{}", self.identity.id, self.next_offer);
        self.next_offer += 1;
        self.last_offered = Some(id.clone());
        let offer = Offer { framework: id.clone(), slave: slave.clone(), role, resources: share };
        let message = self.offer_message(&name, &offer)?;
        self.offers.insert(name, offer);
        Some((id, message))
    }

    /// What a framework would be offered of a slave's free resources: its role and the resources, if there is anything for it.
    fn share_of(
        &self,
        id: &FrameworkId,
        slave: &SlaveId,
        free: &[Resource],
    ) -> Option<(FrameworkId, String, Vec<Resource>)> {
        let framework = self.frameworks.get(id).filter(|framework| framework.peer().is_some())?;
        let roles = framework.roles().into_iter().filter(|role| !framework.suppressed.contains(*role));
        let mut shares = roles.map(|role| (role, accounts::share(free, role)));
        let refused = |role: &str, share: &[Resource]| {
            let covers = |filter: &Filter| {
                filter.slave == *slave && filter.role == role && accounts::contains(&filter.resources, share)
            };
            framework.filters.iter().any(covers)
        };
        let (role, share) = shares.find(|(role, share)| accounts::is_worth_offering(share) && !refused(role, share))?;
        Some((id.clone(), role.to_owned(), share))
    }

    fn offer_message(&self, name: &str, offer: &Offer) -> Option<mesos::Offer> {
        let framework = self.frameworks.get(&offer.framework)?;
        let slave = self.slaves.get(&offer.slave)?;
        let allocation =
            framework.has(Capability::MultiRole).then(|| AllocationInfo { role: Some(offer.role.clone()) });
        let refined = framework.has(Capability::ReservationRefinement);
        let executor_ids = self.executors.keys().filter(|(on, of, _)| *on == offer.slave && *of == offer.framework);
        let address = mesos::Address {
            hostname: Some(slave.info.hostname.clone()),
            ip: Some(slave.pid.address.ip().to_string()),
            port: slave.pid.address.port().into(),
        };
        Some(mesos::Offer {
            id: OfferId { value: name.into() },
            framework_id: offer.framework.to_proto(),
            slave_id: offer.slave.to_proto(),
            hostname: slave.info.hostname.clone(),
            url: Some(mesos::Url {
                scheme: "http".into(),
                address,
                path: Some(format!("/{}", slave.pid.id)),
                ..Default::default()
            }),
            resources: accounts::shown(&offer.resources, allocation.as_ref(), refined),
            attributes: slave.info.attributes.clone(),
            executor_ids: executor_ids.map(|(.., executor)| executor.to_proto()).collect(),
            allocation_info: allocation,
            ..Default::default()
        })
    }

    /// Takes back offers and says so to those who have them.
    pub(super) fn rescind_offers(&mut self, which: impl Fn(&Offer) -> bool) {
        let rescinded: Vec<(String, FrameworkId)> = self
            .offers
            .iter()
            .filter(|(_, offer)| which(offer))
            .map(|(id, offer)| (id.clone(), offer.framework.clone()))
            .collect();
        for (id, framework) in rescinded {
            self.offers.remove(&id);
            self.tell(&framework, events::rescind(&id));
        }
    }

    pub(super) fn accept(&mut self, id: &FrameworkId, accept: call::Accept) {
        let slave = match self.check_offers(id, &accept.offer_ids) {
            Ok(slave) => slave,
            Err(error) => return self.refuse_offers(id, accept, &error),
        };
        let taken: Vec<Offer> = accept.offer_ids.iter().filter_map(|offer| self.offers.remove(&offer.value)).collect();
        let role = taken.first().map(|offer| offer.role.clone()).unwrap_or_default();
        let mut allotment = Allotment { slave, role, left: Vec::new() };
        for offer in taken {
            allotment.left = accounts::plus(allotment.left, &offer.resources);
        }
        for operation in accept.operations {
            match operation.r#type() {
                operation::Type::Launch => {
                    operation
                        .launch
                        .unwrap_or_default()
                        .task_infos
                        .into_iter()
                        .for_each(|task| self.launch(id, task, &mut allotment));
                }
                operation::Type::LaunchGroup => {
                    self.launch_group(id, operation.launch_group.unwrap_or_default(), &mut allotment);
                }
                kind => {
                    log::warn!("framework {id}: dropping {}, which the embedded master does not do", kind.as_str_name())
                }
            }
        }
        let Allotment { slave, role, left } = allotment;
        self.refuse(id, Filter { slave, role, resources: left, until: self.now }, accept.filters.as_ref());
    }

    /// The slave that all these offers are of, if they can be accepted (`validation::offer::validate`, its texts).
    fn check_offers(&self, id: &FrameworkId, offers: &[OfferId]) -> Result<SlaveId, String> {
        let mut slave: Option<&SlaveId> = None;
        for (place, OfferId { value }) in offers.iter().enumerate() {
            if offers[..place].iter().any(|earlier| earlier.value == *value) {
                return Err(format!("Duplicate offer {value} in offer list"));
            }
            let Some(offer) = self.offers.get(value) else {
                return Err(format!("Offer {value} is no longer valid"));
            };
            if offer.framework != *id {
                return Err(format!(
                    "Offer {value} has invalid framework {} while framework {id} is expected",
                    offer.framework
                ));
            }
            let first = *slave.get_or_insert(&offer.slave);
            if offer.slave != *first {
                return Err(format!(
                    "Aggregated offers must belong to one single agent. Offer {value} uses agent {} and agent {first}",
                    offer.slave
                ));
            }
        }
        slave.cloned().ok_or_else(|| "No offers specified".into())
    }

    fn refuse_offers(&mut self, id: &FrameworkId, accept: call::Accept, error: &str) {
        log::warn!("framework {id} accepts offers that it cannot: {error}");
        for OfferId { value } in &accept.offer_ids {
            if self.offers.get(value).is_some_and(|offer| offer.framework == *id) {
                self.offers.remove(value);
            }
        }
        let state = match self.is_partition_aware(id) {
            true => TaskState::TaskDropped,
            false => TaskState::TaskLost,
        };
        let text = format!("Task launched with invalid offers: {error}");
        for operation in accept.operations {
            let group = operation.launch_group.map(|group| group.task_group.tasks).unwrap_or_default();
            let tasks = operation.launch.unwrap_or_default().task_infos.into_iter().chain(group);
            tasks.for_each(|task| self.refuse_task(id, &task, state, Reason::InvalidOffers, &text));
        }
    }

    pub(super) fn refuse_task(
        &mut self,
        id: &FrameworkId,
        task: &TaskInfo,
        state: TaskState,
        reason: Reason,
        text: &str,
    ) {
        log::warn!("not launching task {:?} of framework {id}: {text}", task.task_id.value);
        let status = events::master_status(&task.task_id, Some(&task.slave_id), state, reason, text, self.wall());
        self.tell(id, events::update(status));
    }

    pub(super) fn decline(&mut self, id: &FrameworkId, decline: call::Decline) {
        for OfferId { value } in decline.offer_ids {
            match self.offers.get(&value) {
                Some(offer) if offer.framework == *id => {
                    let Some(offer) = self.offers.remove(&value) else {
                        continue;
                    };
                    let Offer { slave, role, resources, .. } = offer;
                    let filter = Filter { slave, role, resources, until: self.now };
                    self.refuse(id, filter, decline.filters.as_ref());
                }
                _ => log::info!("framework {id} declines offer {value}, which is no longer valid"),
            }
        }
    }

    /// What a framework did not take stays away from it for as long as it says.
    fn refuse(&mut self, id: &FrameworkId, filter: Filter, filters: Option<&Filters>) {
        let seconds = filters.unwrap_or(&Filters::default()).refuse_seconds();
        // Mesos takes its default for what is no time at all.
        let asked = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(5));
        let until = self.now + asked.clamp(MIN_REFUSAL, YEAR);
        if let Some(framework) = self.frameworks.get_mut(id)
            && !filter.resources.is_empty()
        {
            // A later refusal of the same or more takes the earlier one's place.
            framework.filters.retain(|old| {
                old.slave != filter.slave
                    || old.role != filter.role
                    || !accounts::contains(&filter.resources, &old.resources)
            });
            framework.filters.push(Filter { until, ..filter });
            if framework.filters.len() > MAX_FILTERS {
                framework.filters.remove(0);
            }
        }
    }

    /// Offers for these roles, or for all if none is named, whatever was declined before.
    pub(super) fn revive(&mut self, id: &FrameworkId, revive: &call::Revive) {
        let Some((framework, roles)) = self.own_roles(id, &revive.roles) else {
            return;
        };
        framework.filters.retain(|filter| !roles.contains(&filter.role));
        framework.suppressed.retain(|role| !roles.contains(role));
    }

    /// No more offers for these roles, or for all if none is named.
    pub(super) fn suppress(&mut self, id: &FrameworkId, suppress: &call::Suppress) {
        if let Some((framework, roles)) = self.own_roles(id, &suppress.roles) {
            framework.suppressed.extend(roles);
        }
    }

    /// The roles that a call names, if all are the framework's; all that it has if there are none. A call that names another's is dropped.
    fn own_roles(&mut self, id: &FrameworkId, named: &[String]) -> Option<(&mut Framework, Vec<String>)> {
        let framework = self.frameworks.get_mut(id)?;
        let own = framework.roles();
        if let Some(other) = named.iter().find(|role| !own.contains(&role.as_str())) {
            log::warn!("framework {id} speaks of role {other:?}, which is not one of its own: dropping the call");
            return None;
        }
        let roles = if named.is_empty() { own.into_iter().map(str::to_owned).collect() } else { named.to_vec() };
        Some((framework, roles))
    }
}
