//! Being known to a master: registration, pings, loss and return.
//!
//! ```text
//! Alone ──detected──► Registering ──(Re)Registered──► Registered
//!                        ▲  │ back-off                   │ link broken, ping says "not connected", no ping for its timeout
//!                        │  └─ link and send again       │
//!                        └───────────────────────────────┘
//! with --credential: Authenticating comes before Registering, each time (`authentication`)
//! with a master that is lost: Alone; containers go on, updates wait
//! ```
//!
//! Each registration first links a master whose connection has broken: so one that starts after us, or again while we ask, is
//! found by the next one, and its loss is noticed. Between two registrations nothing is tried.
//!
//! The first message waits a random part of `--registration_backoff_factor`, so that a cluster's slaves do not all come at
//! once; every further wait is a random part of a limit that doubles (`Slave::doReliableRegistration`).

use std::time::{Duration, Instant};

use super::authentication::Exchange;
use super::constants::{MASTER_PING_TIMEOUT, MESOS_VERSION, REGISTER_RETRY_MAX};
use super::dialect::Spoken;
use super::framework::is_terminal;
use super::message::Outgoing;
use super::unanswered::Unanswered;
use super::{Action, Now, Purpose, Slave, form};
use crate::ids::SlaveId;
use crate::libprocess::Pid;
use crate::messages::mesos;
use crate::messages::mesos::internal::{
    MasterSlaveConnection, ReconcileTasksMessage, RegisterSlaveMessage, ReregisterSlaveMessage, SlaveRegisteredMessage,
    SlaveReregisteredMessage, UnregisterSlaveMessage,
};
use crate::messages::mesos::slave_info::{Capability, capability};
use crate::messages::mesos::task_status::Reason;
use crate::poll::{Backoff, earlier};

#[derive(Debug)]
enum State {
    /// No master is known.
    Alone,
    /// We show who we are.
    Authenticating {
        master: Pid,
        exchange: Exchange,
        /// That it is unreachable has been said.
        complained: bool,
    },
    /// We ask until we are answered.
    Registering {
        master: Pid,
        send_at: Instant,
        backoff: Backoff,
        /// That it is unreachable has been said.
        complained: bool,
        /// What it has left unanswered since its connection was made.
        unanswered: Unanswered,
    },
    /// We are in.
    Registered { master: Pid, ping_timeout: Duration, ping_due: Instant },
}

/// Where we stand with the master.
#[derive(Debug)]
pub(super) struct Registration {
    state: State,
    id: Option<SlaveId>,
    /// We have left the cluster, and are no more interested in who its master is.
    left: bool,
    /// How many times we have begun to authenticate.
    attempts: u64,
    /// The version of our resources; new with each run of the slave.
    resource_version: [u8; 16],
    /// How the master is spoken to.
    pub spoken: Spoken,
    /// Its connection has not broken since we linked it.
    linked: bool,
}

impl Registration {
    pub fn new(resource_version: [u8; 16]) -> Registration {
        let spoken = Spoken::default();
        Registration {
            state: State::Alone,
            id: None,
            left: false,
            attempts: 0,
            resource_version,
            spoken,
            linked: false,
        }
    }

    pub fn id(&self) -> Option<&SlaveId> {
        self.id.as_ref()
    }

    pub fn is_master(&self, pid: &Pid) -> bool {
        self.master() == Some(pid)
    }

    /// The master that we are, or want to be, registered with.
    pub fn master(&self) -> Option<&Pid> {
        match &self.state {
            State::Alone => None,
            State::Authenticating { master, .. }
            | State::Registering { master, .. }
            | State::Registered { master, .. } => Some(master),
        }
    }

    pub fn registered_master(&self) -> Option<&Pid> {
        match &self.state {
            State::Registered { master, .. } => Some(master),
            State::Alone | State::Authenticating { .. } | State::Registering { .. } => None,
        }
    }

    /// The authentication under way, with whom, and the count of attempts.
    pub fn exchange(&mut self) -> Option<(&Pid, &mut Exchange, &mut u64)> {
        match &mut self.state {
            State::Authenticating { master, exchange, .. } => Some((&*master, exchange, &mut self.attempts)),
            State::Alone | State::Registering { .. } | State::Registered { .. } => None,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Alone => None,
            State::Authenticating { exchange, .. } => Some(exchange.deadline()),
            State::Registering { send_at, unanswered, .. } => earlier(Some(*send_at), unanswered.deadline()),
            State::Registered { ping_due, .. } => Some(*ping_due),
        }
    }
}

impl Slave {
    pub(super) fn master_detected(&mut self, master: Pid, now: Now) {
        if self.registration.left {
            return;
        }
        log::info!("new master detected at {master}");
        if self.registration.master() != Some(&master) {
            self.registration.spoken.forget();
        }
        self.link(&master);
        self.begin_registering(master, now);
    }

    fn link(&mut self, master: &Pid) {
        self.actions.push(Action::Link(master.clone()));
        self.registration.linked = true;
    }

    /// Links the master again if its connection has broken.
    fn keep_linked(&mut self, master: &Pid) {
        if !self.registration.linked {
            self.link(master);
        }
    }

    /// Nothing of ours depends on a master: containers go on, and updates wait for the next one.
    pub(super) fn master_lost(&mut self) {
        match self.registration.state {
            State::Alone => {}
            State::Authenticating { .. } | State::Registering { .. } | State::Registered { .. } => {
                log::warn!("no master leads any more; containers go on, waiting for a new master");
                self.registration.state = State::Alone;
            }
        }
    }

    fn begin_registering(&mut self, master: Pid, now: Now) {
        let begin_at = now.instant + self.random.duration_up_to(self.config.registration_backoff);
        self.registration.state = match &self.config.authentication {
            Some(settings) => {
                let exchange = Exchange::new(settings, begin_at);
                State::Authenticating { master, exchange, complained: false }
            }
            None => self.registering(master, begin_at),
        };
    }

    fn registering(&self, master: Pid, send_at: Instant) -> State {
        let first = (self.config.registration_backoff * 2).min(REGISTER_RETRY_MAX);
        let (backoff, unanswered) = (Backoff::new(first, REGISTER_RETRY_MAX), Unanswered::default());
        State::Registering { master, send_at, backoff, complained: false, unanswered }
    }

    /// The master knows who we are: what follows is the registration, at once.
    pub(super) fn begin_asking(&mut self, now: Now) {
        if let State::Authenticating { master, .. } = &self.registration.state {
            self.registration.state = self.registering(master.clone(), now.instant);
        }
    }

    pub(super) fn registration_deadlines(&mut self, now: Now) {
        match &mut self.registration.state {
            State::Alone | State::Authenticating { .. } => {}
            State::Registering { master, send_at, backoff, unanswered, .. } => {
                unanswered.hint(master, self.config.authentication.is_some(), now.instant);
                if *send_at > now.instant {
                    return;
                }
                unanswered.one_more(now.instant);
                let limit = backoff.next_wait();
                // Half of it at least: a limit of a random part alone would now and then send twice at once.
                *send_at = now.instant + limit / 2 + self.random.duration_up_to(limit / 2);
                let master = master.clone();
                self.keep_linked(&master);
                self.send_registration(&master);
            }
            State::Registered { master, ping_timeout, ping_due } => {
                if *ping_due > now.instant {
                    return;
                }
                log::warn!("no ping from master {master} for {} s; registering again", ping_timeout.as_secs());
                let master = master.clone();
                self.link(&master);
                self.begin_registering(master, now);
            }
        }
    }

    fn send_registration(&mut self, master: &Pid) {
        match self.registration.id.clone() {
            None => {
                let message = RegisterSlaveMessage {
                    slave: self.announced_info(),
                    checkpointed_resources: self.checkpointed_resources.clone(),
                    version: Some(MESOS_VERSION.to_string()),
                    agent_capabilities: capabilities(),
                    resource_version_uuid: Some(self.resource_version()),
                };
                self.send(master, &form::before_refinement(message));
            }
            Some(id) => {
                let message = self.reregistration(&id);
                self.send(master, &form::before_refinement(message));
            }
        }
    }

    fn reregistration(&self, id: &SlaveId) -> ReregisterSlaveMessage {
        let mut message = ReregisterSlaveMessage {
            slave: mesos::SlaveInfo { id: Some(id.to_proto()), ..self.announced_info() },
            checkpointed_resources: self.checkpointed_resources.clone(),
            version: Some(MESOS_VERSION.to_string()),
            agent_capabilities: capabilities(),
            resource_version_uuid: Some(self.resource_version()),
            ..Default::default()
        };
        for (framework_id, framework) in &self.frameworks {
            if framework.terminating {
                continue;
            }
            message.frameworks.push(framework.info.clone());
            for (executor_id, executor) in &framework.executors {
                // A command task's executor is our own affair: the master knows the task alone.
                let named = (!executor.is_command).then_some(executor_id);
                if named.is_some() {
                    message.executor_infos.push(executor.info.clone());
                }
                let tasks = executor.tasks.values();
                message.tasks.extend(tasks.map(|task| task.to_proto(framework_id, named)));
            }
        }
        self.complete_reregistration(&mut message, id);
        message
    }

    pub(super) fn resource_version(&self) -> mesos::Uuid {
        mesos::Uuid { value: self.registration.resource_version.to_vec() }
    }

    pub(super) fn registered(&mut self, message: SlaveRegisteredMessage, now: Now) {
        let id = match SlaveId::try_from(&message.slave_id) {
            Ok(id) => id,
            Err(error) => return log::error!("the master gave us an id that is none: {error}"),
        };
        match &self.registration.id {
            None => log::info!("registered with the master; given slave id {id}"),
            Some(known) if *known == id => log::debug!("registered already as {id}"),
            Some(known) => {
                return log::error!(
                    "the master calls us {id}, but we are {known}; end this slave and start it with an empty --work_dir"
                );
            }
        }
        self.registration.id = Some(id);
        self.enter_registered(message.connection.as_ref(), now);
    }

    pub(super) fn reregistered(&mut self, message: SlaveReregisteredMessage, now: Now) {
        if self.registration.id.as_ref().map(SlaveId::as_str) != Some(message.slave_id.value.as_str()) {
            return log::error!("the master re-registered slave {}, which we are not", message.slave_id.value);
        }
        log::info!("registered with the master again");
        self.enter_registered(message.connection.as_ref(), now);
        for reconciliation in &message.reconciliations {
            self.reconcile(reconciliation, now);
        }
    }

    /// Tasks that the master has and we may not: what is unknown here is lost.
    fn reconcile(&mut self, message: &ReconcileTasksMessage, now: Now) {
        for status in &message.statuses {
            let known = self.frameworks.iter().any(|(id, framework)| {
                let tasks = framework.executors.values().flat_map(|each| each.tasks.values());
                id.as_str() == message.framework_id.value
                    && tasks.into_iter().any(|task| task.info.task_id == status.task_id)
            });
            if !known {
                let framework = message.framework.as_ref();
                log::warn!("task {} is known to the master, but not here", status.task_id.value);
                self.report_unknown_task(
                    &message.framework_id,
                    framework,
                    &status.task_id,
                    Reason::Reconciliation,
                    now,
                );
            }
        }
    }

    fn enter_registered(&mut self, connection: Option<&MasterSlaveConnection>, now: Now) {
        let master = match &self.registration.state {
            State::Registering { master, .. } | State::Registered { master, .. } => master.clone(),
            // An answer to a registration before: the one that follows will have its own.
            State::Alone | State::Authenticating { .. } => return,
        };
        self.registration.spoken.answered(connection.is_some());
        let told = connection.and_then(|connection| connection.total_ping_timeout_seconds);
        let ping_timeout = told
            .filter(|seconds| seconds.is_finite() && *seconds > 0.0 && *seconds < 1e6)
            .map_or(MASTER_PING_TIMEOUT, Duration::from_secs_f64);
        // The link may have broken since we asked.
        self.keep_linked(&master);
        self.registration.state = State::Registered { master, ping_timeout, ping_due: now.instant + ping_timeout };
        self.resend_updates(None, now);
    }

    /// A sign of life is asked for; `pong` is the answer in the words of the question.
    pub(super) fn ping(&mut self, from: Pid, pong: Outgoing, connected: bool, now: Now) {
        self.actions.push(Action::Send { to: from.clone(), message: pong });
        let State::Registered { master, ping_timeout, ping_due } = &mut self.registration.state else {
            return;
        };
        if from.address != master.address {
            return;
        }
        // One that waited while we were stopped for too long is of a master that has given us up by now.
        let late = now.instant >= *ping_due;
        *ping_due = now.instant + *ping_timeout;
        if late || !connected {
            match connected {
                true => log::warn!("no ping from master {master} for {} s; registering again", ping_timeout.as_secs()),
                false => log::warn!("master {master} says that we are disconnected; registering again"),
            }
            let master = master.clone();
            self.link(&master);
            self.begin_registering(master, now);
        }
    }

    pub(super) fn exited(&mut self, pid: &Pid, now: Now) {
        if !self.registration.is_master(pid) {
            return;
        }
        self.registration.spoken.forget();
        self.registration.linked = false;
        match &mut self.registration.state {
            State::Alone => {}
            // Who comes back at that address may be another, which knows nothing of us.
            State::Registering { .. } if self.config.authentication.is_some() => {
                log::warn!("lost master {pid} before it took us in; authenticating again");
                self.begin_registering(pid.clone(), now);
            }
            State::Registering { complained, unanswered, .. } => {
                *unanswered = Unanswered::default();
                complain_of(pid, complained);
            }
            State::Authenticating { complained, .. } => complain_of(pid, complained),
            State::Registered { .. } => {
                log::warn!("lost master {pid}; registering again");
                self.link(pid);
                self.begin_registering(pid.clone(), now);
            }
        }
    }

    pub(super) fn refused(&mut self, reason: &str, now: Now) {
        // A master of 2012 gives no reason.
        let reason = if reason.is_empty() { "it has taken it for lost, or is shut down" } else { reason };
        log::error!("the master refuses this slave: {reason}; ending all containers");
        self.stop(now);
    }

    pub(super) fn unregister(&mut self, now: Now) {
        let master = self.registration.registered_master().cloned();
        if let (Some(master), Some(id)) = (master, self.registration.id.clone()) {
            log::info!("unregistering from {master}");
            let message = UnregisterSlaveMessage { slave_id: id.to_proto() };
            self.send(&master, &message);
            // From here on it does not know us; to register again would undo it.
            self.registration.state = State::Alone;
        }
        self.registration.left = matches!(self.registration.state, State::Alone);
        self.stop(now);
    }

    pub(super) fn stop_deadlines(&mut self, now: Now) {
        let Purpose::Stop { linger_until } = &mut self.purpose else {
            return;
        };
        let running = self
            .frameworks
            .values()
            .flat_map(|framework| framework.executors.values())
            .any(|executor| executor.state != super::ExecutorState::Gone);
        if running {
            return;
        }
        let until = *linger_until.get_or_insert(now.instant + super::constants::LINGER);
        let in_touch = self.registration.registered_master().is_some();
        if self.updates.is_empty() || !in_touch || until <= now.instant {
            self.actions.push(Action::Exit);
        }
    }

    /// Tasks of ours that have not ended.
    pub fn running_tasks(&self) -> usize {
        self.frameworks
            .values()
            .flat_map(|framework| framework.executors.values())
            .flat_map(|executor| executor.tasks.values())
            .filter(|task| !is_terminal(task.state))
            .count()
    }
}

/// Says once that the master is not there.
fn complain_of(master: &Pid, complained: &mut bool) {
    if !std::mem::replace(complained, true) {
        let most = REGISTER_RETRY_MAX.as_secs();
        log::warn!("master {master} cannot be reached; trying again, at most every {most} s");
    }
}

/// What we can do, and no more: a master holds us to it. These three are what today's frameworks need to be offered
/// anything; RESOURCE_PROVIDER is left out, and so no UpdateSlaveMessage is owed.
pub fn capabilities() -> Vec<Capability> {
    [capability::Type::MultiRole, capability::Type::HierarchicalRole, capability::Type::ReservationRefinement]
        .into_iter()
        .map(|capability| Capability { r#type: Some(capability as i32) })
        .collect()
}
