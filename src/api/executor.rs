//! `POST /api/v1/executor`, and `/slave(1)/api/v1/executor`: what an HTTP request of an executor must be, and the status and text of each
//! refusal, those of Mesos' `Http::executor` (`src/slave/http.cpp`) in its order. Pure.

use crate::ids::{ExecutorId, FrameworkId};
use crate::messages::mesos::executor::{Call, Event, call, event};
use crate::messages::mesos::{TaskState, task_status};

use super::v1::{Format, Posted, Refusal};

/// The v1 twins of [`Call`] and [`Event`].
const CALL: &str = "mesos.v1.executor.Call";
const EVENT: &str = "mesos.v1.executor.Event";

/// Length of a uuid in bytes.
const UUID_LENGTH: usize = 16;

/// A request that an executor may make.
#[derive(Debug)]
pub enum Parsed {
    /// SUBSCRIBE, and the form of the events.
    Subscribe(Box<Call>, Format),
    /// UPDATE or MESSAGE.
    Call(Box<Call>),
    /// A sign of life: answered with 202 before anybody looks at its ids, which some clients make up.
    Heartbeat,
}

/// Reads a request.
///
/// # Errors
/// The refusal.
pub fn parse(posted: &Posted) -> Result<Parsed, Refusal> {
    let call: Call = posted.call(CALL)?;
    validate(&call).map_err(|error| (400, format!("Failed to validate Executor::Call: {error}")))?;
    match call.r#type() {
        call::Type::Subscribe => Ok(Parsed::Subscribe(Box::new(call), posted.accepted()?)),
        call::Type::Heartbeat => Ok(Parsed::Heartbeat),
        call::Type::Update | call::Type::Message => Ok(Parsed::Call(Box::new(call))),
        call::Type::Unknown => Err((501, "Received 'UNKNOWN' call".into())),
    }
}

/// Who calls. An id that could be none here is one that cannot be found.
///
/// # Errors
/// The refusal.
pub fn caller(call: &Call) -> Result<(FrameworkId, ExecutorId), Refusal> {
    let framework = FrameworkId::try_from(&call.framework_id).map_err(|_| no_framework())?;
    let executor = ExecutorId::try_from(&call.executor_id).map_err(|_| no_executor())?;
    Ok((framework, executor))
}

/// The caller's framework has nothing here.
pub fn no_framework() -> Refusal {
    (400, "Framework cannot be found".into())
}

/// The caller is no executor of that framework.
pub fn no_executor() -> Refusal {
    (400, "Executor cannot be found".into())
}

/// The caller has not subscribed yet.
pub fn not_subscribed() -> Refusal {
    (403, "Executor is not subscribed".into())
}

/// The caller speaks from an address that is not its executor's: one guest speaking for another.
pub fn another() -> Refusal {
    (403, "An executor can be spoken for from its own address only".into())
}

/// One event as a record's content.
///
/// # Errors
/// Only if the event could not be put into its v1 form.
pub fn encode(format: Format, event: &Event) -> Result<Vec<u8>, crate::messages::DecodeError> {
    format.encode(EVENT, event)
}

/// The event that keeps a stream from being idle.
pub fn heartbeat() -> Event {
    Event { r#type: Some(event::Type::Heartbeat as i32), ..Default::default() }
}

/// `common::validation::validateExecutorCall` in Mesos.
fn validate(call: &Call) -> Result<(), String> {
    if call.r#type.is_none() {
        return Err("Expecting 'type' to be present".into());
    }
    let (is_there, name) = match call.r#type() {
        call::Type::Subscribe => (call.subscribe.is_some(), "subscribe"),
        call::Type::Update => (call.update.is_some(), "update"),
        call::Type::Message => (call.message.is_some(), "message"),
        call::Type::Heartbeat | call::Type::Unknown => (true, ""),
    };
    if !is_there {
        return Err(format!("Expecting '{name}' to be present"));
    }
    match (&call.update, call.r#type()) {
        (Some(update), call::Type::Update) => validate_update(call, update),
        _ => Ok(()),
    }
}

fn validate_update(call: &Call, update: &call::Update) -> Result<(), String> {
    let (status, caller) = (&update.status, &call.executor_id.value);
    let Some(uuid) = &status.uuid else {
        return Err("Expecting 'uuid' to be present".into());
    };
    if uuid.len() != UUID_LENGTH {
        return Err("Not a valid UUID".into());
    }
    if let Some(named) = status.executor_id.as_ref().filter(|named| named.value != *caller) {
        return Err(format!("ExecutorID in Call: {caller} does not match ExecutorID in TaskStatus: {}", named.value));
    }
    if status.source() != task_status::Source::Executor {
        return Err(format!(
            "Received Call from executor {caller} of framework {} with invalid source, expecting 'SOURCE_EXECUTOR'",
            call.framework_id.value
        ));
    }
    if status.state() == TaskState::TaskStaging {
        return Err(format!(
            "Received TASK_STAGING from executor {caller} of framework {} which is not allowed",
            call.framework_id.value
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &str = r#""framework_id":{"value":"f"},"executor_id":{"value":"e"}"#;

    fn posted(body: &str) -> Posted<'_> {
        let media = Some("application/json");
        Posted { method: "POST", content_type: media, accept: media, stream_id: None, body: body.as_bytes() }
    }

    fn refused(body: &str) -> Refusal {
        parse(&posted(body)).expect_err("refused")
    }

    fn update(rest: &str) -> String {
        format!(r#"{{{IDS},"type":"UPDATE","update":{{"status":{{"task_id":{{"value":"t"}},{rest}}}}}}}"#)
    }

    #[test]
    fn a_subscription_names_the_form_of_its_events() {
        let body = format!(r#"{{{IDS},"type":"SUBSCRIBE","subscribe":{{}}}}"#);
        let format = |accept| match parse(&Posted { accept, ..posted(&body) }) {
            Ok(Parsed::Subscribe(call, format)) => Ok((call.executor_id.value, format)),
            Ok(other) => panic!("{other:?}"),
            Err((status, _)) => Err(status),
        };
        assert_eq!(format(None), Ok(("e".into(), Format::Json)));
        assert_eq!(format(Some("application/x-protobuf")), Ok(("e".into(), Format::Protobuf)));
        assert_eq!(format(Some("text/html")), Err(406));
    }

    #[test]
    fn each_wrong_request_has_mesos_status_and_text() {
        let body = format!(r#"{{{IDS},"type":"SUBSCRIBE"}}"#);
        let missing = "Failed to validate Executor::Call: Expecting 'subscribe' to be present";
        assert_eq!(refused(&body), (400, missing.into()));
        assert_eq!(parse(&Posted { method: "GET", ..posted(&body) }).expect_err("refused").0, 405);
        assert_eq!(parse(&Posted { content_type: None, ..posted(&body) }).expect_err("refused").0, 400);
        assert_eq!(parse(&Posted { content_type: Some("text/plain"), ..posted(&body) }).expect_err("refused").0, 415);
        assert_eq!(refused("{").0, 400);
        assert_eq!(refused(r#"{"type":"SUBSCRIBE"}"#).0, 400);
        assert_eq!(refused(&format!(r#"{{{IDS},"type":"UNKNOWN"}}"#)).0, 501);
    }

    #[test]
    fn an_update_says_what_is_wrong_with_it() {
        let uuid = r#""uuid":"AAAAAAAAAAAAAAAAAAAAAA==""#;
        let says = |rest: &str, end: &str| {
            let (status, text) = refused(&update(rest));
            assert_eq!((status, text.ends_with(end)), (400, true), "{text}");
        };
        says(r#""state":"TASK_RUNNING""#, "Expecting 'uuid' to be present");
        says(r#""state":"TASK_RUNNING","uuid":"AAAA""#, "Not a valid UUID");
        says(&format!(r#""state":"TASK_RUNNING",{uuid}"#), "expecting 'SOURCE_EXECUTOR'");
        says(&format!(r#""state":"TASK_STAGING","source":"SOURCE_EXECUTOR",{uuid}"#), "which is not allowed");
        let other =
            format!(r#""state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","executor_id":{{"value":"x"}},{uuid}"#);
        says(&other, "does not match ExecutorID in TaskStatus: x");
        let good = update(&format!(r#""state":"TASK_RUNNING","source":"SOURCE_EXECUTOR",{uuid}"#));
        assert!(matches!(parse(&posted(&good)), Ok(Parsed::Call(_))));
    }

    #[test]
    fn a_heartbeat_is_taken_whatever_its_ids() {
        let body = r#"{"framework_id":{"value":"../x"},"executor_id":{"value":""},"type":"HEARTBEAT"}"#;
        assert!(matches!(parse(&posted(body)), Ok(Parsed::Heartbeat)));
        let call =
            Call { framework_id: crate::messages::mesos::FrameworkId { value: "../x".into() }, ..Default::default() };
        assert_eq!(caller(&call).expect_err("refused"), no_framework());
    }
}
