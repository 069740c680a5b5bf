//! The bytes of the unversioned message to JSON.

use super::super::MAX_DEPTH;
use super::super::error::{Fault, Problem};
use super::super::schema::{Enum, Field, Kind, Label, Layout, Message};
use super::super::wire::{self, Fields, Malformed, Value as Wire};
use super::base64;
use serde_json::{Map, Value};

/// The JSON object of a message.
pub(super) fn message(schema: &Message, bytes: &[u8], depth: usize) -> Result<Value, Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::new(Problem::TooDeep));
    }
    let mut object = Map::new();
    for field in Fields::of(bytes) {
        let (number, wire) = field.map_err(|Malformed| Fault::new(Problem::Malformed))?;
        // What v1 does not know of is left out.
        let Some((_, field)) = schema.numbered(number, Layout::Plain) else {
            continue;
        };
        let step = |fault: Fault| fault.within(field.name, None);
        match field.kind {
            Kind::Map(_) => {
                let entries = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                if let (Value::Object(entries), Wire::Bytes(bytes)) = (entries, wire) {
                    entry(field, bytes, entries, depth).map_err(step)?;
                }
            }
            _ => add(field, wire, &mut object, depth).map_err(step)?,
        }
    }
    add_defaults(schema, &mut object);
    Ok(Value::Object(object))
}

/// As Mesos does it (`json` in stout's `protobuf.hpp`): who reads JSON has no declarations that would tell.
fn add_defaults(schema: &Message, object: &mut Map<String, Value>) {
    for field in schema.fields {
        if let (Some(value), false) = (field.default, object.contains_key(field.name)) {
            object.extend(serde_json::from_str(value).ok().map(|value| (field.name.to_owned(), value)));
        }
    }
}

fn add(field: &Field, wire: Wire<'_>, object: &mut Map<String, Value>, depth: usize) -> Result<(), Fault> {
    for value in unpack(field.kind, wire)? {
        let Some(value) = single(field.kind, value, depth)? else {
            continue;
        };
        if field.label != Label::Repeated {
            object.insert(field.name.to_owned(), value);
        } else if let Value::Array(items) = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new())) {
            items.push(value);
        }
    }
    Ok(())
}

/// A list of numbers may stand in one value.
fn unpack(kind: Kind, wire: Wire<'_>) -> Result<Vec<Wire<'_>>, Fault> {
    let malformed = || Fault::new(Problem::Malformed);
    match (kind, wire) {
        (Kind::Message(_) | Kind::Map(_) | Kind::String | Kind::Bytes, _) => Ok(vec![wire]),
        (Kind::Double, Wire::Bytes(bytes)) => {
            let wires = bytes.chunks(8).map(|chunk| chunk.try_into().ok().map(u64::from_le_bytes).map(Wire::Fixed64));
            wires.collect::<Option<_>>().ok_or_else(malformed)
        }
        (_, Wire::Bytes(mut bytes)) => {
            let mut wires = Vec::new();
            while !bytes.is_empty() {
                wires.push(Wire::Varint(wire::read_varint(&mut bytes).ok_or_else(malformed)?));
            }
            Ok(wires)
        }
        _ => Ok(vec![wire]),
    }
}

fn entry(field: &Field, bytes: &[u8], entries: &mut Map<String, Value>, depth: usize) -> Result<(), Fault> {
    let Some(value_field) = field.kind.message().and_then(|entry| entry.named("value")) else {
        return Ok(());
    };
    let (mut key, mut value) = (String::new(), None);
    for part in Fields::of(bytes) {
        match part.map_err(|Malformed| Fault::new(Problem::Malformed))? {
            (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            (2, wire) => value = single(value_field.kind, wire, depth + 1)?,
            _ => {}
        }
    }
    entries.insert(key, value.unwrap_or(Value::Null));
    Ok(())
}

/// One value; `None` for an enum value without a name.
fn single(kind: Kind, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, Fault> {
    Ok(Some(match (kind, wire) {
        (Kind::Double, Wire::Fixed64(bits)) => double(f64::from_bits(bits)),
        (Kind::Int32 | Kind::Int64, Wire::Varint(value)) => Value::from(value as i64),
        (Kind::Uint32 | Kind::Uint64, Wire::Varint(value)) => Value::from(value),
        (Kind::Bool, Wire::Varint(value)) => Value::from(value != 0),
        (Kind::String, Wire::Bytes(text)) => Value::from(String::from_utf8_lossy(text)),
        (Kind::Bytes, Wire::Bytes(bytes)) => Value::from(base64::encode(bytes)),
        (Kind::Enum(place), Wire::Varint(value)) => {
            return Ok(Enum::at(place).name_of(value as i32).map(Value::from));
        }
        (Kind::Message(_) | Kind::Map(_), Wire::Bytes(bytes)) => match kind.message() {
            Some(schema) => message(schema, bytes, depth + 1)?,
            None => return Ok(None),
        },
        _ => return Err(Fault::new(Problem::Malformed)),
    }))
}

fn double(value: f64) -> Value {
    if value.is_finite() {
        return Value::from(value);
    }
    Value::from(if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    })
}
