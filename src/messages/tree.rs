//! A message as its leaves, each with its path: so that a test can say where two messages differ. For tests.
//!
//! ```text
//! update.status.task_id.value    "t"          a message without fields   {}
//! update.status.state            TASK_RUNNING a field that we do not know ?4
//! slave.resources[1].name        "mem"
//! ```

use super::schema::{Enum, Field, Kind, Label, Layout, Message};
use super::wire::{Fields, Value};

/// A leaf: its path and its value as text.
pub type Leaf = (String, String);

/// All leaves of a message, in the order of its bytes.
///
/// # Panics
/// The name is that of no message, or the bytes are none.
pub fn leaves(full_name: &str, bytes: &[u8]) -> Vec<Leaf> {
    let message = Message::find(full_name).unwrap_or_else(|| panic!("{full_name} is no message that we know"));
    let mut found = Vec::new();
    collect(message, bytes, "", &mut found);
    found
}

fn collect(message: &Message, bytes: &[u8], prefix: &str, found: &mut Vec<Leaf>) {
    let mut seen: Vec<u32> = Vec::new();
    for field in Fields::of(bytes) {
        let (number, value) = field.unwrap_or_else(|_| panic!("{prefix}: no protobuf"));
        let earlier = seen.iter().filter(|each| **each == number).count();
        seen.push(number);
        let Some((_, field)) = message.numbered(number, Layout::Own) else {
            found.push((format!("{prefix}?{number}"), raw(value)));
            continue;
        };
        let index = if field.label == Label::Repeated { format!("[{earlier}]") } else { String::new() };
        let path = format!("{prefix}{}{index}", field.name);
        match (field.kind.message(), value) {
            (Some(_), Value::Bytes([])) => found.push((path, "{}".into())),
            (Some(of), Value::Bytes(nested)) => collect(of, nested, &format!("{path}."), found),
            _ => found.push((path, text(field, value))),
        }
    }
}

fn text(field: &Field, value: Value<'_>) -> String {
    match (field.kind, value) {
        (Kind::Double, Value::Fixed64(bits)) => f64::from_bits(bits).to_string(),
        (Kind::Bool, Value::Varint(number)) => (number != 0).to_string(),
        (Kind::Enum(place), Value::Varint(number)) => {
            Enum::at(place).name_of(number as i32).map_or_else(|| number.to_string(), str::to_string)
        }
        (Kind::Int32 | Kind::Int64, Value::Varint(number)) => (number as i64).to_string(),
        (Kind::String, Value::Bytes(bytes)) => format!("{:?}", String::from_utf8_lossy(bytes)),
        _ => raw(value),
    }
}

fn raw(value: Value<'_>) -> String {
    match value {
        Value::Varint(number) | Value::Fixed64(number) => number.to_string(),
        Value::Fixed32(number) => number.to_string(),
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mesos::{self, internal::StatusUpdateAcknowledgementMessage};
    use super::*;
    use prost::Message as _;

    #[test]
    fn a_message_falls_into_leaves_with_paths() {
        let mut slave = mesos::SlaveInfo { hostname: "h".into(), port: Some(5051), ..Default::default() };
        slave.resources = vec![mesos::Resource { name: "cpus".into(), ..Default::default() }; 2];
        let leaves = leaves("mesos.SlaveInfo", &slave.encode_to_vec());
        for expected in [("hostname", "\"h\""), ("resources[1].name", "\"cpus\""), ("port", "5051")] {
            let found = leaves.iter().any(|(path, value)| (path.as_str(), value.as_str()) == expected);
            assert!(found, "{expected:?} in {leaves:?}");
        }
    }

    #[test]
    fn bytes_and_unknown_fields_are_shown_as_they_are() {
        let message = StatusUpdateAcknowledgementMessage { uuid: vec![1, 255], ..Default::default() };
        let mut bytes = message.encode_to_vec();
        bytes.extend_from_slice(&[15 << 3, 7]);
        let leaves = leaves("mesos.internal.StatusUpdateAcknowledgementMessage", &bytes);
        assert!(leaves.contains(&("uuid".into(), "01ff".into())), "{leaves:?}");
        assert!(leaves.contains(&("?15".into(), "7".into())), "{leaves:?}");
    }
}
