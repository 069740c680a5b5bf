//! What the slave serves over HTTP. Pure but for the files: a request and a snapshot of the slave in, a response out.
//!
//! ```text
//! /health  /version  /state  /flags  /metrics/snapshot  /system/stats      each also below /slave(1)/, and with .json
//! /monitor/statistics  /containers  /containerizer/debug
//! /files/read  /files/download  /files/browse  /files/debug
//! /help
//! POST /api/v1
//! ```
//!
//! Paths, fields and texts are those of Mesos 1.11 (`src/slave/http.cpp`, `src/files/files.cpp`, `src/version/version.cpp`),
//! so that its tools work. What we do not have is left out rather than made up.

mod agent;
pub mod executor;
mod files;
mod help;
mod history;
mod host;
mod metrics;
mod resources;
mod state;
#[cfg(test)]
mod tests;
mod usage;
#[cfg(test)]
mod usage_tests;
pub mod v1;

pub use files::Files;
pub use history::History;
pub use host::Host;
pub use metrics::Counts;
use state::Framework;
pub use state::State;
#[cfg(test)]
use state::{Completed, Executor};
pub use usage::Measurement;

use std::rc::Rc;

use serde_json::{Value, json};

use crate::libprocess::{Request, Response};
use crate::slave::MESOS_VERSION;

/// Longest name of a JSONP callback, in bytes.
const MAX_CALLBACK: usize = 128;

/// What answers are made of. Each is only asked for where it is shown: to put the state together takes a copy of everything.
pub trait Source {
    /// The slave as it is now.
    fn state(&self) -> State;

    /// What the containers take of the host; as it was a moment ago, if it is asked for too often.
    fn measurement(&mut self) -> Rc<Measurement>;

    /// What is counted outside of the state.
    fn counts(&self) -> Counts;

    /// What `/files` shows.
    fn files(&self) -> &Files;
}

/// Answers a request to the process of this name, `slave(1)`.
pub fn handle(request: &Request, own_name: &str, source: &mut dyn Source) -> Response {
    let Some(segments) = request.path_segments() else {
        return bad_request("Failed to decode the request's path.\n");
    };
    let mut path: Vec<&str> = segments.iter().map(String::as_str).collect();
    while path.last().is_some_and(|last| last.is_empty()) {
        path.pop();
    }
    if path.first() == Some(&own_name) {
        path.remove(0);
    }
    let Some(serve) = route(&path) else {
        return not_found();
    };
    let is_call = matches!(serve, Endpoint::Operators);
    if !is_call && request.method != "GET" && request.method != "HEAD" {
        return method_not_allowed(&request.method, "GET");
    }
    match serve {
        Endpoint::Health => Response::new(200),
        Endpoint::Version => json_response(version(), request),
        Endpoint::State => as_jsonp(source.state().to_json().into_bytes(), request),
        Endpoint::Flags => json_response(json!({ "flags": source.state().flags }), request),
        Endpoint::Metrics => json_response(metrics::snapshot(&source.state(), &source.counts(), Host::now()), request),
        Endpoint::Statistics => json_response(usage::monitor(&source.state(), &source.measurement()), request),
        Endpoint::Containers => json_response(usage::list(&source.state(), &source.measurement(), request), request),
        // Operations of a containerizer that do not end. Ours all have a deadline.
        Endpoint::Containerizer => json_response(json!({ "pending": [] }), request),
        Endpoint::System => match Host::now() {
            Some(host) => json_response(host.to_json(), request),
            None => with_text(500, "500 Internal Server Error."),
        },
        Endpoint::Help(topic) => help::page(topic, own_name, request),
        Endpoint::Operators => agent::answer(request, source),
        Endpoint::Files(name) => source.files().handle(name, request),
    }
}

/// Whether a request is one to the executor API of the process of this name, which answers it by [`executor`].
pub fn is_executor_call(request: &Request, own_name: &str) -> bool {
    let Some(segments) = request.path_segments() else { return false };
    let path: Vec<&str> = segments.iter().map(String::as_str).filter(|segment| !segment.is_empty()).collect();
    let path = path.strip_prefix(&[own_name]).unwrap_or(&path);
    path == ["api", "v1", "executor"]
}

enum Endpoint<'a> {
    Health,
    Version,
    State,
    Flags,
    Metrics,
    Statistics,
    Containers,
    Containerizer,
    System,
    Help(&'a [&'a str]),
    Operators,
    Files(&'a str),
}

fn route<'a>(path: &'a [&'a str]) -> Option<Endpoint<'a>> {
    match path {
        ["health"] => Some(Endpoint::Health),
        ["version" | "version.json"] => Some(Endpoint::Version),
        ["state" | "state.json"] => Some(Endpoint::State),
        ["flags" | "flags.json"] => Some(Endpoint::Flags),
        ["metrics", "snapshot" | "snapshot.json"] => Some(Endpoint::Metrics),
        ["monitor", "statistics" | "statistics.json"] => Some(Endpoint::Statistics),
        ["containers" | "containers.json"] => Some(Endpoint::Containers),
        ["containerizer", "debug" | "debug.json"] => Some(Endpoint::Containerizer),
        ["system", "stats" | "stats.json"] => Some(Endpoint::System),
        ["api", "v1"] => Some(Endpoint::Operators),
        ["help", topic @ ..] => Some(Endpoint::Help(topic)),
        ["files", name] => Some(Endpoint::Files(name)),
        _ => None,
    }
}

/// The fields that both `/version` and `/state` have. `version` is Mesos', which tools compare; our own stands beside it.
fn version() -> Value {
    json!({
        "version": MESOS_VERSION,
        "name": env!("CARGO_PKG_NAME"),
        "mesos_slave_version": env!("CARGO_PKG_VERSION"),
        "build_date": option_env!("MESOS_SLAVE_BUILD_DATE").unwrap_or(""),
        "build_time": 0.0,
        "build_user": option_env!("MESOS_SLAVE_BUILD_USER").unwrap_or(""),
    })
}

fn json_response(value: Value, request: &Request) -> Response {
    as_jsonp(value.to_string().into_bytes(), request)
}

/// JSON, or a call of the function that `jsonp=` names.
fn as_jsonp(json: Vec<u8>, request: &Request) -> Response {
    let Some(callback) = request.query_param("jsonp") else {
        return Response::ok_json(json);
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    if callback.is_empty() || callback.len() > MAX_CALLBACK || !callback.chars().all(is_name) {
        return bad_request("Expecting the name of a function in 'jsonp=name'.\n");
    }
    let body = [callback.as_bytes(), b"(", &json, b")"].concat();
    Response::ok("text/javascript", body)
}

fn with_text(status: u16, text: &str) -> Response {
    Response::text(status, text)
}

fn bad_request(text: &str) -> Response {
    with_text(400, text)
}

fn not_found() -> Response {
    with_text(404, "404 Not Found.")
}

fn method_not_allowed(method: &str, allowed: &str) -> Response {
    let text = format!("405 Method Not Allowed. Expecting one of {{ '{allowed}' }}, but received '{method}'.");
    with_text(405, &text).with("Allow", allowed)
}
