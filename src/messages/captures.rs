//! The messages held against what real Mesos programs have sent, in `tests/wire/`.

use super::error::Problem;
use super::mesos::{executor, internal, scheduler};
use super::schema::{Label, Layout, Message as Schema};
use super::wire::{self, Fields, Value as Wire};
use super::{DecodeError, check_required, decode, from_v1_bytes, from_v1_json, to_v1_bytes, to_v1_json};
use prost::{Message, Name};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of `tests/wire/`.
struct Capture {
    /// Its name; the last part of the URL or message name is in it.
    name: String,
    /// The head of the HTTP request, empty for bare bodies.
    head: String,
    body: Vec<u8>,
}

impl Capture {
    fn all() -> Vec<Capture> {
        let mut found = Vec::new();
        find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire"), &mut found);
        found.sort();
        found.iter().map(|path| Capture::read(path)).collect()
    }

    fn read(path: &Path) -> Capture {
        let name = path.to_string_lossy().into_owned();
        let bytes = fs::read(path).expect("captures are readable");
        if !name.ends_with(".http") {
            return Capture { name, head: String::new(), body: bytes };
        }
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a capture has a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("heads are ASCII");
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        let body = &bytes[end + 4..];
        Capture { name, head, body: if chunked { dechunk(body) } else { body.to_vec() } }
    }

    /// The message's full name, if this is a libprocess message.
    fn message_name(&self) -> Option<&str> {
        let stem = self.name.strip_suffix(".pb").or(self.name.strip_suffix(".http"))?;
        stem.rsplit_once('_').map(|(_, last)| last).filter(|last| last.starts_with("mesos."))
    }

    /// The v1 message's full name, if this is an event or a request of a v1 API.
    fn v1_type(&self) -> Option<String> {
        let api = ["scheduler", "executor"].into_iter().find(|api| self.name.contains(&format!("_api_v1_{api}.")))?;
        let kind = if self.name.contains(".event") { "Event" } else { "Call" };
        Some(format!("mesos.v1.{api}.{kind}"))
    }

    fn is_json(&self) -> bool {
        self.name.ends_with(".json") || self.head.to_lowercase().contains("content-type: application/json")
    }
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("tests/wire is there") {
        let path = entry.expect("tests/wire is readable").path();
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => find(&path, found),
            Some("pb" | "http" | "json") => found.push(path),
            _ => {}
        }
    }
}

fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let digits = std::str::from_utf8(&body[..end]).expect("a chunk's size is ASCII");
        let size = usize::from_str_radix(digits, 16).expect("a chunk's size is hexadecimal");
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
    whole
}

fn again<M: Message + Default + Name>(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    decode::<M>(body).map(|message| message.encode_to_vec())
}

/// Calls a function of one struct for the struct that is named at run time.
macro_rules! by_name {
    ($name:expr, $function:ident, $arguments:tt, [$($module:ident :: $message:ident),* $(,)?]) => {
        match $name {
            $(name if name == $module::$message::full_name() => $function::<$module::$message> $arguments,)*
            other => panic!("no struct listed for {other}"),
        }
    };
}

fn decode_and_encode(name: &str, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    by_name!(
        name,
        again,
        (body),
        [
            scheduler::Call,
            internal::AuthenticateMessage,
            internal::AuthenticationCompletedMessage,
            internal::AuthenticationMechanismsMessage,
            internal::AuthenticationStartMessage,
            internal::AuthenticationStepMessage,
            internal::ExecutorRegisteredMessage,
            internal::ExecutorReregisteredMessage,
            internal::ExecutorToFrameworkMessage,
            internal::ExitedExecutorMessage,
            internal::FrameworkRegisteredMessage,
            internal::KillTaskMessage,
            internal::LaunchTasksMessage,
            internal::LostSlaveMessage,
            internal::PingSlaveMessage,
            internal::PongSlaveMessage,
            internal::ReconnectExecutorMessage,
            internal::RegisterExecutorMessage,
            internal::RegisterFrameworkMessage,
            internal::RegisterSlaveMessage,
            internal::ReregisterExecutorMessage,
            internal::ReregisterSlaveMessage,
            internal::ResourceOffersMessage,
            internal::RunTaskGroupMessage,
            internal::RunTaskMessage,
            internal::ShutdownExecutorMessage,
            internal::ShutdownFrameworkMessage,
            internal::ShutdownMessage,
            internal::SlaveRegisteredMessage,
            internal::SlaveReregisteredMessage,
            internal::StatusUpdateAcknowledgementMessage,
            internal::StatusUpdateMessage,
            internal::UnregisterFrameworkMessage,
            internal::UnregisterSlaveMessage,
            internal::UpdateFrameworkMessage,
            internal::UpdateSlaveMessage,
        ]
    )
}

fn through_v1_bytes<M: Message + Default + Name>(v1_type: &str, body: &[u8]) -> Vec<u8> {
    let message: M = from_v1_bytes(v1_type, body).unwrap_or_else(|error| panic!("{error}"));
    to_v1_bytes(v1_type, &message).unwrap_or_else(|error| panic!("{error}"))
}

fn through_v1_json<M: Message + Default + Name>(v1_type: &str, body: &[u8]) -> Value {
    let message: M = from_v1_json(v1_type, body).unwrap_or_else(|error| panic!("{error}"));
    to_v1_json(v1_type, &message).unwrap_or_else(|error| panic!("{error}"))
}

macro_rules! by_v1_name {
    ($v1_type:expr, $function:ident, $arguments:tt) => {
        by_name!(
            $v1_type.replacen(".v1", "", 1),
            $function,
            $arguments,
            [scheduler::Call, scheduler::Event, executor::Call, executor::Event,]
        )
    };
}

#[test]
fn every_captured_message_is_encoded_as_it_came() {
    let mut names = std::collections::BTreeSet::new();
    for capture in Capture::all() {
        let Some(name) = capture.message_name() else {
            continue;
        };
        let bytes = decode_and_encode(name, &capture.body).unwrap_or_else(|error| panic!("{}: {error}", capture.name));
        assert_eq!(bytes, capture.body, "{}", capture.name);
        names.insert(name.to_owned());
    }
    assert!(names.len() >= 35, "captures are missing, only these are there: {names:?}");
}

#[test]
fn every_captured_v1_protobuf_is_encoded_as_it_came() {
    let mut count = 0;
    for capture in Capture::all().iter().filter(|capture| !capture.is_json()) {
        let Some(v1_type) = capture.v1_type() else {
            continue;
        };
        let bytes = by_v1_name!(&v1_type, through_v1_bytes, (&v1_type, &capture.body));
        // Mesos puts what only the unversioned message has behind all else.
        let schema = Schema::find(&v1_type).expect("the v1 messages are known");
        assert_eq!(bytes.len(), capture.body.len(), "{}", capture.name);
        assert_eq!(in_order(schema, &bytes), in_order(schema, &capture.body), "{}", capture.name);
        count += 1;
    }
    assert!(count >= 100, "captures are missing: {count}");
}

/// The same message with the fields in the order of their numbers.
fn in_order(schema: &Schema, bytes: &[u8]) -> Vec<u8> {
    let mut fields: Vec<_> = Fields::of(bytes).map(|field| field.expect("captures are well formed")).collect();
    fields.sort_by_key(|(number, _)| *number);
    let mut out = Vec::new();
    for (number, wire) in fields {
        let of = schema.numbered(number, Layout::Own).and_then(|(_, field)| field.kind.message());
        match (of, wire) {
            (Some(of), Wire::Bytes(nested)) => {
                wire::write(&mut out, number, Wire::Bytes(&in_order(of, nested)));
            }
            _ => wire::write(&mut out, number, wire),
        }
    }
    out
}

/// The same JSON as Mesos would write it. Python writes a double that is whole as an integer, where
/// Mesos and we write `1.0`, and lists that are empty.
fn as_from_mesos(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64()),
        Value::Array(items) => items.into_iter().map(as_from_mesos).collect(),
        Value::Object(fields) => {
            let set = fields.into_iter().filter(|(_, value)| value.as_array().is_none_or(|items| !items.is_empty()));
            set.map(|(name, value)| (name, as_from_mesos(value))).collect()
        }
        other => other,
    }
}

/// Without what Python left unset and Mesos and we write with its default.
fn without_defaults(written: Value, came: &Value) -> Value {
    match (written, came) {
        (Value::Object(fields), Value::Object(known)) => {
            let set = fields.into_iter().filter_map(|(name, value)| {
                let value = without_defaults(value, known.get(&name)?);
                Some((name, value))
            });
            set.collect()
        }
        (Value::Array(items), Value::Array(known)) if items.len() == known.len() => {
            items.into_iter().zip(known).map(|(item, known)| without_defaults(item, known)).collect()
        }
        (other, _) => other,
    }
}

#[test]
fn every_captured_v1_json_is_written_as_it_came() {
    let mut count = 0;
    for capture in Capture::all().iter().filter(|capture| capture.is_json()) {
        let Some(v1_type) = capture.v1_type() else {
            continue;
        };
        let written = by_v1_name!(&v1_type, through_v1_json, (&v1_type, &capture.body));
        let came: Value = serde_json::from_slice(&capture.body).expect("captured JSON is JSON");
        if capture.name.contains(".event") {
            assert_eq!(written, came, "{}", capture.name);
        } else {
            let written = without_defaults(written, &came);
            assert_eq!(as_from_mesos(written), as_from_mesos(came), "{}", capture.name);
        }
        count += 1;
    }
    assert!(count >= 40, "captures are missing: {count}");
}

/// The message without one of its required fields, once for each of them at any depth, with its path.
fn without_each_required(schema: &Schema, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let fields: Vec<_> = Fields::of(bytes).map(|field| field.expect("captures are well formed")).collect();
    let with = |place: usize, value: Option<&[u8]>| {
        let mut out = Vec::new();
        for (other, (number, wire)) in fields.iter().enumerate() {
            match value {
                _ if other != place => wire::write(&mut out, *number, *wire),
                Some(bytes) => wire::write(&mut out, *number, Wire::Bytes(bytes)),
                None => {}
            }
        }
        out
    };
    let mut variants = Vec::new();
    for (place, (number, wire)) in fields.iter().enumerate() {
        let Some((_, field)) = schema.numbered(*number, Layout::Own) else {
            continue;
        };
        if field.label == Label::Required {
            variants.push((field.name.to_owned(), with(place, None)));
        }
        if let (Some(of), Wire::Bytes(nested)) = (field.kind.message(), wire) {
            let index = fields[..place].iter().filter(|(earlier, _)| earlier == number).count();
            let step =
                if field.label == Label::Repeated { format!("{}[{index}]", field.name) } else { field.name.to_owned() };
            for (path, nested) in without_each_required(of, nested) {
                variants.push((format!("{step}.{path}"), with(place, Some(&nested))));
            }
        }
    }
    variants
}

#[test]
fn a_required_field_removed_from_a_captured_message_is_missed_by_its_path() {
    let mut count = 0;
    for capture in Capture::all() {
        let name = match (capture.message_name(), capture.v1_type()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) if !capture.is_json() => name,
            _ => continue,
        };
        let schema = Schema::find(&name).expect("captured messages are known");
        assert!(check_required(&name, &capture.body).is_ok(), "{}", capture.name);
        for (removed, bytes) in without_each_required(schema, &capture.body) {
            let missed = match check_required(&name, &bytes) {
                Err(DecodeError::Field { path, problem: Problem::Required, .. }) => path,
                other => panic!("{}: without {removed}: {other:?}", capture.name),
            };
            assert_eq!(missed, removed, "{}", capture.name);
            count += 1;
        }
    }
    assert!(count > 3000, "only {count} fields were removed");
}

#[test]
fn a_captured_message_cut_short_is_refused_or_says_what_is_left() {
    for capture in Capture::all() {
        let Some(name) = capture.message_name() else {
            continue;
        };
        for length in 0..capture.body.len().min(600) {
            let cut = &capture.body[..length];
            // What ends between two fields can be a message still; then it says just that.
            if let Ok(bytes) = decode_and_encode(name, cut) {
                assert_eq!(bytes, cut, "{} cut at {length}", capture.name);
            }
        }
    }
}
