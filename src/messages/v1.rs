//! The protobuf form of the v1 APIs.
//!
//! Mesos' v1 messages were meant to have the bytes of the unversioned ones, but `Call.Subscribe` of the
//! scheduler API has other numbers. So fields are renumbered by the table on the way in and out.

use super::error::{DecodeError, Fault, Problem};
use super::json::schema_of;
use super::schema::{Kind, Layout, Message as Schema};
use super::wire::{self, Fields, Malformed, Value};
use super::{MAX_DEPTH, required};
use prost::{Message, Name};

/// Decodes the v1 message `v1_type` into the struct of its unversioned twin, with all checks of
/// [`super::decode`].
///
/// # Errors
/// As [`super::decode`]; field names are those of v1.
pub fn from_v1_bytes<M: Message + Default + Name>(v1_type: &str, body: &[u8]) -> Result<M, DecodeError> {
    let schema = schema_of::<M>(v1_type)?;
    super::check_size(v1_type, body)?;
    required::check(schema, body, Layout::Own)?;
    let plain = renumber(schema, body, Layout::Own, Layout::Plain, 0).map_err(|fault| fault.of(v1_type))?;
    super::decode_checked(schema, v1_type, &plain)
}

/// Encodes a struct as its v1 twin.
///
/// # Errors
/// Only if there is no message of this name, or it is not the struct's twin.
pub fn to_v1_bytes<M: Message + Name>(v1_type: &str, message: &M) -> Result<Vec<u8>, DecodeError> {
    let schema = schema_of::<M>(v1_type)?;
    renumber(schema, &message.encode_to_vec(), Layout::Plain, Layout::Own, 0).map_err(|fault| fault.of(v1_type))
}

fn renumber(schema: &Schema, bytes: &[u8], from: Layout, to: Layout, depth: usize) -> Result<Vec<u8>, Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::new(Problem::TooDeep));
    }
    let mut out = Vec::with_capacity(bytes.len());
    for field in Fields::of(bytes) {
        let (number, value) = field.map_err(|Malformed| Fault::new(Problem::Malformed))?;
        let Some((_, field)) = schema.numbered(number, from) else {
            // As Mesos does: a field that only the unversioned message has goes along, unless v1 uses
            // its number for another.
            if schema.numbered(number, to).is_none() {
                wire::write(&mut out, number, value);
            }
            continue;
        };
        if field.number_in(to) == 0 {
            continue;
        }
        match (field.kind, field.kind.message(), value) {
            // Map values have the same numbers on both sides: none of them is a message that differs.
            (Kind::Message(_), Some(of), Value::Bytes(nested)) => {
                let nested = renumber(of, nested, from, to, depth + 1).map_err(|f| f.within(field.name, None))?;
                wire::write(&mut out, field.number_in(to), Value::Bytes(&nested));
            }
            _ => wire::write(&mut out, field.number_in(to), value),
        }
    }
    Ok(out)
}
