//! The v1 scheduler API: what an HTTP request must be to become an event of the core, and the status and text of each refusal
//! (those of Mesos' `Master::Http::scheduler`, in its order).

use super::tasks::UUID_LENGTH;
pub use crate::api::v1::{Format, Posted, Refusal, refuse};
use crate::messages::mesos::scheduler::{Call, call};

/// The v1 twin of [`Call`].
const CALL: &str = "mesos.v1.scheduler.Call";
/// The v1 twin of the events.
pub const EVENT: &str = "mesos.v1.scheduler.Event";

/// A request that is to be answered by the core.
#[derive(Debug)]
pub enum Parsed {
    /// SUBSCRIBE, and the form of the events.
    Subscribe(Box<call::Subscribe>, Format),
    /// Any other call.
    Call(Box<Call>),
}

/// Reads a request to `/api/v1/scheduler`.
///
/// # Errors
/// The refusal.
pub fn parse(posted: &Posted) -> Result<Parsed, Refusal> {
    let mut call: Call = posted.call(CALL)?;
    validate(&call).map_err(|error| (400, format!("Failed to validate scheduler::Call: {error}")))?;
    if call.r#type() != call::Type::Subscribe {
        return Ok(Parsed::Call(Box::new(call)));
    }
    let format = posted.accepted()?;
    if posted.stream_id.is_some() {
        return Err((400, "Subscribe calls should not include the 'Mesos-Stream-Id' header".into()));
    }
    match call.subscribe.take() {
        Some(subscribe) => Ok(Parsed::Subscribe(Box::new(subscribe), format)),
        None => Err((400, "Failed to validate scheduler::Call: Expecting 'subscribe' to be present".into())),
    }
}

/// `validation::scheduler::call::validate` in Mesos.
fn validate(call: &Call) -> Result<(), String> {
    use call::Type::*;
    if call.r#type.is_none() {
        return Err("Expecting 'type' to be present".into());
    }
    if call.r#type() == Subscribe {
        let inner = call.subscribe.as_ref().and_then(|subscribe| subscribe.framework_info.id.as_ref());
        let id = |id: Option<&crate::messages::mesos::FrameworkId>| id.map(|id| id.value.clone()).unwrap_or_default();
        return match call.subscribe.is_some() && id(inner) != id(call.framework_id.as_ref()) {
            true => Err("'framework_id' differs from 'subscribe.framework_info.id'".into()),
            false => Ok(()),
        };
    }
    if call.framework_id.is_none() {
        return Err("Expecting 'framework_id' to be present".into());
    }
    let (is_there, name) = match call.r#type() {
        Accept => (call.accept.is_some(), "accept"),
        Decline => (call.decline.is_some(), "decline"),
        Kill => (call.kill.is_some(), "kill"),
        Shutdown => (call.shutdown.is_some(), "shutdown"),
        Acknowledge => (call.acknowledge.is_some(), "acknowledge"),
        Reconcile => (call.reconcile.is_some(), "reconcile"),
        Message => (call.message.is_some(), "message"),
        Request => (call.request.is_some(), "request"),
        AcceptInverseOffers => (call.accept_inverse_offers.is_some(), "accept_inverse_offers"),
        DeclineInverseOffers => (call.decline_inverse_offers.is_some(), "decline_inverse_offers"),
        AcknowledgeOperationStatus => (call.acknowledge_operation_status.is_some(), "acknowledge_operation_status"),
        ReconcileOperations => (call.reconcile_operations.is_some(), "reconcile_operations"),
        UpdateFramework => (call.update_framework.is_some(), "update_framework"),
        Subscribe | Teardown | Revive | Suppress | Unknown => (true, ""),
    };
    match is_there {
        false => Err(format!("Expecting '{name}' to be present")),
        true if call.update_framework.as_ref().is_some_and(|one| one.framework_info.id != call.framework_id) => {
            Err("'framework_id' differs from 'update_framework.framework_info.id'".into())
        }
        true if call.acknowledge.as_ref().is_some_and(|one| one.uuid.len() != UUID_LENGTH) => {
            Err("Not a valid UUID".into())
        }
        true => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIBE: &str = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"f"}}}"#;

    fn posted(body: &str) -> Posted<'_> {
        let media = Some("application/json");
        Posted { method: "POST", content_type: media, accept: media, stream_id: None, body: body.as_bytes() }
    }

    fn status(posted: &Posted) -> u16 {
        parse(posted).expect_err("refused").0
    }

    #[test]
    fn a_subscription_names_the_form_of_its_events() {
        let format = |accept| match parse(&Posted { accept, ..posted(SUBSCRIBE) }) {
            Ok(Parsed::Subscribe(_, format)) => Some(format),
            _ => None,
        };
        assert_eq!(format(None), Some(Format::Json));
        assert_eq!(format(Some("*/*")), Some(Format::Json));
        assert_eq!(format(Some("application/x-protobuf")), Some(Format::Protobuf));
        assert_eq!(format(Some("text/html")), None);
    }

    #[test]
    fn each_wrong_request_has_its_status() {
        assert_eq!(status(&Posted { method: "GET", ..posted(SUBSCRIBE) }), 405);
        assert_eq!(status(&Posted { content_type: None, ..posted(SUBSCRIBE) }), 400);
        assert_eq!(status(&Posted { content_type: Some("text/plain"), ..posted(SUBSCRIBE) }), 415);
        assert_eq!(status(&Posted { accept: Some("text/html"), ..posted(SUBSCRIBE) }), 406);
        assert_eq!(status(&Posted { stream_id: Some("x"), ..posted(SUBSCRIBE) }), 400);
        assert_eq!(status(&posted("{")), 400);
        assert_eq!(status(&posted("{}")), 400);
    }

    #[test]
    fn a_call_says_what_it_lacks() {
        let text = |body| parse(&posted(body)).expect_err("refused").1;
        assert!(text(r#"{"type":"TEARDOWN"}"#).ends_with("Expecting 'framework_id' to be present"));
        assert!(text(r#"{"type":"KILL","framework_id":{"value":"f"}}"#).ends_with("Expecting 'kill' to be present"));
        let short = r#"{"type":"ACKNOWLEDGE","framework_id":{"value":"f"},"acknowledge":{"agent_id":{"value":"s"},"task_id":{"value":"t"},"uuid":"AAAA"}}"#;
        assert!(text(short).ends_with("Not a valid UUID"));
    }
}
