//! The slave itself: what it knows and decides. Events come in, actions go out; there is no I/O here and no clock.
//!
//! ```text
//!            ┌─────────────────────────────────────────────┐
//! Event ───► │ registration   are we in touch with a master? │ ───► Action
//!  + Now     │ launch         RunTask → container            │
//!            │ kill           KillTask, shutdowns            │
//!            │ updates        one stream per task            │
//!            │ dialect        what a master of 2012 is told  │
//!            └─────────────────────────────────────────────┘
//! ```
//!
//! The shell around it is `event_loop`.

mod accounts;
mod authentication;
mod command_executor;
mod constants;
mod counts;
mod decision;
pub mod default_executor;
mod dialect;
mod environment;
pub mod executor;
mod form;
mod framework;
mod kill;
mod launch;
mod message;
mod operations;
mod paths;
mod refusal;
mod registration;
#[cfg(test)]
mod tests;
mod unanswered;
mod updates;
mod weight;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use prost::{Message, Name};

pub use authentication::{Authentication, is_authenticatee};
pub use constants::MESOS_VERSION;
pub use counts::Counts;
pub use default_executor::DefaultExecutor;
pub use dialect::SLAVE_OF_2012;
use executor::{FromExecutor, Speaker, ToExecutor, Via};
pub use framework::{Executor, ExecutorState, Framework, is_terminal};
pub use message::{FromAuthenticator, FromMaster, Outgoing};
pub use paths::{CONTAINERS, TASKS, resources_info, virtual_sandbox};
use registration::Registration;
pub use registration::capabilities;
use updates::Updates;

use crate::ids::{ContainerId, ExecutorId, FrameworkId, SlaveId};
use crate::libprocess::{ConnectionId, Dialect, Pid};
use crate::messages::container::Spec;
use crate::messages::mesos;
use crate::messages::mesos::internal::PongSlaveMessage;
use crate::poll::earlier;
use crate::random::Random;
use crate::token::Key;

/// What does not change while the slave runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our own address, as masters and schedulers see it.
    pub pid: Pid,
    /// Hostname, port, resources and attributes, as the master is told; without an id.
    pub info: mesos::SlaveInfo,
    /// `--work_dir`.
    pub work_dir: PathBuf,
    /// `--switch_user`.
    pub switch_user: bool,
    /// Who we are to the master, if it is to be shown.
    pub authentication: Option<Authentication>,
    /// `--registration_backoff_factor`.
    pub registration_backoff: Duration,
    /// `--executor_shutdown_grace_period`.
    pub shutdown_grace: Duration,
    /// Our address as executors know it: in guests, the host's side of their network.
    pub executor_pid: Pid,
    /// Where executors that are processes of this host are to listen with libprocess; a guest's gets the guest's address.
    pub libprocess_ip: Option<Ipv4Addr>,
    /// What every executor finds in its environment, the last of a name winning (`--executor_environment_variables` and others).
    pub executor_environment: Vec<(String, String)>,
    /// `--jwt_secret_key`: what executors' tokens are signed with.
    pub token_key: Option<Key>,
    /// `--authenticate_http_executors`: v1 executors have to show their tokens.
    pub authenticate_executors: bool,
    /// Executors run in guests, each with an address of its own.
    pub guests: bool,
    /// `--executor_registration_timeout`.
    pub registration_timeout: Duration,
    /// `--recovery_timeout`, as executors are told.
    pub recovery_timeout: Duration,
}

impl Config {
    /// What tests, and those below fuzz/, have no opinion on, as the flags have it by default.
    #[cfg_attr(not(test), allow(dead_code))]
    pub fn of_tests(pid: Pid) -> Config {
        Config {
            executor_pid: pid.clone(),
            libprocess_ip: None,
            executor_environment: Vec::new(),
            pid,
            info: mesos::SlaveInfo { hostname: "host".into(), port: Some(5051), ..Default::default() },
            work_dir: "/work_dir".into(),
            switch_user: true,
            authentication: None,
            registration_backoff: Duration::from_secs(1),
            shutdown_grace: Duration::from_secs(5),
            token_key: None,
            authenticate_executors: false,
            guests: false,
            registration_timeout: Duration::from_secs(60),
            recovery_timeout: Duration::from_secs(900),
        }
    }
}

/// The time of an event: for deadlines, and for the timestamps in messages.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Never goes back.
    pub instant: Instant,
    /// Seconds since 1970, UTC.
    pub unix: f64,
}

/// What can happen to a slave.
#[derive(Debug)]
pub enum Event {
    /// A master was found at this address.
    MasterDetected(Pid),
    /// Nobody is known to be the master any more.
    MasterLost,
    /// A message for us.
    Message {
        /// Who sent it.
        from: Pid,
        /// What it says.
        message: FromMaster,
    },
    /// A message for one of our attempts to authenticate.
    Authentication {
        /// Who sent it.
        from: Pid,
        /// The attempt's name.
        to: String,
        /// What it says.
        message: FromAuthenticator,
    },
    /// A peer has shown which libprocess it is.
    Shown {
        /// Where its program listens.
        address: SocketAddrV4,
        /// Which it is.
        dialect: Dialect,
    },
    /// A linked peer cannot be reached any more.
    Exited(Pid),
    /// A container's child reported a task's status.
    ContainerStatus {
        /// Which container.
        container: ContainerId,
        /// The status; its uuid is what is acknowledged.
        status: Box<mesos::TaskStatus>,
    },
    /// It is decided how a task of the default executor ends; its terminal status comes when its output and files are back.
    TaskDecided {
        /// In which container.
        container: ContainerId,
        /// What that status will say.
        state: mesos::TaskState,
    },
    /// A container could not be launched, or is gone with all that belonged to it.
    ContainerGone {
        /// Which container.
        container: ContainerId,
        /// Why, when it did not end in order.
        reason: Option<String>,
    },
    /// The address of an executor's container is known, and perhaps its process runs.
    ExecutorStarted {
        /// Which container.
        container: ContainerId,
        /// The guest's address.
        address: Option<Ipv4Addr>,
        /// The process runs: from here on it has so long to register.
        runs: bool,
    },
    /// An executor's process has ended, or could not be started; its container will be gone soon.
    ExecutorEnded {
        /// Which container.
        container: ContainerId,
        /// As wait(2) gives it, if it ran.
        wait_status: Option<i32>,
        /// Why its tasks are over.
        reason: Option<mesos::task_status::Reason>,
        /// In words.
        message: Option<String>,
    },
    /// An executor says something. The shell has seen to it that it speaks from its own address.
    Executor {
        /// Who.
        speaker: Speaker,
        /// What.
        message: FromExecutor,
    },
    /// SIGUSR1: leave the cluster, and end.
    Unregister,
    /// SIGTERM: end all containers, and end.
    Stop,
    /// Nothing but time has passed.
    Tick,
}

/// What a slave wants done.
#[derive(Debug)]
pub enum Action {
    /// Send a message.
    Send {
        /// To whom.
        to: Pid,
        /// The message.
        message: Outgoing,
    },
    /// Send a message from a process of ours other than the slave.
    SendAs {
        /// That process.
        from: Pid,
        /// To whom.
        to: Pid,
        /// The message.
        message: Outgoing,
    },
    /// Keep a connection to this peer and tell when it breaks.
    Link(Pid),
    /// Make the sandbox and launch a container in it.
    Launch(Box<Spec>),
    /// End a container: TERM, and KILL after the grace period.
    Kill {
        /// Which container.
        container: ContainerId,
        /// Between TERM and KILL.
        grace: Duration,
    },
    /// Tell a container's child that its executor holds these resources now, all of them.
    ResourcesChanged {
        /// Which container.
        container: ContainerId,
        /// The executor's and its tasks'.
        resources: Vec<mesos::Resource>,
    },
    /// Write down the reservations and volumes that masters have made, all of them, before anything that follows is done. If it
    /// cannot be done the slave has to end: it would come back with others than its master has offered.
    CheckpointResources(Vec<mesos::Resource>),
    /// Tell a container's child that its update is in our hands.
    Acknowledge {
        /// Which container.
        container: ContainerId,
        /// The update's uuid.
        uuid: Vec<u8>,
    },
    /// Say something to an executor.
    ToExecutor {
        /// How it is reached.
        via: Via,
        /// What.
        message: Box<ToExecutor>,
    },
    /// End an executor's subscription.
    HangUp(ConnectionId),
    /// All is done: end the process.
    Exit,
}

/// Are we to go on?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Yes.
    Serve,
    /// No: containers are ending; the last of them started the linger when it went.
    Stop { linger_until: Option<Instant> },
}

/// The slave.
#[derive(Debug)]
pub struct Slave {
    config: Config,
    random: Random,
    registration: Registration,
    frameworks: BTreeMap<FrameworkId, Framework>,
    updates: Updates,
    schedulers: dialect::Schedulers,
    checkpointed_resources: Vec<mesos::Resource>,
    purpose: Purpose,
    counts: Counts,
    actions: Vec<Action>,
}

impl Slave {
    /// A slave that knows no master and runs nothing.
    pub fn new(config: Config, mut random: Random) -> Slave {
        let registration = Registration::new(random.uuid());
        Slave {
            config,
            random,
            registration,
            frameworks: BTreeMap::new(),
            updates: Updates::default(),
            schedulers: Default::default(),
            checkpointed_resources: Vec::new(),
            purpose: Purpose::Serve,
            counts: Counts::default(),
            actions: Vec::new(),
        }
    }

    /// Takes an event in and gives what follows from it, in order.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        match event {
            Event::MasterDetected(master) => self.master_detected(master, now),
            Event::MasterLost => self.master_lost(),
            Event::Message { from, message } => self.message(from, message, now),
            Event::Authentication { from, to, message } => self.authentication_message(&from, &to, message, now),
            Event::Shown { address, dialect } => self.shown(address, dialect),
            Event::Exited(pid) => self.exited(&pid, now),
            Event::ContainerStatus { container, status } => {
                self.container_status(&container, *status, now);
            }
            Event::TaskDecided { container, state } => self.member_decided(&container, state),
            Event::ContainerGone { container, reason } => {
                self.container_gone(&container, reason, now);
            }
            Event::ExecutorStarted { container, address, runs } => {
                self.executor_started(&container, address, runs, now)
            }
            Event::ExecutorEnded { container, wait_status, reason, message } => {
                self.executor_ended(&container, wait_status, reason, message);
            }
            Event::Executor { speaker, message } => self.executor_says(&speaker, message, now),
            Event::Unregister => self.unregister(now),
            Event::Stop => self.stop(now),
            Event::Tick => {}
        }
        self.authentication_deadline(now);
        self.registration_deadlines(now);
        self.update_deadlines(now);
        self.executor_deadlines(now);
        self.stop_deadlines(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let linger = match self.purpose {
            Purpose::Serve => None,
            Purpose::Stop { linger_until } => linger_until,
        };
        // Nobody to send updates to: they wait for the registration, which sends them all.
        let in_touch = self.registration.registered_master().is_some();
        let updates = self.updates.deadline().filter(|_| in_touch);
        let executors = self.frameworks.values().flat_map(|framework| framework.executors.values());
        let talks = executors.filter_map(|executor| executor.conversation.as_ref()?.deadline()).min();
        [self.registration.deadline(), updates, talks, linger].into_iter().fold(None, earlier)
    }

    fn message(&mut self, from: Pid, message: FromMaster, now: Now) {
        match &message {
            FromMaster::Ping(ping) => return self.ping(from, Outgoing::new(&PongSlaveMessage {}), ping.connected, now),
            FromMaster::BarePing => return self.ping(from, dialect::pong(), true, now),
            _ => {}
        }
        if let FromMaster::FrameworkToExecutor(message) = &message {
            return self.framework_message(&from, message);
        }
        if !self.registration.is_master(&from) && !self.is_from_its_scheduler(&from, &message) {
            log::warn!("dropped {} from {from}, which is not our master", message.name());
            return;
        }
        match message {
            FromMaster::Ping(_) | FromMaster::BarePing | FromMaster::FrameworkToExecutor(_) => {}
            FromMaster::Registered(message) => self.registered(*message, now),
            FromMaster::Reregistered(message) => self.reregistered(*message, now),
            FromMaster::RunTask(message) => {
                let message = dialect::with_framework_id(*message);
                self.note_scheduler(&message);
                self.run_task(message, now);
            }
            FromMaster::RunTaskGroup(message) => self.run_task_group(*message, now),
            FromMaster::KillTask(message) => self.kill_task(&message, now),
            FromMaster::ShutdownFramework(message) => self.shutdown_framework(&message, now),
            FromMaster::ShutdownExecutor(message) => self.shutdown_executor(&message, now),
            FromMaster::UpdateFramework(message) => {
                self.move_scheduler(&message);
                self.update_framework(*message, now);
            }
            FromMaster::Acknowledge(message) => self.acknowledged(&message, now),
            FromMaster::CheckpointResources(message) => self.checkpoint_resources(*message),
            FromMaster::ApplyOperation(message) => self.apply_operation(*message),
            FromMaster::ReconcileOperations(message) => self.reconcile_operations(*message),
            FromMaster::AcknowledgeOperation(message) => self.operation_acknowledged(&message),
            FromMaster::Drain(message) => self.drain(&message),
            FromMaster::Shutdown(message) => self.refused(message.message(), now),
        }
    }

    fn update_framework(&mut self, message: mesos::internal::UpdateFrameworkMessage, now: Now) {
        let Ok(id) = FrameworkId::try_from(&message.framework_id) else {
            return;
        };
        let Some(framework) = self.frameworks.get_mut(&id) else {
            return log::debug!("framework {id} was updated, but has nothing here");
        };
        if framework.terminating {
            return log::debug!("framework {id} was updated, but is being removed from this slave");
        }
        framework.pid = scheduler_pid(message.pid.as_deref());
        if let Some(info) = message.framework_info {
            framework.info = info;
        }
        log::info!("framework {id} was updated by the master");
        self.resend_updates(Some(&id), now);
    }

    fn send<M: Message + Name>(&mut self, to: &Pid, message: &M) {
        self.actions.push(Action::Send { to: to.clone(), message: Outgoing::new(message) });
    }

    /// The executor whose own container it is.
    fn find_container(&self, container: &ContainerId) -> Option<(FrameworkId, ExecutorId)> {
        self.frameworks.iter().find_map(|(framework_id, framework)| {
            framework
                .executors
                .iter()
                .find(|(_, executor)| executor.container == *container)
                .map(|(executor_id, _)| (framework_id.clone(), executor_id.clone()))
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The id that the master gave us.
    pub fn id(&self) -> Option<&SlaveId> {
        self.registration.id()
    }

    /// Where the master is, while we are registered with it.
    pub fn registered_master(&self) -> Option<&Pid> {
        self.registration.registered_master()
    }

    /// All that runs here.
    pub fn frameworks(&self) -> &BTreeMap<FrameworkId, Framework> {
        &self.frameworks
    }
}

/// A scheduler's address out of a message: absent, or Mesos' `@0.0.0.0:0`, for one without.
fn scheduler_pid(text: Option<&str>) -> Option<Pid> {
    let pid: Pid = text?.parse().ok()?;
    (pid.address.port() != 0 && !pid.id.is_empty()).then_some(pid)
}
