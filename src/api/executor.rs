//! `POST /api/v1/executor`, and `/slave(1)/api/v1/executor`: what an HTTP request of an executor must be, and the status and text of each
//! refusal, those of Mesos' `Http::executor` (`src/slave/http.cpp`) in its order. Pure.

use crate::ids::{ExecutorId, FrameworkId};
use crate::messages::mesos::executor::{Call, Event, call, event};
use crate::messages::mesos::{CheckStatusInfo, TaskState, check_info, task_status};

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
    /// UPDATE or MESSAGE; or UNKNOWN, which is a call of an executor like these, and of no use.
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
        call::Type::Update | call::Type::Message | call::Type::Unknown => Ok(Parsed::Call(Box::new(call))),
    }
}

/// Who calls. An id that could be none here is one that cannot be found; `is_known` says whether a framework is here, since it is looked
/// for first.
///
/// # Errors
/// The refusal.
pub fn caller(call: &Call, is_known: impl Fn(&FrameworkId) -> bool) -> Result<(FrameworkId, ExecutorId), Refusal> {
    let framework = FrameworkId::try_from(&call.framework_id).ok().filter(is_known).ok_or_else(no_framework)?;
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

/// UNKNOWN, which says nothing.
pub fn unknown() -> Refusal {
    (501, "501 Not Implemented.".into())
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
    // A type that we do not know is none, as with any enum.
    if call.r#type.is_none_or(|number| call::Type::try_from(number).is_err()) {
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
    if !is_uuid(uuid) {
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
    status.check_status.as_ref().map_or(Ok(()), validate_check)
}

/// Sixteen bytes that say which version of UUID they are (`UUID::fromBytes` in Mesos' stout).
fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == UUID_LENGTH && (1..=5).contains(&(bytes[6] >> 4))
}

/// `common::validation::validateCheckStatusInfo` in Mesos.
fn validate_check(status: &CheckStatusInfo) -> Result<(), String> {
    let Some(kind) = status.r#type.and_then(|number| check_info::Type::try_from(number).ok()) else {
        return Err("CheckStatusInfo must specify 'type'".into());
    };
    let (is_there, field) = match kind {
        check_info::Type::Command => (status.command.is_some(), "command"),
        check_info::Type::Http => (status.http.is_some(), "http"),
        check_info::Type::Tcp => (status.tcp.is_some(), "tcp"),
        check_info::Type::Unknown => return Err("'UNKNOWN' is not a valid check's status type".into()),
    };
    let name = kind.as_str_name();
    if is_there { Ok(()) } else { Err(format!("Expecting '{field}' to be set for {name} check's status")) }
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
        assert_eq!(format(Some("")), Err(406));
        assert_eq!(format(Some("text/html, */*;q=0.1")), Ok(("e".into(), Format::Json)));
        assert_eq!(
            format(Some("application/x-protobuf;q=1.0, application/json;q=0")),
            Ok(("e".into(), Format::Protobuf))
        );
        assert_eq!(format(Some("application/json; q=0, */*")), Ok(("e".into(), Format::Protobuf)));
        assert_eq!(format(Some("*/*;q=0.0")), Err(406));
        assert_eq!(format(Some("Application/*")), Ok(("e".into(), Format::Json)));
    }

    #[test]
    fn each_wrong_request_has_mesos_status_and_text() {
        let body = format!(r#"{{{IDS},"type":"SUBSCRIBE"}}"#);
        let missing = "Failed to validate Executor::Call: Expecting 'subscribe' to be present";
        assert_eq!(refused(&body), (400, missing.into()));
        let get = parse(&Posted { method: "GET", ..posted(&body) }).expect_err("refused");
        assert_eq!(get, (405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.".into()));
        assert_eq!(crate::api::v1::refuse(get).headers.get("Allow"), Some("POST"));
        assert_eq!(parse(&Posted { content_type: None, ..posted(&body) }).expect_err("refused").0, 400);
        assert_eq!(parse(&Posted { content_type: Some("text/plain"), ..posted(&body) }).expect_err("refused").0, 415);
        for other in ["application/json; charset=utf-8", "Application/JSON", ""] {
            let status = parse(&Posted { content_type: Some(other), ..posted(&body) }).expect_err("refused").0;
            assert_eq!(status, 415, "{other}");
        }
    }

    #[test]
    fn a_body_that_is_no_call_is_refused_in_mesos_words() {
        let json = |body: &str, text: &str| {
            assert_eq!(refused(body), (400, format!("Failed to parse body into JSON: {text}")), "{body}");
        };
        json("", "syntax error at line 1 near: ");
        json("{", "syntax error at line 1 near: ");
        json("{\n\"x\":NaN}\n", "syntax error at line 2 near: NaN}");
        json("{/*x*/}", "syntax error at line 1 near: /*x*/}");
        json("{}x y \n", "Parsed JSON included non-whitespace trailing characters: x y");
        let call = |body: &str, text: &str| {
            assert_eq!(refused(body), (400, format!("Failed to convert JSON into Call protobuf: {text}")), "{body}");
        };
        call("[1]", "Expecting a JSON object");
        call("{}", "Missing required fields: executor_id, framework_id");
        call(&format!(r#"{{{IDS},"type":3}}"#), "Not expecting a JSON number for field 'type'");
        call(r#"{"executor_id":"e"}"#, "Not expecting a JSON string for field 'executor_id'");
        call(&format!(r#"{{{IDS},"message":[]}}"#), "Not expecting a JSON array for field 'message'");
        call(&format!(r#"{{{IDS},"type":"MESSAGE","message":{{}}}}"#), "Missing required fields: message.data");
        let labels = |count| r#"{},"#.to_string() + &r#"{"key":"k"},"#.repeat(count) + "{}";
        let many =
            |count| refused(&update(&format!(r#""state":"TASK_RUNNING","labels":{{"labels":[{}]}}"#, labels(count)))).1;
        let lack =
            "Failed to convert JSON into Call protobuf: Missing required fields: update.status.labels.labels[0].key";
        assert_eq!(many(1000), format!("{lack}, update.status.labels.labels[1001].key"));
        assert_eq!(many(crate::messages::MAX_NESTED), lack, "what is missing is looked for in so many messages only");
        call(&update(r#""state":"TASK_FOO""#), "Failed to find enum for 'TASK_FOO'");
        call(
            &update(r#""state":"TASK_RUNNING","data":"%%%""#),
            "Failed to base64 decode bytes field 'data': Invalid character '%'",
        );
        let number = "Failed to parse 'x' as a JSON number for field 'timestamp': syntax error at line 1 near: x";
        call(&update(r#""state":"TASK_RUNNING","timestamp":"x""#), number);
        let protobuf = |body: &[u8]| {
            let posted = Posted { content_type: Some("application/x-protobuf"), body, ..posted("") };
            assert_eq!(parse(&posted).expect_err("refused"), (400, "Failed to parse body into Call protobuf".into()));
        };
        protobuf(b"");
        protobuf(b"\xff\xff\xff");
    }

    #[test]
    fn a_type_that_nobody_knows_is_no_type() {
        let missing = (400, "Failed to validate Executor::Call: Expecting 'type' to be present".to_string());
        assert_eq!(refused(&format!(r#"{{{IDS},"type":"FOO"}}"#)), missing);
        let ids = b"\x0a\x03\x0a\x01e\x12\x03\x0a\x01f\x18\x63";
        let posted = Posted { content_type: Some("application/x-protobuf"), body: ids, ..posted("") };
        assert_eq!(parse(&posted).expect_err("refused"), missing);
    }

    #[test]
    fn unknown_is_a_call_of_an_executor_that_has_to_be_there() {
        let body = format!(r#"{{{IDS},"type":"UNKNOWN"}}"#);
        assert!(matches!(parse(&posted(&body)), Ok(Parsed::Call(_))));
    }

    #[test]
    fn a_uuid_may_come_in_any_base64_that_mesos_reads() {
        for text in ["AAAAAAAAQACAAAAAAAAAAA==", "AAAAAAAAQACA\\nAAAAAAAAAA==\\n", "AAAAAAAAQACAAAAAAAAAAA"] {
            let body = update(&format!(r#""state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","uuid":"{text}""#));
            assert!(matches!(parse(&posted(&body)), Ok(Parsed::Call(_))), "{text}");
        }
    }

    #[test]
    fn an_update_says_what_is_wrong_with_it() {
        let uuid = r#""uuid":"AAAAAAAAQACAAAAAAAAAAA==""#;
        let says = |rest: &str, end: &str| {
            let (status, text) = refused(&update(rest));
            assert_eq!((status, text.ends_with(end)), (400, true), "{text}");
        };
        says(r#""state":"TASK_RUNNING""#, "Expecting 'uuid' to be present");
        says(r#""state":"TASK_RUNNING","uuid":"AAAA""#, "Not a valid UUID");
        says(r#""state":"TASK_RUNNING","uuid":"""#, "Not a valid UUID");
        says(r#""state":"TASK_RUNNING","uuid":"AAAAAAAAAAAAAAAAAAAAAA==""#, "Not a valid UUID");
        says(&format!(r#""state":"TASK_RUNNING",{uuid}"#), "expecting 'SOURCE_EXECUTOR'");
        says(&format!(r#""state":"TASK_STAGING","source":"SOURCE_EXECUTOR",{uuid}"#), "which is not allowed");
        let other =
            format!(r#""state":"TASK_RUNNING","source":"SOURCE_EXECUTOR","executor_id":{{"value":"x"}},{uuid}"#);
        says(&other, "does not match ExecutorID in TaskStatus: x");
        let check = |status: &str| {
            format!(r#""state":"TASK_RUNNING","source":"SOURCE_EXECUTOR",{uuid},"check_status":{{{status}}}"#)
        };
        says(&check(""), "CheckStatusInfo must specify 'type'");
        says(&check(r#""type":"TCP""#), "Expecting 'tcp' to be set for TCP check's status");
        let good = update(&check(r#""type":"TCP","tcp":{"succeeded":true}"#));
        assert!(matches!(parse(&posted(&good)), Ok(Parsed::Call(_))));
    }

    #[test]
    fn a_heartbeat_is_taken_whatever_its_ids() {
        let body = r#"{"framework_id":{"value":"../x"},"executor_id":{"value":""},"type":"HEARTBEAT"}"#;
        assert!(matches!(parse(&posted(body)), Ok(Parsed::Heartbeat)));
        let call =
            Call { framework_id: crate::messages::mesos::FrameworkId { value: "../x".into() }, ..Default::default() };
        assert_eq!(caller(&call, |_| true).expect_err("refused"), no_framework());
        let strange = Call { framework_id: crate::messages::mesos::FrameworkId { value: "f".into() }, ..call };
        assert_eq!(caller(&strange, |_| true).expect_err("refused"), no_executor());
        assert_eq!(caller(&strange, |_| false).expect_err("refused"), no_framework());
    }
}
