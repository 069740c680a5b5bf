//! What Mesos' v1 APIs have in common, the executors' and the schedulers': calls and events in JSON or protobuf by the request's own word,
//! and the status and text of each refusal.

use prost::{Message, Name};

use crate::messages;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// The form in which a client wants its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/x-protobuf`
    Protobuf,
}

impl Format {
    /// The value of `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::Protobuf => PROTOBUF,
        }
    }

    /// A message in this form, without a record's length; `v1_type` is the name of its v1 twin.
    ///
    /// # Errors
    /// Only if the message could not be put into its v1 form.
    pub fn encode<M: Message + Name>(self, v1_type: &str, message: &M) -> Result<Vec<u8>, messages::DecodeError> {
        match self {
            Format::Json => Ok(messages::to_v1_json(v1_type, message)?.to_string().into_bytes()),
            Format::Protobuf => messages::to_v1_bytes(v1_type, message),
        }
    }
}

/// What of a request matters.
#[derive(Debug, Clone, Copy)]
pub struct Posted<'a> {
    /// The request's method.
    pub method: &'a str,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// `Mesos-Stream-Id`.
    pub stream_id: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Posted<'a> {
    /// Of a request.
    pub fn of(request: &'a crate::libprocess::Request) -> Posted<'a> {
        Posted {
            method: &request.method,
            content_type: request.headers.get("Content-Type"),
            accept: request.headers.get("Accept"),
            stream_id: request.headers.get("Mesos-Stream-Id"),
            body: &request.body,
        }
    }

    /// The call in it, as the unversioned message that `v1_type` is the twin of.
    ///
    /// # Errors
    /// The refusal: another method than POST, no or an unknown content type, a body that is no such message.
    pub fn call<M: Message + Name + Default>(&self, v1_type: &str) -> Result<M, Refusal> {
        if self.method != "POST" {
            let text =
                format!("405 Method Not Allowed. Expecting one of {{ 'POST' }}, but received '{}'.", self.method);
            return Err((405, text));
        }
        // Mesos compares the whole value: it takes no parameters and no capital letters.
        match self.content_type.ok_or((400, "Expecting 'Content-Type' to be present".to_owned()))? {
            JSON => messages::from_v1_json(v1_type, self.body).map_err(|error| (400, json_refusal(&error, self.body))),
            PROTOBUF => messages::from_v1_bytes(v1_type, self.body).map_err(|error| {
                log::debug!("a call is refused: {error}");
                (400, "Failed to parse body into Call protobuf".into())
            }),
            _ => Err((415, format!("Expecting 'Content-Type' of {JSON} or {PROTOBUF}"))),
        }
    }

    /// The form of the events that the client takes: JSON where it may be, as in Mesos.
    ///
    /// # Errors
    /// The refusal, when it takes neither.
    pub fn accepted(&self) -> Result<Format, Refusal> {
        let allowed = |format: &Format| self.accept.is_none_or(|accept| accepts(accept, format.media_type()));
        let format = [Format::Json, Format::Protobuf].into_iter().find(allowed);
        format.ok_or_else(|| (406, format!("Expecting 'Accept' to allow '{PROTOBUF}' or '{JSON}'")))
    }
}

/// Whether a value of `Accept` allows a media type: the closest range that matches decides, by its quality
/// (`Request::acceptsMediaType` in Mesos' libprocess).
fn accepts(accept: &str, media: &str) -> bool {
    let ranges: Vec<Vec<String>> = accept
        .split(',')
        .map(|range| range.split(';').map(|part| part.replace([' ', '\t'], "").to_ascii_lowercase()).collect())
        .collect();
    let closest = [media, "application/*", "*/*"]
        .into_iter()
        .find_map(|candidate| ranges.iter().find(|range| range.first().is_some_and(|name| name == candidate)));
    let quality = |range: &Vec<String>| range.iter().find_map(|part| part.strip_prefix("q=").map(str::to_owned));
    closest.is_some_and(|range| quality(range).is_none_or(|value| value.parse().is_ok_and(|value: f64| value > 0.0)))
}

/// What is said of a body that is no JSON, or JSON that is no call.
fn json_refusal(error: &messages::DecodeError, body: &[u8]) -> String {
    match error.json_fault(body) {
        Some(text) => format!("Failed to parse body into JSON: {text}"),
        None => format!("Failed to convert JSON into Call protobuf: {}", error.in_short()),
    }
}

/// An answer that needs nobody's decision: status and plain text.
pub type Refusal = (u16, String);

/// A refusal as it is sent.
pub fn refuse((status, text): Refusal) -> crate::libprocess::Response {
    let response = crate::libprocess::Response::text(status, text);
    if status == 405 { response.with("Allow", "POST") } else { response }
}
