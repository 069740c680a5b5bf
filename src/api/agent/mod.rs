//! `POST /api/v1`: the calls of operators, and the status and text of each refusal, those of Mesos' `Http::api` (`src/slave/http.cpp`) and
//! `validation::agent::call` in their order. What would change something is not implemented, and says so (501).

mod answers;
#[cfg(test)]
mod tests;

use super::v1::{Format, Refusal};
use super::{Source, method_not_allowed};
use crate::libprocess::{Request, Response};
use crate::messages::mesos::agent::{Call, call::Type};
use crate::messages::{self, DecodeError};

/// The v1 twin of [`Call`].
const CALL: &str = "mesos.v1.agent.Call";

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";
const RECORDIO: &str = "application/recordio";

/// How the answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    Whole(Format),
    /// As a stream of records, which only a container's output is.
    Stream,
}

/// Answers a call.
pub(super) fn answer(request: &Request, source: &mut dyn Source) -> Response {
    if request.method != "POST" {
        return method_not_allowed(&request.method, "POST");
    }
    let answered = parse(request).and_then(|(call, accepted)| match accepted {
        Accepted::Whole(format) => answers::answer(&call, format, source),
        Accepted::Stream if has_stream(call.r#type()) => Err(not_implemented()),
        Accepted::Stream => {
            Err((406, format!("Streaming response is not supported for {} call", call.r#type().as_str_name())))
        }
    });
    answered.unwrap_or_else(|(status, text)| Response::text(status, text))
}

fn not_implemented() -> Refusal {
    (501, "501 Not Implemented.".into())
}

fn has_stream(call: Type) -> bool {
    matches!(call, Type::AttachContainerOutput | Type::LaunchNestedContainerSession)
}

fn parse(request: &Request) -> Result<(Call, Accepted), Refusal> {
    let header = |name| request.headers.get(name);
    let content = header("Content-Type").ok_or((400, "Expecting 'Content-Type' to be present".to_owned()))?;
    let form = match essence(content).as_str() {
        JSON => Format::Json,
        PROTOBUF => Format::Protobuf,
        RECORDIO => return Err(streamed(header("Message-Content-Type"))),
        _ => return Err((415, format!("Expecting 'Content-Type' of {JSON} or {PROTOBUF} or {RECORDIO}"))),
    };
    if header("Message-Content-Type").is_some() {
        return Err((415, "Expecting 'Message-Content-Type' to be not set for non-streaming requests".into()));
    }
    let accepted = accepted(header("Accept"))?;
    if accepted != Accepted::Stream && header("Message-Accept").is_some() {
        return Err((406, "Expecting 'Message-Accept' to be not set for non-streaming responses".into()));
    }
    let call = match form {
        Format::Json => messages::from_v1_json(CALL, &request.body),
        Format::Protobuf => messages::from_v1_bytes(CALL, &request.body),
    };
    let call: Call = call.map_err(|error| (400, unreadable(form, &error)))?;
    validate(&call).map_err(|error| (400, format!("Failed to validate agent::Call: {error}")))?;
    if call.r#type() == Type::AttachContainerInput {
        return Err((415, format!("Expecting 'Content-Type' to be {RECORDIO} for ATTACH_CONTAINER_INPUT call")));
    }
    Ok((call, accepted))
}

/// A media type without its parameters.
fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A stream of calls is a container's input, which nobody here takes.
fn streamed(message_type: Option<&str>) -> Refusal {
    match message_type.map(essence).as_deref() {
        None => (400, "Expecting 'Message-Content-Type' to be set for streaming requests".into()),
        Some(JSON | PROTOBUF) => not_implemented(),
        Some(_) => (415, format!("Expecting 'Message-Content-Type' of {JSON} or {PROTOBUF}")),
    }
}

/// JSON where it may be, as in Mesos.
fn accepted(accept: Option<&str>) -> Result<Accepted, Refusal> {
    let ranges: Vec<String> = accept.unwrap_or("*/*").split(',').map(essence).collect();
    let allows = |media: &str| ranges.iter().any(|range| range == media || range == "*/*" || range == "application/*");
    match () {
        () if allows(JSON) => Ok(Accepted::Whole(Format::Json)),
        () if allows(PROTOBUF) => Ok(Accepted::Whole(Format::Protobuf)),
        () if allows(RECORDIO) => Ok(Accepted::Stream),
        () => Err((406, format!("Expecting 'Accept' to allow {JSON} or {PROTOBUF} or {RECORDIO}"))),
    }
}

fn unreadable(form: Format, error: &DecodeError) -> String {
    match (form, error) {
        (Format::Json, DecodeError::Json { source, .. }) => format!("Failed to parse body into JSON: {source}"),
        (Format::Json, _) => format!("Failed to convert JSON into Call protobuf: {error}"),
        (Format::Protobuf, _) => format!("Failed to parse body into Call protobuf: {error}"),
    }
}

fn validate(call: &Call) -> Result<(), String> {
    if call.r#type.is_none() {
        return Err("Expecting 'type' to be present".into());
    }
    let (name, is_there) = match call.r#type() {
        Type::Unknown | Type::GetHealth | Type::GetFlags | Type::GetVersion | Type::GetLoggingLevel => return Ok(()),
        Type::GetState | Type::GetContainers | Type::GetFrameworks | Type::GetExecutors => return Ok(()),
        Type::GetOperations | Type::GetTasks | Type::GetAgent | Type::GetResourceProviders => return Ok(()),
        Type::PruneImages => return Ok(()),
        Type::GetMetrics => ("get_metrics", call.get_metrics.is_some()),
        Type::SetLoggingLevel => ("set_logging_level", call.set_logging_level.is_some()),
        Type::ListFiles => ("list_files", call.list_files.is_some()),
        Type::ReadFile => ("read_file", call.read_file.is_some()),
        Type::LaunchNestedContainer => ("launch_nested_container", call.launch_nested_container.is_some()),
        Type::WaitNestedContainer => ("wait_nested_container", call.wait_nested_container.is_some()),
        Type::KillNestedContainer => ("kill_nested_container", call.kill_nested_container.is_some()),
        Type::RemoveNestedContainer => ("remove_nested_container", call.remove_nested_container.is_some()),
        Type::LaunchNestedContainerSession => {
            ("launch_nested_container_session", call.launch_nested_container_session.is_some())
        }
        Type::AttachContainerInput => ("attach_container_input", call.attach_container_input.is_some()),
        Type::AttachContainerOutput => ("attach_container_output", call.attach_container_output.is_some()),
        Type::LaunchContainer => ("launch_container", call.launch_container.is_some()),
        Type::WaitContainer => ("wait_container", call.wait_container.is_some()),
        Type::KillContainer => ("kill_container", call.kill_container.is_some()),
        Type::RemoveContainer => ("remove_container", call.remove_container.is_some()),
        Type::AddResourceProviderConfig => {
            ("add_resource_provider_config", call.add_resource_provider_config.is_some())
        }
        Type::UpdateResourceProviderConfig => {
            ("update_resource_provider_config", call.update_resource_provider_config.is_some())
        }
        Type::RemoveResourceProviderConfig => {
            ("remove_resource_provider_config", call.remove_resource_provider_config.is_some())
        }
        Type::MarkResourceProviderGone => ("mark_resource_provider_gone", call.mark_resource_provider_gone.is_some()),
    };
    if is_there { Ok(()) } else { Err(format!("Expecting '{name}' to be present")) }
}
