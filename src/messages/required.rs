//! The check of `required` fields, which prost leaves out, on the bytes and before anything is allocated.
//!
//! It also bounds what the decoder will have to allocate: depth and number of messages within a message.
//! Where a sender has split a singular message over several occurrences (allowed by protobuf, done by no
//! encoder), each has to be complete.

use super::error::{DecodeError, Fault, Problem};
use super::schema::{Enum, Field, Kind, Label, Layout, Message};
use super::wire::{Fields, Malformed, Value};
use super::{MAX_DEPTH, MAX_NESTED};

/// Checks that every required field is set, in the message and in all messages within it.
///
/// # Errors
/// Names the first field that is missing, or the message that is malformed, too deep or too crowded.
pub fn check_required(full_name: &str, bytes: &[u8]) -> Result<(), DecodeError> {
    let unknown = || DecodeError::UnknownMessage { message: full_name.to_owned() };
    let message = Message::find(full_name).ok_or_else(unknown)?;
    check(message, bytes, Layout::Own)
}

/// As [`check_required`], for a v1 message of which the bytes may be those of its unversioned twin.
pub(super) fn check(message: &Message, bytes: &[u8], layout: Layout) -> Result<(), DecodeError> {
    let mut walk = Walk { layout, nested: 0 };
    walk.message(message, bytes, 0).map_err(|fault| fault.of(message.name))
}

/// Most missing fields that are named.
const NAMED: usize = 16;

/// The error of a message of JSON that lacks one required field, with all that it lacks: a message's own before those of messages within it.
pub(super) fn all_missing(message: &Message, bytes: &[u8], error: DecodeError) -> DecodeError {
    match error {
        DecodeError::Field { message: name, problem: Problem::Required, .. } => {
            let mut missing = Missing { paths: Vec::new(), looked: 0 };
            missing.look(message, bytes, "");
            DecodeError::Missing { message: name, paths: missing.paths }
        }
        other => other,
    }
}

/// What is missing, and in how many messages it was looked for.
struct Missing {
    paths: Vec<String>,
    looked: usize,
}

impl Missing {
    /// The bytes are ours, made of JSON: they are well-formed, and no deeper than that was. They may be many megabytes of tiny messages, though.
    fn look(&mut self, message: &Message, bytes: &[u8], before: &str) {
        self.looked += 1;
        let fields = || {
            let known = |(number, value)| Some((message.numbered(number, Layout::Plain)?, value));
            Fields::of(bytes).flatten().filter_map(known)
        };
        let mut seen = 0u128;
        for ((bit, field), value) in fields() {
            seen |= u128::from(is_known(field.kind, value)) << bit;
        }
        let required = message.fields.iter().enumerate().filter(|(_, field)| field.label == Label::Required);
        let own = required.filter(|(bit, _)| seen & 1 << bit == 0).map(|(_, field)| format!("{before}{}", field.name));
        self.paths.extend(own.take(NAMED.saturating_sub(self.paths.len())));
        let mut counts = vec![0usize; message.fields.len()];
        for ((bit, field), value) in fields() {
            if self.paths.len() >= NAMED || self.looked >= MAX_NESTED {
                return;
            }
            let (Some(of), Value::Bytes(nested)) = (field.kind.message(), value) else { continue };
            let index = if field.label == Label::Repeated { format!("[{}]", counts[bit]) } else { String::new() };
            counts[bit] += 1;
            self.look(of, nested, &format!("{before}{}{index}.", field.name));
        }
    }
}

struct Walk {
    layout: Layout,
    nested: usize,
}

impl Walk {
    fn message(&mut self, message: &Message, bytes: &[u8], depth: usize) -> Result<(), Fault> {
        self.nested += 1;
        if depth > MAX_DEPTH {
            return Err(Fault::new(Problem::TooDeep));
        }
        if self.nested > MAX_NESTED {
            return Err(Fault::new(Problem::TooMany));
        }
        let mut seen = 0u128;
        for (place, field) in Fields::of(bytes).enumerate() {
            let (number, value) = field.map_err(|Malformed| Fault::new(Problem::Malformed))?;
            let Some((bit, field)) = message.numbered(number, self.layout) else {
                continue;
            };
            // The last value of a singular field is the one that counts.
            seen = if is_known(field.kind, value) { seen | 1 << bit } else { seen & !(1 << bit) };
            if let (Some(of), Value::Bytes(nested)) = (field.kind.message(), value) {
                let layout = self.layout;
                let step = |fault: Fault| fault.within(field.name, index(field, bytes, place, layout));
                self.message(of, nested, depth + 1).map_err(step)?;
            }
        }
        let missing = |(bit, field): &(usize, &Field)| field.label == Label::Required && seen & 1 << bit == 0;
        match message.fields.iter().enumerate().find(missing) {
            Some((_, field)) => Err(Fault::at(field.name, Problem::Required)),
            None => Ok(()),
        }
    }
}

/// Mesos takes an enum value that it does not know for one that is not set.
fn is_known(kind: Kind, value: Value<'_>) -> bool {
    match (kind, value) {
        (Kind::Enum(of), Value::Varint(number)) => Enum::at(of).name_of(number as i32).is_some(),
        _ => true,
    }
}

/// Which of a repeated field's messages the one is that comes as `place` among all fields of `bytes`.
fn index(field: &Field, bytes: &[u8], place: usize, layout: Layout) -> Option<usize> {
    let number = field.number_in(layout);
    let earlier = || Fields::of(bytes).take(place).filter(|each| matches!(each, Ok((of, _)) if *of == number)).count();
    (field.label == Label::Repeated).then(earlier)
}
