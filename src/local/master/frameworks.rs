//! The frameworks: subscription, failover, their calls, their end.
//!
//! ```text
//!   SUBSCRIBE ─► Connected ──(stream closes)──► Disconnected ──(failover_timeout)──► over
//!                 ▲  │ └──(TEARDOWN)──────────────────────────────────────────────────▲
//!                 └──┴──── SUBSCRIBE with the framework's id (the old stream gets ERROR and ends)
//! ```
//!
//! When a framework is over, slaves are told to shut it down and its tasks are forgotten.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::core::{Action, Core, Peer, TaskKey};
use super::events;
use super::offers::Filter;
use crate::ids::FrameworkId;
use crate::messages::mesos::framework_info::capability::Type as Capability;
use crate::messages::mesos::internal::ShutdownFrameworkMessage;
use crate::messages::mesos::scheduler::call;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{FrameworkInfo, Task, TaskState};
use crate::resources::check_role;

/// Time between two HEARTBEAT events (`DEFAULT_HEARTBEAT_INTERVAL`).
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How many frameworks there may be at a time.
pub(super) const MAX_FRAMEWORKS: usize = 256;
/// How many ended frameworks are remembered (`DEFAULT_MAX_COMPLETED_FRAMEWORKS`).
const MAX_COMPLETED: usize = 50;
/// How many ended tasks of a framework are remembered.
const MAX_COMPLETED_TASKS: usize = 100;
/// How long a framework that a slave brought along has at least to subscribe, before its tasks are ended.
const RECOVERED_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest time that a framework can ask for; more is taken for this.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Whether a framework's scheduler is there.
#[derive(Debug)]
pub(super) enum Scheduler {
    Connected { peer: Peer, stream_id: String, heartbeat: Instant },
    Disconnected { over_at: Instant },
}

/// A framework that has subscribed and is not over.
#[derive(Debug)]
pub(super) struct Framework {
    pub(super) info: FrameworkInfo,
    pub(super) scheduler: Scheduler,
    /// Roles for which there are no offers: from SUPPRESS to REVIVE.
    pub(super) suppressed: BTreeSet<String>,
    pub(super) filters: Vec<Filter>,
    /// Ended tasks, the oldest first.
    pub(super) completed_tasks: VecDeque<Task>,
    /// Seconds since the epoch.
    pub(super) registered: f64,
}

/// A framework that is over.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) id: FrameworkId,
    pub(super) info: FrameworkInfo,
    pub(super) completed_tasks: VecDeque<Task>,
    /// Seconds since the epoch.
    pub(super) registered: f64,
    /// Seconds since the epoch.
    pub(super) unregistered: f64,
}

impl Framework {
    pub(super) fn peer(&self) -> Option<Peer> {
        match self.scheduler {
            Scheduler::Connected { peer, .. } => Some(peer),
            Scheduler::Disconnected { .. } => None,
        }
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> + '_ {
        let own = match self.scheduler {
            Scheduler::Connected { heartbeat, .. } => heartbeat,
            Scheduler::Disconnected { over_at } => over_at,
        };
        std::iter::once(own).chain(self.filters.iter().map(|filter| filter.until))
    }

    pub(super) fn has(&self, capability: Capability) -> bool {
        has(&self.info, capability)
    }

    /// The roles in which this framework is offered resources.
    pub(super) fn roles(&self) -> Vec<&str> {
        roles(&self.info)
    }

    pub(super) fn remember(&mut self, task: Task) {
        self.completed_tasks.push_back(task);
        if self.completed_tasks.len() > MAX_COMPLETED_TASKS {
            self.completed_tasks.pop_front();
        }
    }
}

/// A framework's roles: the one of old, or any number.
pub(super) fn roles(info: &FrameworkInfo) -> Vec<&str> {
    match has(info, Capability::MultiRole) {
        true => info.roles.iter().map(String::as_str).collect(),
        false => vec![info.role()],
    }
}

fn has(info: &FrameworkInfo, capability: Capability) -> bool {
    info.capabilities.iter().any(|one| one.r#type() == capability)
}

/// A framework's failover timeout; what is no time at all counts as zero.
fn failover_timeout(info: &FrameworkInfo) -> Duration {
    Duration::try_from_secs_f64(info.failover_timeout()).unwrap_or_default().min(YEAR)
}

impl Core {
    pub(super) fn subscribe(&mut self, peer: Peer, subscribe: call::Subscribe, stream_id: String) {
        self.actions.push(Action::Open { peer, stream_id: stream_id.clone() });
        let mut info = subscribe.framework_info;
        let given = info.id.take().filter(|id| !id.value.is_empty());
        let checked = check_info(&info).and_then(|()| match given {
            None => self.new_framework_id(),
            Some(id) => self.check_id(FrameworkId::try_from(&id).map_err(|error| error.to_string())?),
        });
        let id = match checked {
            Ok(id) => id,
            Err(error) => {
                log::info!("refusing the subscription of framework '{}': {error}", info.name);
                self.event(peer, events::error(error));
                return self.actions.push(Action::Close { peer });
            }
        };
        info.id = Some(id.to_proto());
        let scheduler = Scheduler::Connected { peer, stream_id, heartbeat: self.now + HEARTBEAT_INTERVAL };
        let suppressed = subscribe.suppressed_roles.into_iter().collect();
        self.connect_framework(id.clone(), info, scheduler, suppressed);
        let welcome = events::subscribed(id.to_proto(), HEARTBEAT_INTERVAL.as_secs_f64(), self.info());
        self.event(peer, welcome);
        self.event(peer, events::heartbeat());
    }

    fn new_framework_id(&mut self) -> Result<FrameworkId, String> {
        if self.frameworks.len() >= MAX_FRAMEWORKS {
            return Err(format!(
                "the embedded master takes at most {MAX_FRAMEWORKS} frameworks; end one, or use a real master"
            ));
        }
        let id = FrameworkId::new(format!("{}-{:04}", self.identity.id, self.next_framework))
            .map_err(|error| error.to_string())?;
        self.next_framework += 1;
        Ok(id)
    }

    fn check_id(&self, id: FrameworkId) -> Result<FrameworkId, String> {
        if self.is_completed(&id) {
            return Err("Framework has been removed".into());
        }
        if !self.frameworks.contains_key(&id) && self.frameworks.len() >= MAX_FRAMEWORKS {
            return Err(format!(
                "the embedded master takes at most {MAX_FRAMEWORKS} frameworks; end one, or use a real master"
            ));
        }
        Ok(id)
    }

    fn connect_framework(
        &mut self,
        id: FrameworkId,
        info: FrameworkInfo,
        scheduler: Scheduler,
        suppressed: BTreeSet<String>,
    ) {
        let Some(framework) = self.frameworks.get_mut(&id) else {
            log::info!("framework {id} '{}' subscribed", info.name);
            let framework = Framework {
                info,
                scheduler,
                suppressed,
                filters: Vec::new(),
                completed_tasks: VecDeque::new(),
                registered: self.wall(),
            };
            self.frameworks.insert(id, framework);
            return;
        };
        log::info!("framework {id} '{}' subscribed again", info.name);
        let old = framework.peer();
        framework.info = info.clone();
        framework.scheduler = scheduler;
        framework.suppressed = suppressed;
        framework.filters.clear();
        if let Some(old) = old {
            self.event(old, events::error("Framework failed over"));
            self.actions.push(Action::Close { peer: old });
        }
        // The new scheduler does not know of the old one's offers.
        self.offers.retain(|_, offer| offer.framework != id);
        self.tell_slaves(&super::returning::update_framework(info, &id));
    }

    /// A framework describes itself anew (`Master::updateFramework`); gives status and text of the answer.
    pub(super) fn update_framework(&mut self, id: &FrameworkId, update: call::UpdateFramework) -> (u16, String) {
        let info = update.framework_info;
        if let Err(error) = check_info(&info) {
            return (400, format!("Supplied FrameworkInfo is not valid: {error}"));
        }
        let Some(framework) = self.frameworks.get_mut(id) else {
            return (400, "Framework cannot be found".into());
        };
        if let Some(field) = fixed_field(&framework.info, &info) {
            let text = format!("Updating 'FrameworkInfo.{field}' is unsupported");
            return (400, format!("FrameworkInfo update is not valid: {text}"));
        }
        log::info!("framework {id} describes itself anew");
        framework.info = info.clone();
        framework.suppressed = update.suppressed_roles.into_iter().collect();
        self.tell_slaves(&super::returning::update_framework(info, id));
        (200, String::new())
    }

    fn tell_slaves<M: prost::Message + prost::Name>(&mut self, message: &M) {
        let pids: Vec<_> = self.slaves.values().map(|slave| slave.pid.clone()).collect();
        for pid in pids {
            self.send(&pid, message);
        }
    }

    /// A slave runs a framework that this master has not met: it waits for its scheduler.
    pub(super) fn recover_framework(&mut self, id: FrameworkId, info: FrameworkInfo) {
        if self.frameworks.len() >= MAX_FRAMEWORKS {
            return log::warn!("not taking on framework {id} from its slave: there are {MAX_FRAMEWORKS} already");
        }
        log::info!("framework {id} '{}' is known from its slave: waiting for its scheduler", info.name);
        let over_at = self.now + failover_timeout(&info).max(RECOVERED_TIMEOUT);
        let framework = Framework {
            info,
            scheduler: Scheduler::Disconnected { over_at },
            suppressed: BTreeSet::new(),
            filters: Vec::new(),
            completed_tasks: VecDeque::new(),
            registered: self.wall(),
        };
        self.frameworks.insert(id, framework);
    }

    pub(super) fn scheduler_gone(&mut self, peer: Peer) {
        let Some(id) = self.frameworks.iter().find(|(_, one)| one.peer() == Some(peer)).map(|(id, _)| id.clone())
        else {
            return;
        };
        let Some(framework) = self.frameworks.get_mut(&id) else {
            return;
        };
        let timeout = failover_timeout(&framework.info);
        log::info!("framework {id} disconnected; it has {timeout:?} to subscribe again");
        framework.scheduler = Scheduler::Disconnected { over_at: self.now + timeout };
        self.offers.retain(|_, offer| offer.framework != id);
    }

    /// Sends the heartbeats that are due, and ends frameworks whose scheduler did not come back.
    pub(super) fn expire_frameworks(&mut self) {
        let now = self.now;
        let (mut beating, mut over) = (Vec::new(), Vec::new());
        for (id, framework) in &mut self.frameworks {
            framework.filters.retain(|filter| filter.until > now);
            match &mut framework.scheduler {
                Scheduler::Connected { peer, heartbeat, .. } if *heartbeat <= now => {
                    *heartbeat = now + HEARTBEAT_INTERVAL;
                    beating.push(*peer);
                }
                Scheduler::Disconnected { over_at } if *over_at <= now => over.push(id.clone()),
                Scheduler::Connected { .. } | Scheduler::Disconnected { .. } => {}
            }
        }
        beating.into_iter().for_each(|peer| self.event(peer, events::heartbeat()));
        over.iter().for_each(|id| self.remove_framework(id));
    }

    pub(super) fn remove_framework(&mut self, id: &FrameworkId) {
        log::info!("framework {id} is over");
        self.tell_slaves(&ShutdownFrameworkMessage { framework_id: id.to_proto() });
        self.offers.retain(|_, offer| offer.framework != *id);
        let of_it = |key: &TaskKey| key.0 == *id;
        let keys: Vec<TaskKey> =
            self.tasks.keys().chain(self.unreachable_tasks.keys()).filter(|key| of_it(key)).cloned().collect();
        for key in keys {
            let text = format!("Framework {id} removed");
            self.end_task(&key, TaskState::TaskKilled, Reason::FrameworkRemoved, &text, false);
        }
        self.executors.retain(|(_, framework, _), _| framework != id);
        let Some(framework) = self.frameworks.remove(id) else {
            return;
        };
        if let Some(peer) = framework.peer() {
            self.actions.push(Action::Close { peer });
        }
        self.completed.push_back(Completed {
            id: id.clone(),
            info: framework.info,
            completed_tasks: framework.completed_tasks,
            registered: framework.registered,
            unregistered: self.wall(),
        });
        if self.completed.len() > MAX_COMPLETED {
            self.completed.pop_front();
        }
    }

    pub(super) fn is_completed(&self, id: &FrameworkId) -> bool {
        self.completed.iter().any(|one| one.id == *id)
    }

    pub(super) fn is_partition_aware(&self, id: &FrameworkId) -> bool {
        self.frameworks.get(id).is_some_and(|framework| framework.has(Capability::PartitionAware))
    }
}

/// What Mesos' master refuses in a description of a framework (`validation::framework::validate`), as far as it matters here.
fn check_info(info: &FrameworkInfo) -> Result<(), String> {
    let multi_role = has(info, Capability::MultiRole);
    if multi_role && info.role.is_some() {
        return Err("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable".into());
    }
    if !multi_role && !info.roles.is_empty() {
        return Err("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable".into());
    }
    if let Some(Err(why)) = info.role.as_deref().map(check_role) {
        return Err(format!("'FrameworkInfo.role' is not a valid role: {why}"));
    }
    let roles = info.roles.iter().try_for_each(|role| check_role(role));
    roles.map_err(|why| format!("'FrameworkInfo.roles' contains invalid role: {why}"))
}

/// What a framework may not change of itself while it is there, if it does (`validation::framework::validateUpdate`).
fn fixed_field(old: &FrameworkInfo, new: &FrameworkInfo) -> Option<&'static str> {
    if old.principal != new.principal {
        return Some("principal");
    }
    if old.user != new.user {
        return Some("user");
    }
    (old.checkpoint() != new.checkpoint()).then_some("checkpoint")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::mesos::framework_info;

    #[test]
    fn a_role_that_is_none_is_refused() {
        let of = |role: Option<&str>, roles: &[&str]| {
            let capabilities = vec![framework_info::Capability { r#type: Some(Capability::MultiRole as i32) }];
            let capabilities = if roles.is_empty() { Vec::new() } else { capabilities };
            let roles = roles.iter().map(|role| role.to_string()).collect();
            check_info(&FrameworkInfo { role: role.map(str::to_owned), roles, capabilities, ..Default::default() })
        };
        assert_eq!(of(Some("a/b"), &[]), Ok(()));
        assert_eq!(of(None, &["a", "*", "b/c"]), Ok(()));
        for role in ["", "-a", "a/../b", "/a", "a/", "a b", "a/*"] {
            let one = of(Some(role), &[]).expect_err(role);
            assert!(one.starts_with("'FrameworkInfo.role' is not a valid role: "), "{one}");
            let several = of(None, &["a", role]).expect_err(role);
            assert!(several.starts_with("'FrameworkInfo.roles' contains invalid role: "), "{several}");
        }
    }
}
