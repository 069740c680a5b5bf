//! JSON to the bytes of the unversioned message.

use super::super::MAX_DEPTH;
use super::super::error::{Fault, Problem};
use super::super::schema::{Enum, Field, Kind, Label, Message};
use super::super::wire::{self, Value as Wire};
use super::base64;
use serde_json::{Map, Value};

/// How much of a wrong value an error shows, in characters.
const SHOWN: usize = 60;

/// The bytes of a message. Required fields are left to be checked on the bytes.
pub(super) fn message(schema: &Message, value: &Value) -> Result<Vec<u8>, Fault> {
    match value {
        Value::Object(object) => fields(schema, object, 0),
        other => Err(Fault::new(mismatch("an object".into(), other))),
    }
}

fn fields(schema: &Message, object: &Map<String, Value>, depth: usize) -> Result<Vec<u8>, Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::new(Problem::TooDeep));
    }
    let mut out = Vec::new();
    for (name, value) in object {
        let Some(field) = schema.named(name).filter(|field| field.plain != 0) else {
            continue;
        };
        match (field.label, value) {
            (Label::Repeated, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    single(field, item, &mut out, depth).map_err(|fault| fault.within(field.name, Some(index)))?;
                }
            }
            _ => single(field, value, &mut out, depth).map_err(|fault| fault.within(field.name, None))?,
        }
    }
    Ok(out)
}

/// Appends one value of a field. Faults are told from the value, the field is added by the caller.
fn single(field: &Field, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    let wrong = || Fault::new(mismatch(field.kind.to_string(), value));
    let number = field.plain;
    match (field.kind, value) {
        (_, Value::Null) => {}
        (Kind::Map(place), Value::Object(object)) => map(number, place, object, out, depth)?,
        (Kind::Message(_), Value::Object(object)) => {
            let schema = field.kind.message().ok_or_else(wrong)?;
            wire::write(out, number, Wire::Bytes(&fields(schema, object, depth + 1)?));
        }
        (Kind::String, Value::String(text)) => wire::write(out, number, Wire::Bytes(text.as_bytes())),
        (Kind::Bytes, Value::String(text)) => {
            wire::write(out, number, Wire::Bytes(&base64::decode(text).ok_or_else(wrong)?));
        }
        (Kind::Enum(place), Value::String(name)) => {
            // Newer senders have values that we do not know; required ones are found missing.
            if let Some(value) = Enum::at(place).number_of(name) {
                wire::write(out, number, Wire::Varint(i64::from(value) as u64));
            }
        }
        (Kind::Enum(_) | Kind::Message(_) | Kind::Map(_) | Kind::String | Kind::Bytes, _) => {
            return Err(wrong());
        }
        (Kind::Double, value) => {
            wire::write(out, number, Wire::Fixed64(double(value).ok_or_else(wrong)?.to_bits()));
        }
        (Kind::Bool, value) => wire::write(out, number, Wire::Varint(u64::from(boolean(value).ok_or_else(wrong)?))),
        (Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64, value) => {
            wire::write(out, number, Wire::Varint(integer(field.kind, value).ok_or_else(wrong)?));
        }
    }
    Ok(())
}

fn map(number: u32, place: u16, object: &Map<String, Value>, out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    let value_field = Kind::Map(place).message().and_then(|entry| entry.named("value"));
    for (key, value) in object {
        let mut entry = Vec::new();
        wire::write(&mut entry, 1, Wire::Bytes(key.as_bytes()));
        if let Some(field) = value_field {
            // Entries are made by the compiler and have no twin; their numbers are always 1 and 2.
            let field = Field { plain: field.number, ..*field };
            single(&field, value, &mut entry, depth + 1).map_err(|fault| fault.within(field.name, None))?;
        }
        wire::write(out, number, Wire::Bytes(&entry));
    }
    Ok(())
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        // Rust reads "Infinity" and "-Infinity" as well.
        Value::String(text) => text.parse().ok().filter(|value: &f64| !value.is_nan()),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// The varint of an integer, or `None` if the value is none or does not fit the field.
fn integer(kind: Kind, value: &Value) -> Option<u64> {
    let wide: i128 = match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => value.into(),
            (_, Some(value), _) => value.into(),
            (_, _, Some(value)) if value.fract() == 0.0 => value as i128,
            _ => return None,
        },
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    match kind {
        Kind::Int32 => i32::try_from(wide).ok().map(|value| i64::from(value) as u64),
        Kind::Int64 => i64::try_from(wide).ok().map(|value| value as u64),
        Kind::Uint32 => u32::try_from(wide).ok().map(u64::from),
        _ => u64::try_from(wide).ok(),
    }
}

fn mismatch(expected: String, found: &Value) -> Problem {
    let text = found.to_string();
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    Problem::Mismatch { expected, found: shown }
}
