//! What an executor and its slave say to each other, whichever of Mesos' two APIs it speaks: the driver's libprocess messages (v0), or calls
//! and events over HTTP (v1).
//!
//! ```text
//!  RegisterExecutorMessage ──┐                              ┌──► ExecutorRegisteredMessage
//!   executor.Call SUBSCRIBE ─┴─► FromExecutor … ToExecutor ─┴──► executor.Event SUBSCRIBED
//! ```
//!
//! The v1 twin of each message is that of Mesos' `evolve` (`src/internal/evolve.cpp`).

use prost::Name;

use crate::ids::{ExecutorId, FrameworkId};
use crate::libprocess::{ConnectionId, Dialect, Pid};
use crate::messages::mesos;
use crate::messages::mesos::executor::{self, Call, call, event};
use crate::messages::mesos::internal::{
    ExecutorRegisteredMessage, ExecutorReregisteredMessage, ExecutorToFrameworkMessage, FrameworkToExecutorMessage,
    KillTaskMessage, RegisterExecutorMessage, ReregisterExecutorMessage, RunTaskMessage, ShutdownExecutorMessage,
    StatusUpdate, StatusUpdateAcknowledgementMessage, StatusUpdateMessage,
};
use crate::messages::{self, DecodeError};
use crate::slave::{Outgoing, dialect};

/// How an executor is reached, and who speaks when something comes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// A driver, at its libprocess address.
    Driver(Pid),
    /// A v1 client. Its subscription is this connection; its other calls come over others and have `None`.
    Http(Option<ConnectionId>),
    /// Mesos' default executor, which the slave itself plays: nobody speaks this way.
    Default,
}

/// Which executor speaks, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its framework.
    pub framework: FrameworkId,
    /// Its id within the framework.
    pub executor: ExecutorId,
    /// Over what.
    pub via: Via,
}

/// What an executor says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromExecutor {
    /// It is there: a driver's RegisterExecutorMessage.
    Register,
    /// It is there, or there again, with what the slave may not have heard of.
    Subscribe {
        /// Tasks that it was given and of which it has had no update acknowledged.
        tasks: Vec<mesos::TaskId>,
        /// Updates that were not acknowledged.
        updates: Vec<mesos::TaskStatus>,
    },
    /// A task's status, with its uuid.
    Update(Box<mesos::TaskStatus>),
    /// Bytes for the scheduler.
    Message(Vec<u8>),
}

/// What is said to an executor.
#[derive(Debug, Clone, PartialEq)]
pub enum ToExecutor {
    /// It is taken in.
    Registered {
        /// As the framework described it.
        executor: Box<mesos::ExecutorInfo>,
        /// The framework, with its id.
        framework: Box<mesos::FrameworkInfo>,
        /// We, with our id.
        slave: Box<mesos::SlaveInfo>,
        /// Its container.
        container: mesos::ContainerId,
    },
    /// It is taken in again: a driver's only.
    Reregistered(Box<mesos::SlaveInfo>),
    /// A task to run.
    Launch {
        /// The framework, with its id.
        framework: Box<mesos::FrameworkInfo>,
        /// The task.
        task: Box<mesos::TaskInfo>,
        /// The scheduler's address; old drivers drop the message without it.
        scheduler: String,
    },
    /// Tasks to run together: a v1 client's only.
    LaunchGroup(Box<mesos::TaskGroupInfo>),
    /// A task to kill.
    Kill {
        /// Whose.
        framework: mesos::FrameworkId,
        /// The task.
        task: mesos::TaskId,
        /// How, if the scheduler said.
        policy: Option<mesos::KillPolicy>,
    },
    /// The slave holds an update.
    Acknowledge(StatusUpdateAcknowledgementMessage),
    /// Bytes from the scheduler.
    Message(FrameworkToExecutorMessage),
    /// It is to end.
    Shutdown,
}

/// A driver's message that is none, or names ids that can be none.
#[derive(Debug)]
pub enum ExecutorMessageError {
    /// It does not decode.
    Malformed(DecodeError),
    /// Its ids cannot be of anything here.
    Ids(crate::ids::IdError),
}

impl std::fmt::Display for ExecutorMessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExecutorMessageError::Malformed(source) => source.fmt(f),
            ExecutorMessageError::Ids(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ExecutorMessageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ExecutorMessageError::Malformed(source) => Some(source),
            ExecutorMessageError::Ids(source) => Some(source),
        }
    }
}

impl From<DecodeError> for ExecutorMessageError {
    fn from(source: DecodeError) -> ExecutorMessageError {
        ExecutorMessageError::Malformed(source)
    }
}

impl From<crate::ids::IdError> for ExecutorMessageError {
    fn from(source: crate::ids::IdError) -> ExecutorMessageError {
        ExecutorMessageError::Ids(source)
    }
}

impl FromExecutor {
    /// With it an executor's part begins, or begins again.
    pub fn is_greeting(&self) -> bool {
        match self {
            FromExecutor::Register | FromExecutor::Subscribe { .. } => true,
            FromExecutor::Update(_) | FromExecutor::Message(_) => false,
        }
    }

    /// A driver's message, by its full name, and who it says that it is from.
    ///
    /// # Errors
    /// [`ExecutorMessageError`]; `None` for a name that is no driver's.
    pub fn of_driver(
        from: &Pid,
        name: &str,
        body: &[u8],
    ) -> Result<Option<(Speaker, FromExecutor)>, ExecutorMessageError> {
        let speaker = |framework: &mesos::FrameworkId, executor: &mesos::ExecutorId| {
            let (framework, executor) = (framework.try_into()?, executor.try_into()?);
            Ok::<_, ExecutorMessageError>(Speaker { framework, executor, via: Via::Driver(from.clone()) })
        };
        if name == RegisterExecutorMessage::full_name() {
            let message: RegisterExecutorMessage = messages::decode(body)?;
            return Ok(Some((speaker(&message.framework_id, &message.executor_id)?, FromExecutor::Register)));
        }
        if name == ReregisterExecutorMessage::full_name() {
            let message: ReregisterExecutorMessage = messages::decode(body)?;
            let speaker = speaker(&message.framework_id, &message.executor_id)?;
            let tasks = message.tasks.into_iter().map(|task| task.task_id).collect();
            let updates = message.updates.into_iter().map(status_of).collect();
            return Ok(Some((speaker, FromExecutor::Subscribe { tasks, updates })));
        }
        if name == StatusUpdateMessage::full_name() {
            let StatusUpdateMessage { update, .. } = messages::decode(body)?;
            let executor = update.executor_id.clone().unwrap_or_default();
            let speaker = speaker(&update.framework_id, &executor)?;
            return Ok(Some((speaker, FromExecutor::Update(Box::new(status_of(update))))));
        }
        if name == ExecutorToFrameworkMessage::full_name() {
            let message: ExecutorToFrameworkMessage = messages::decode(body)?;
            let speaker = speaker(&message.framework_id, &message.executor_id)?;
            return Ok(Some((speaker, FromExecutor::Message(message.data))));
        }
        Ok(None)
    }

    /// A v1 client's call, which has been validated; `None` for one that says nothing.
    pub fn of_call(call: Call) -> Option<FromExecutor> {
        match call.r#type() {
            call::Type::Subscribe => {
                let subscribe = call.subscribe.unwrap_or_default();
                Some(FromExecutor::Subscribe {
                    tasks: subscribe.unacknowledged_tasks.into_iter().map(|task| task.task_id).collect(),
                    updates: subscribe.unacknowledged_updates.into_iter().map(|update| update.status).collect(),
                })
            }
            call::Type::Update => call.update.map(|update| FromExecutor::Update(Box::new(update.status))),
            call::Type::Message => call.message.map(|message| FromExecutor::Message(message.data)),
            call::Type::Heartbeat | call::Type::Unknown => None,
        }
    }
}

/// A driver's update as the status that it is about: drivers before 0.23 put uuid, time and executor beside it only.
fn status_of(update: StatusUpdate) -> mesos::TaskStatus {
    let mut status = update.status;
    if update.uuid.is_some() {
        status.uuid = update.uuid;
    }
    status.timestamp = Some(update.timestamp);
    status.executor_id = update.executor_id.or(status.executor_id);
    status
}

impl ToExecutor {
    /// As a driver is told it, in its dialect; nothing for what drivers do not have, or did not in 2012.
    pub fn to_driver(&self, peer: Dialect) -> Option<Outgoing> {
        Some(match self {
            ToExecutor::Registered { executor, framework, slave, .. } => {
                let message = ExecutorRegisteredMessage {
                    executor_info: (**executor).clone(),
                    framework_id: framework.id.clone().unwrap_or_default(),
                    framework_info: (**framework).clone(),
                    slave_id: slave.id.clone().unwrap_or_default(),
                    slave_info: (**slave).clone(),
                };
                Outgoing::new(&dialect::registered_for(peer, message))
            }
            ToExecutor::Reregistered(slave) => Outgoing::new(&ExecutorReregisteredMessage {
                slave_id: slave.id.clone().unwrap_or_default(),
                slave_info: (**slave).clone(),
            }),
            ToExecutor::Launch { framework, task, scheduler } => Outgoing::new(&RunTaskMessage {
                framework: (**framework).clone(),
                task: (**task).clone(),
                pid: Some(scheduler.clone()),
                framework_id: framework.id.clone().filter(|_| peer != Dialect::V1),
                ..Default::default()
            }),
            ToExecutor::LaunchGroup(_) => return None,
            ToExecutor::Kill { framework, task, policy } => Outgoing::new(&KillTaskMessage {
                framework_id: framework.clone(),
                task_id: task.clone(),
                kill_policy: *policy,
            }),
            ToExecutor::Acknowledge(_) if peer == Dialect::V2012 => return None,
            ToExecutor::Acknowledge(message) => Outgoing::new(message),
            ToExecutor::Message(message) => Outgoing::new(message),
            ToExecutor::Shutdown => Outgoing::new(&ShutdownExecutorMessage::default()),
        })
    }

    /// As a v1 client is told it; nothing for what only drivers have.
    pub fn to_event(&self) -> Option<executor::Event> {
        let (kind, event) = match self {
            ToExecutor::Registered { executor, framework, slave, container } => {
                let subscribed = event::Subscribed {
                    executor_info: (**executor).clone(),
                    framework_info: (**framework).clone(),
                    slave_info: (**slave).clone(),
                    container_id: Some(container.clone()),
                };
                (event::Type::Subscribed, executor::Event { subscribed: Some(subscribed), ..Default::default() })
            }
            ToExecutor::Reregistered(_) => return None,
            ToExecutor::Launch { task, .. } => {
                let launch = event::Launch { task: (**task).clone() };
                (event::Type::Launch, executor::Event { launch: Some(launch), ..Default::default() })
            }
            ToExecutor::LaunchGroup(group) => {
                let launch_group = event::LaunchGroup { task_group: (**group).clone() };
                (event::Type::LaunchGroup, executor::Event { launch_group: Some(launch_group), ..Default::default() })
            }
            ToExecutor::Kill { task, policy, .. } => {
                let kill = event::Kill { task_id: task.clone(), kill_policy: *policy };
                (event::Type::Kill, executor::Event { kill: Some(kill), ..Default::default() })
            }
            ToExecutor::Acknowledge(message) => {
                let acknowledged = event::Acknowledged { task_id: message.task_id.clone(), uuid: message.uuid.clone() };
                (event::Type::Acknowledged, executor::Event { acknowledged: Some(acknowledged), ..Default::default() })
            }
            ToExecutor::Message(message) => {
                let message = event::Message { data: message.data.clone() };
                (event::Type::Message, executor::Event { message: Some(message), ..Default::default() })
            }
            ToExecutor::Shutdown => (event::Type::Shutdown, executor::Event::default()),
        };
        Some(executor::Event { r#type: Some(kind as i32), ..event })
    }
}
