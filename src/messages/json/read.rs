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
        _ => Err(Fault::new(Problem::Unfit("Expecting a JSON object".into()))),
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
    let wrong = || Fault::new(Problem::Unfit(unfit(field, value)));
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
            let bytes = base64::decode_leniently(text).map_err(|strange| not_base64(field, strange))?;
            wire::write(out, number, Wire::Bytes(&bytes));
        }
        (Kind::Enum(place), Value::String(name)) => {
            // Newer senders have values that we do not know; they are as if not set.
            match Enum::at(place).number_of(name) {
                Some(value) => wire::write(out, number, Wire::Varint(i64::from(value) as u64)),
                None if field.label == Label::Required => {
                    let text = format!("Failed to find enum for '{}'", shortened(name));
                    return Err(Fault::new(Problem::Unfit(text)));
                }
                None => {}
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

/// What Mesos says of a value that does not fit its field.
fn unfit(field: &Field, value: &Value) -> String {
    let name = field.name;
    let what = match (field.kind, value) {
        (Kind::Double | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64, Value::String(_)) => "number",
        (Kind::Bool, Value::String(_)) => "boolean",
        (Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64, Value::Number(number)) => {
            return format!("Not expecting {number} for field '{name}': it does not fit");
        }
        (_, other) => return format!("Not expecting a JSON {} for field '{name}'", kind_of(other)),
    };
    let text = shortened(value.as_str().unwrap_or_default());
    format!("Failed to parse '{text}' as a JSON {what} for field '{name}': syntax error at line 1 near: {text}")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn not_base64(field: &Field, strange: char) -> Fault {
    let text = format!("Failed to base64 decode bytes field '{}': Invalid character '{strange}'", field.name);
    Fault::new(Problem::Unfit(text))
}

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}
