//! Protobuf's wire format, as far as it goes without knowing the message type.
//!
//! ```text
//! message = { tag value }         tag = varint(number << 3 | type)
//!   type 0  varint                type 2  varint(length) bytes: strings, bytes, messages, packed lists
//!   type 1  8 bytes               type 5  4 bytes
//! ```
//!
//! Types 3 and 4 (groups) are refused; Mesos has none.

/// A field's value as it stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The bytes are no protobuf message.
#[derive(Debug)]
pub(super) struct Malformed;

/// The largest field number of the format.
const MAX_NUMBER: u64 = (1 << 29) - 1;

/// Iterates over the fields of a message; ends after the first error.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let tag = read_varint(&mut self.0)?;
        let number = u32::try_from(Some(tag >> 3).filter(|number| (1..=MAX_NUMBER).contains(number))?).ok()?;
        let value = match tag & 7 {
            0 => Value::Varint(read_varint(&mut self.0)?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = read_varint(&mut self.0)?;
                Value::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(Malformed);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a varint off the front; `None` if it is cut short or longer than 64 bits.
pub(super) fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (shift < 63 || byte <= 1).then_some(value);
        }
    }
    None
}

/// Appends a field.
pub(super) fn write(out: &mut Vec<u8>, number: u32, value: Value<'_>) {
    let tag = |wire_type| u64::from(number) << 3 | wire_type;
    match value {
        Value::Varint(value) => {
            write_varint(out, tag(0));
            write_varint(out, value);
        }
        Value::Fixed64(value) => {
            write_varint(out, tag(1));
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Bytes(bytes) => {
            write_varint(out, tag(2));
            write_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        Value::Fixed32(value) => {
            write_varint(out, tag(5));
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut bytes = Vec::new();
        let fields = [
            (1, Value::Varint(u64::MAX)),
            (2, Value::Fixed64(7)),
            (536_870_911, Value::Bytes(b"abc")),
            (15, Value::Fixed32(8)),
        ];
        for (number, value) in fields {
            write(&mut bytes, number, value);
        }
        let read: Vec<_> = Fields::of(&bytes).map(|field| field.expect("well formed")).collect();
        assert_eq!(read, fields);
    }

    #[test]
    fn broken_bytes_end_in_an_error_and_nothing_more() {
        let broken: [&[u8]; 7] = [
            &[0x80],                                                                   // a tag cut short
            &[0x08],                                                                   // no value
            &[0x0a, 5, b'a'],                                                          // less than announced
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, b'a'], // 2^64-1 bytes announced
            &[0x0b, 0x0c],                                                             // a group
            &[0x00, 0x01],                                                             // field 0
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],       // 65 bits
        ];
        for bytes in broken {
            let read: Vec<_> = Fields::of(bytes).collect();
            assert!(matches!(read.as_slice(), [Err(Malformed)]), "{bytes:?}: {read:?}");
        }
    }
}
