//! The calls of a subscribed scheduler: who may make them, and which room each of them is for.

use super::core::{Action, Core, Peer};
use super::frameworks::Scheduler;
use crate::ids::FrameworkId;
use crate::messages::mesos::internal::{FrameworkToExecutorMessage, ShutdownExecutorMessage};
use crate::messages::mesos::scheduler::{Call, call};

impl Core {
    /// Checks that a call is that of the framework's present scheduler, as Mesos does, and carries it out.
    pub(super) fn call(&mut self, peer: Peer, stream_id: Option<&str>, call: Call) {
        let (status, text) = match self.caller(stream_id, &call) {
            Ok(id) => self.carry_out(&id, call),
            Err(refusal) => refusal,
        };
        self.actions.push(Action::Answer { peer, status, text });
    }

    fn caller(&self, stream_id: Option<&str>, call: &Call) -> Result<FrameworkId, (u16, String)> {
        let id = call.framework_id.as_ref().and_then(|id| FrameworkId::try_from(id).ok());
        let Some((id, framework)) = id.as_ref().and_then(|id| self.frameworks.get_key_value(id)) else {
            return Err((400, "Framework cannot be found".into()));
        };
        let Scheduler::Connected { stream_id: expected, .. } = &framework.scheduler else {
            return Err((403, "Framework is not subscribed".into()));
        };
        match stream_id {
            None => Err((400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header".into())),
            Some(given) if given != expected => Err((
                400,
                format!(
                    "The stream ID '{given}' included in this request didn't match the stream ID currently associated with framework ID {id}"
                ),
            )),
            Some(_) => Ok(id.clone()),
        }
    }

    /// The calls that this master knows; Mesos accepts all that are valid, so nothing here fails with a status.
    fn carry_out(&mut self, id: &FrameworkId, call: Call) -> (u16, String) {
        use call::Type::*;
        let kind = call.r#type();
        match kind {
            Teardown => self.remove_framework(id),
            Accept => self.accept(id, call.accept.unwrap_or_default()),
            Decline => self.decline(id, call.decline.unwrap_or_default()),
            Revive => self.revive(id, &call.revive.unwrap_or_default()),
            Suppress => self.suppress(id, &call.suppress.unwrap_or_default()),
            Kill => call.kill.into_iter().for_each(|kill| self.kill(id, kill)),
            Shutdown => call.shutdown.into_iter().for_each(|shutdown| self.shut_down_executor(id, shutdown)),
            Acknowledge => call.acknowledge.into_iter().for_each(|acknowledge| self.acknowledge(id, acknowledge)),
            Reconcile => self.reconcile(id, call.reconcile.unwrap_or_default()),
            Message => call.message.into_iter().for_each(|message| self.framework_message(id, message)),
            Request => {
                log::info!("framework {id} asks for resources; the embedded master offers all that there are anyway")
            }
            AcceptInverseOffers | DeclineInverseOffers => {
                log::info!("framework {id} speaks of inverse offers, of which the embedded master makes none")
            }
            AcknowledgeOperationStatus => {
                log::info!("framework {id} acknowledges the status of an operation; there was none")
            }
            ReconcileOperations => self.reconcile_operations(id, call.reconcile_operations.unwrap_or_default()),
            UpdateFramework => {
                let update = call.update_framework.into_iter().next();
                return update.map_or((400, String::new()), |update| self.update_framework(id, update));
            }
            Subscribe | Unknown => return (501, format!("the embedded master does not do {}", kind.as_str_name())),
        }
        (202, String::new())
    }

    fn shut_down_executor(&mut self, id: &FrameworkId, shutdown: call::Shutdown) {
        let Some(pid) = self.slave_pid(&shutdown.slave_id) else {
            return log::warn!(
                "framework {id} wants an executor of unknown slave {} shut down",
                shutdown.slave_id.value
            );
        };
        let message =
            ShutdownExecutorMessage { executor_id: Some(shutdown.executor_id), framework_id: Some(id.to_proto()) };
        self.send(&pid, &message);
    }

    fn framework_message(&mut self, id: &FrameworkId, message: call::Message) {
        let Some(pid) = self.slave_pid(&message.slave_id) else {
            return log::warn!("framework {id} has a message for unknown slave {}", message.slave_id.value);
        };
        let call::Message { slave_id, executor_id, data } = message;
        self.send(&pid, &FrameworkToExecutorMessage { slave_id, framework_id: id.to_proto(), executor_id, data });
    }
}
