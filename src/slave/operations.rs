//! What a master may ask of agents that can do more, and messages to executors that are not here. A master asks only those that
//! say they can, so this is for one that has taken us for another: it gets the answer that lets it set its books right.

use super::executor::ToExecutor;
use super::{ExecutorState, Slave};
use crate::ids::{ExecutorId, FrameworkId};
use crate::libprocess::Pid;
use crate::messages::mesos::internal::{
    AcknowledgeOperationStatusMessage, ApplyOperationMessage, DrainSlaveMessage, FrameworkToExecutorMessage,
    ReconcileOperationsMessage, UpdateOperationStatusMessage,
};
use crate::messages::mesos::{OperationState, OperationStatus};

impl Slave {
    /// Without RESOURCE_PROVIDER, reservations and volumes come as CheckpointResourcesMessage: the operation was not done.
    pub(super) fn apply_operation(&mut self, message: ApplyOperationMessage) {
        log::error!("dropped an operation, which this slave cannot do: it has no capability RESOURCE_PROVIDER");
        let status = OperationStatus {
            operation_id: message.operation_info.id.clone(),
            state: OperationState::OperationDropped as i32,
            message: Some("the agent has no capability RESOURCE_PROVIDER".into()),
            resource_provider_id: message.resource_version_uuid.resource_provider_id.clone(),
            ..Default::default()
        };
        self.report_operation(UpdateOperationStatusMessage {
            framework_id: message.framework_id,
            status,
            operation_uuid: Some(message.operation_uuid),
            ..Default::default()
        });
    }

    /// No operation is known here. To a master that misses one this means that it never arrived; to a framework that asks, that
    /// it is unknown (`Slave::reconcileOperations`, and its manager of resource providers for those of a provider).
    pub(super) fn reconcile_operations(&mut self, message: ReconcileOperationsMessage) {
        for operation in message.operations {
            let own = message.framework_id.is_none() && operation.resource_provider_id.is_none();
            let state = if own { OperationState::OperationDropped } else { OperationState::OperationUnknown };
            let status = OperationStatus {
                operation_id: operation.operation_id,
                state: state as i32,
                resource_provider_id: operation.resource_provider_id,
                ..Default::default()
            };
            self.report_operation(UpdateOperationStatusMessage {
                framework_id: message.framework_id.clone(),
                status,
                operation_uuid: operation.operation_uuid,
                ..Default::default()
            });
        }
    }

    /// Sent once: without a uuid of its own it is not acknowledged.
    fn report_operation(&mut self, mut update: UpdateOperationStatusMessage) {
        let master = self.registration.registered_master().cloned();
        if let (Some(master), Some(id)) = (master, self.registration.id()) {
            update.slave_id = Some(id.to_proto());
            update.status.slave_id = Some(id.to_proto());
            self.send(&master, &update);
        }
    }

    pub(super) fn operation_acknowledged(&self, message: &AcknowledgeOperationStatusMessage) {
        let uuid = &message.operation_uuid.value;
        log::warn!("dropped the acknowledgement of operation {uuid:x?}, which is not known here");
    }

    /// A master checks for AGENT_DRAINING before it drains, but not when a draining agent comes back as another version. One that
    /// cannot drain goes on with its tasks, and the master takes it for drained when the last has ended.
    pub(super) fn drain(&self, message: &DrainSlaveMessage) {
        log::warn!(
            "the master drains this slave ({:?}), which cannot end its tasks for that: it has no capability AGENT_DRAINING; \
             end them through their frameworks",
            message.config
        );
    }

    /// A framework's words to its executor come through the master, or from the scheduler itself.
    pub(super) fn framework_message(&mut self, from: &Pid, message: &FrameworkToExecutorMessage) {
        let (framework, executor) = (&message.framework_id.value, &message.executor_id.value);
        match self.addressee(from, message) {
            Ok((framework, executor)) => {
                self.counts.valid_framework_messages += 1;
                self.tell(&framework, &executor, ToExecutor::Message(message.clone()));
            }
            Err(why) => {
                self.counts.invalid_framework_messages += 1;
                log::warn!("dropped a message of framework {framework:?} to its executor {executor:?}: {why}");
            }
        }
    }

    /// Who is to get it. A command task's executor is the container's child, which takes no messages; nor does Mesos' own.
    fn addressee(
        &self,
        from: &Pid,
        message: &FrameworkToExecutorMessage,
    ) -> Result<(FrameworkId, ExecutorId), &'static str> {
        if self.registration.registered_master().is_none() {
            return Err("the slave is not registered");
        }
        let framework_id =
            FrameworkId::try_from(&message.framework_id).map_err(|_| "the framework has nothing here")?;
        let framework = self.frameworks.get(&framework_id).ok_or("the framework has nothing here")?;
        if !self.registration.is_master(from) && framework.pid.as_ref() != Some(from) {
            return Err("it is neither from the master nor from the framework's scheduler");
        }
        if framework.terminating {
            return Err("the framework is being removed from this slave");
        }
        let executor_id = ExecutorId::try_from(&message.executor_id).map_err(|_| "the executor is not here")?;
        let executor = framework.executors.get(&executor_id).ok_or("the executor is not here")?;
        match executor.state {
            _ if executor.is_command => Err("a command task takes no messages"),
            ExecutorState::Running => Ok((framework_id, executor_id)),
            ExecutorState::Launching | ExecutorState::Ending | ExecutorState::Gone => {
                Err("the executor is not running")
            }
        }
    }
}
