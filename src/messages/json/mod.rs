//! Mesos' JSON, as the v1 scheduler and executor APIs speak it.
//!
//! | protobuf | JSON |
//! |---|---|
//! | field name | the same, never camelCase; "agent" where the unversioned message says "slave" |
//! | integer, 64 bits included | number; a string with a number in it is taken as well |
//! | double | number; `"Infinity"`, `"-Infinity"` |
//! | bytes | base64; white space in it is taken as well |
//! | enum | the value's name; an unknown one is as if not set |
//! | not set | absent; `null` is taken as well |
//! | a field that we do not know | ignored |
//!
//! That is what stout's `protobuf::parse` takes (`3rdparty/stout/include/stout/protobuf.hpp`), and what it
//! writes. It differs from protobuf's own JSON mapping, so the code is ours: it goes between JSON and the
//! bytes of the struct, by the table of names.

pub mod base64;
mod read;
mod write;

use super::error::DecodeError;
use super::schema::{Layout, Message as Schema};
use super::{check_size, required};
use prost::{Message, Name};
use serde_json::Value;

/// Reads a v1 message (`v1_type` is its full name, as in `mesos.v1.scheduler.Call`) into the struct of its
/// unversioned twin. The unversioned name does as well, for JSON that says "slave".
///
/// # Errors
/// Text that is not JSON, a value of the wrong type, a required field that is missing; the error names it.
pub fn from_v1_json<M: Message + Default + Name>(v1_type: &str, text: &[u8]) -> Result<M, DecodeError> {
    let schema = schema_of::<M>(v1_type)?;
    check_size(v1_type, text)?;
    let json = |source| DecodeError::Json { message: v1_type.to_owned(), source };
    // Mesos takes any bytes for text.
    let value = serde_json::from_str(&String::from_utf8_lossy(text)).map_err(json)?;
    let bytes = read::message(schema, &value).map_err(|fault| fault.of(v1_type))?;
    required::check(schema, &bytes, Layout::Plain).map_err(|error| required::all_missing(schema, &bytes, error))?;
    let protobuf = |source| DecodeError::Protobuf { message: v1_type.to_owned(), source };
    M::decode(bytes.as_slice()).map_err(protobuf)
}

/// Writes a struct as the JSON of its v1 twin; `to_string()` of the result is the text.
///
/// # Errors
/// Only if there is no message of this name, or it is not the struct's twin.
pub fn to_v1_json<M: Message + Name>(v1_type: &str, message: &M) -> Result<Value, DecodeError> {
    let schema = schema_of::<M>(v1_type)?;
    write::message(schema, &message.encode_to_vec(), 0).map_err(|fault| fault.of(v1_type))
}

/// The schema of `v1_type`, if that is the v1 name of `M`.
pub(super) fn schema_of<M: Name>(v1_type: &str) -> Result<&'static Schema, DecodeError> {
    let twin = v1_type.replacen("mesos.v1", "mesos", 1).replace("Agent", "Slave");
    let unknown = || DecodeError::UnknownMessage { message: v1_type.to_owned() };
    if twin != M::full_name() {
        return Err(unknown());
    }
    Schema::find(v1_type).ok_or_else(unknown)
}
