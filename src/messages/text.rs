//! Text that is not UTF-8. Mesos passes on whatever bytes a program put into a string: a message with half a character in it, or in Latin-1,
//! must not cost an update. Our structs hold UTF-8, so such bytes become U+FFFD.

use super::schema::{Kind, Layout, Message};
use super::wire::{self, Fields, Value};

/// The same message with UTF-8 in all of its strings; as it is, if it is no protobuf. Its depth has been checked.
pub(super) fn repaired(message: &Message, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for field in Fields::of(bytes) {
        let Ok((number, value)) = field else {
            return bytes.to_vec();
        };
        let kind = message.numbered(number, Layout::Plain).map(|(_, field)| field.kind);
        match (kind, kind.and_then(Kind::message), value) {
            (Some(Kind::String), _, Value::Bytes(text)) => {
                wire::write(&mut out, number, Value::Bytes(String::from_utf8_lossy(text).as_bytes()));
            }
            (_, Some(of), Value::Bytes(nested)) => wire::write(&mut out, number, Value::Bytes(&repaired(of, nested))),
            _ => wire::write(&mut out, number, value),
        }
    }
    out
}
