//! The messages that a master sends to a slave, as one enum, and how a message of ours is put into an action.

use prost::{Message, Name};

use crate::messages::mesos::internal::{
    AcknowledgeOperationStatusMessage, ApplyOperationMessage, AuthenticationCompletedMessage,
    AuthenticationErrorMessage, AuthenticationFailedMessage, AuthenticationMechanismsMessage,
    AuthenticationStepMessage, CheckpointResourcesMessage, DrainSlaveMessage, FrameworkToExecutorMessage,
    KillTaskMessage, PingSlaveMessage, ReconcileOperationsMessage, RunTaskGroupMessage, RunTaskMessage,
    ShutdownExecutorMessage, ShutdownFrameworkMessage, ShutdownMessage, SlaveRegisteredMessage,
    SlaveReregisteredMessage, StatusUpdateAcknowledgementMessage, UpdateFrameworkMessage,
};
use crate::messages::{self, DecodeError};

/// Why a message was not taken.
#[derive(Debug)]
pub enum MessageError {
    /// Its name is none that a master sends to a slave.
    Unknown(String),
    /// Its body is not what its name says.
    Malformed(DecodeError),
}

impl std::fmt::Display for MessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MessageError::Unknown(name) => {
                write!(f, "{name} is no message that a slave understands")
            }
            MessageError::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MessageError {}

macro_rules! messages {
    ($(#[$about:meta])* $name:ident {
        $($(#[$doc:meta])* $variant:ident($message:ident)),* $(,)?
        $(; $(#[$bare_doc:meta])* $bare:ident = $word:literal)?
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        pub enum $name {
            $($(#[$doc])* $variant(Box<$message>),)*
            $($(#[$bare_doc])* $bare,)?
        }

        impl $name {
            /// Decodes a message by its full name.
            ///
            /// # Errors
            /// A name that we do not know, or a body that does not decode or lacks a required field.
            pub fn decode(name: &str, body: &[u8]) -> Result<$name, MessageError> {
                $(if name == $message::full_name() {
                    return messages::decode::<$message>(body)
                        .map(|message| $name::$variant(Box::new(message)))
                        .map_err(MessageError::Malformed);
                })*
                $(if name == $word {
                    return Ok($name::$bare);
                })?
                Err(MessageError::Unknown(name.to_string()))
            }

            /// The message's name, for the log.
            pub fn name(&self) -> &'static str {
                match self {
                    $($name::$variant(_) => stringify!($message),)*
                    $($name::$bare => $word,)?
                }
            }
        }
    };
}

messages! {
    /// What a master says to a slave. Each variant is the message of that name in `proto/mesos/messages.proto`.
    FromMaster {
        /// The slave has been taken in.
        Registered(SlaveRegisteredMessage),
        /// The slave has been taken in again.
        Reregistered(SlaveReregisteredMessage),
        /// A sign of life is asked for.
        Ping(PingSlaveMessage),
        /// A task is to be run.
        RunTask(RunTaskMessage),
        /// A group of tasks is to be run.
        RunTaskGroup(RunTaskGroupMessage),
        /// A task is to be killed.
        KillTask(KillTaskMessage),
        /// A framework is gone: end all that it has here.
        ShutdownFramework(ShutdownFrameworkMessage),
        /// An executor is to be ended.
        ShutdownExecutor(ShutdownExecutorMessage),
        /// A framework's description has changed.
        UpdateFramework(UpdateFrameworkMessage),
        /// A scheduler has received an update.
        Acknowledge(StatusUpdateAcknowledgementMessage),
        /// The slave's reservations and volumes, all of them.
        CheckpointResources(CheckpointResourcesMessage),
        /// A framework has something to say to its executor; its scheduler may send it to us directly.
        FrameworkToExecutor(FrameworkToExecutorMessage),
        /// An operation on resources is to be done (for agents with RESOURCE_PROVIDER).
        ApplyOperation(ApplyOperationMessage),
        /// Operations that the master, or a framework, does not know the state of.
        ReconcileOperations(ReconcileOperationsMessage),
        /// A framework has received an operation's status.
        AcknowledgeOperation(AcknowledgeOperationStatusMessage),
        /// All tasks are to be ended, and no more taken (for agents with AGENT_DRAINING).
        Drain(DrainSlaveMessage),
        /// The master refuses this slave.
        Shutdown(ShutdownMessage);
        /// A master of 2012 asks for a sign of life, with a word that is no protobuf.
        BarePing = "PING"
    }
}

messages! {
    /// What a master's authenticator says to one of our attempts to authenticate (`proto/mesos/authentication.proto`).
    FromAuthenticator {
        /// The mechanisms that it takes; its sender is the session.
        Mechanisms(AuthenticationMechanismsMessage),
        /// A challenge.
        Step(AuthenticationStepMessage),
        /// We are who we say.
        #[allow(dead_code)] // Empty.
        Completed(AuthenticationCompletedMessage),
        /// We are not.
        #[allow(dead_code)] // Empty.
        Failed(AuthenticationFailedMessage),
        /// It cannot tell.
        Error(AuthenticationErrorMessage),
    }
}

/// A message on its way out: full name and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The protobuf name, `mesos.internal.RegisterSlaveMessage`.
    pub name: String,
    /// The encoded message.
    pub body: Vec<u8>,
}

impl Outgoing {
    /// Encodes a message.
    pub fn new<M: Message + Name>(message: &M) -> Outgoing {
        Outgoing { name: M::full_name(), body: message.encode_to_vec() }
    }

    /// Decodes it again, if it is an `M`: for tests.
    #[cfg(test)]
    pub fn decode<M: Message + Name + Default>(&self) -> Option<M> {
        if self.name != M::full_name() {
            return None;
        }
        M::decode(self.body.as_slice()).ok()
    }
}
