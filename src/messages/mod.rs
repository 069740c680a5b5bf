//! Mesos' messages: the structs, their checked decoding, and their JSON.
//!
//! ```text
//! a libprocess body      ── decode ────────► struct ── encode_to_vec ──► a libprocess body
//! v1 API, JSON           ── from_v1_json ──► struct ── to_v1_json ─────► v1 API, JSON
//! v1 API, protobuf bytes ── from_v1_bytes ─► struct ── to_v1_bytes ────► v1 API, protobuf bytes
//! ```
//!
//! The structs are made at build time from `proto/`; a package is a module: `mesos::TaskInfo`,
//! `mesos::internal::RunTaskMessage`, `mesos::scheduler::Call`, `mesos::executor::Event`. The full name of
//! a message, which names it in a libprocess request, is `RunTaskMessage::full_name()` ([`prost::Name`]).
//! There is one struct for the v1 and the unversioned form of a message.

mod error;
mod json;
mod required;
mod schema;
mod text;
mod v1;
mod wire;

#[cfg(test)]
mod captures;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod tree;

pub use error::DecodeError;
pub use generated::*;
pub use json::{base64, from_v1_json, to_v1_json};
pub use required::check_required;
pub use v1::{from_v1_bytes, to_v1_bytes};

use prost::{Message, Name};

/// The largest message in bytes, as with the protobuf of Mesos' time.
pub const MAX_BODY: usize = 64 << 20;

/// How deep messages can be nested. Prost has the same limit.
pub const MAX_DEPTH: usize = 100;

/// How many messages can be in a message. An empty one takes two bytes on the wire and up to some kilobytes
/// as a struct; the largest that Mesos sends, a slave's re-registration, has some thousands.
pub const MAX_NESTED: usize = 1 << 16;

/// Decodes a message that came from outside: size, required fields, nesting, then the struct.
///
/// # Errors
/// Names the message and the field that is missing or wrong.
pub fn decode<M: Message + Default + Name>(body: &[u8]) -> Result<M, DecodeError> {
    let name = M::full_name();
    check_size(&name, body)?;
    check_required(&name, body)?;
    let message = schema::Message::find(&name).ok_or_else(|| DecodeError::UnknownMessage { message: name.clone() })?;
    decode_checked(message, &name, body)
}

/// The last step of all decoding; text that is not UTF-8 is looked for only when there is some.
fn decode_checked<M: Message + Default>(message: &schema::Message, name: &str, plain: &[u8]) -> Result<M, DecodeError> {
    M::decode(plain)
        .or_else(|error| M::decode(text::repaired(message, plain).as_slice()).map_err(|_| error))
        .map_err(|source| DecodeError::Protobuf { message: name.to_owned(), source })
}

fn check_size(message: &str, body: &[u8]) -> Result<(), DecodeError> {
    if body.len() > MAX_BODY {
        return Err(DecodeError::TooLarge { message: message.to_owned(), size: body.len() });
    }
    Ok(())
}

// All of Mesos' messages are here, whether or not we have a use for them yet.
#[allow(missing_docs, dead_code, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}
