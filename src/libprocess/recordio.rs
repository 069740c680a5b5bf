//! RecordIO, the framing of the v1 APIs' streams: `<decimal length>\n<that many bytes>`, again and again.

use std::fmt;

/// Longest record, in bytes. The largest that Mesos sends are offers and a framework's tasks; it sets no limit itself.
pub const MAX_RECORD: usize = 64 * 1024 * 1024;

/// Most digits of a length: those of [`MAX_RECORD`], and some zeros before them.
const MAX_DIGITS: usize = 10;

/// Why a stream holds no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordError {
    /// Something other than decimal digits before the newline.
    Length(String),
    /// A length above [`MAX_RECORD`].
    TooLong(u64),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Length(text) => write!(f, "a record must begin with its length in digits, not with {text:?}"),
            RecordError::TooLong(length) => {
                write!(f, "a record must not be longer than {MAX_RECORD} bytes, this one has {length}")
            }
        }
    }
}

impl std::error::Error for RecordError {}

/// A record with its length before it.
pub fn encode(record: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{}\n", record.len()).into_bytes();
    bytes.extend_from_slice(record);
    bytes
}

/// Takes a stream in pieces of any size, gives it in records. After an error it gives nothing but that error.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    start: usize,
    failed: Option<RecordError>,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The next whole record, or nothing until more bytes have come.
    ///
    /// # Errors
    /// A length that is no number or too great. The stream cannot be read on.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = take_record(&self.bytes[self.start..]);
        match result {
            Ok(Some((record, used))) => {
                self.start += used;
                Ok(Some(record))
            }
            Ok(None) => {
                self.compact();
                Ok(None)
            }
            Err(error) => {
                self.failed = Some(error.clone());
                self.bytes = Vec::new();
                self.start = 0;
                Err(error)
            }
        }
    }

    /// Gives back the memory of the records that were taken.
    fn compact(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..self.start);
        }
        self.start = 0;
    }
}

/// The record at the beginning and how many bytes it and its length take.
fn take_record(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, RecordError> {
    let shown = &bytes[..bytes.len().min(MAX_DIGITS + 1)];
    let digits = shown.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == bytes.len() && digits <= MAX_DIGITS {
        return Ok(None);
    }
    let refused = || RecordError::Length(String::from_utf8_lossy(shown).into_owned());
    if digits == 0 || shown.get(digits) != Some(&b'\n') {
        return Err(refused());
    }
    let text = std::str::from_utf8(&bytes[..digits]).map_err(|_| refused())?;
    let length: u64 = text.parse().map_err(|_| refused())?;
    if length > MAX_RECORD as u64 {
        return Err(RecordError::TooLong(length));
    }
    let (begin, end) = (digits + 1, digits + 1 + length as usize);
    Ok(bytes.get(begin..end).map(|record| (record.to_vec(), end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_however_the_stream_is_cut() {
        let records: [&[u8]; 4] = [b"one", b"", b"3\nx", &[0, 255, 10]];
        let stream: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
        for size in 1..=stream.len() {
            let mut decoder = Decoder::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(size) {
                decoder.push(piece);
                while let Some(record) = decoder.next().expect("a record") {
                    seen.push(record);
                }
            }
            assert_eq!(seen, records);
        }
    }

    #[test]
    fn a_length_that_is_no_number_ends_the_stream() {
        for text in ["\n", "x\n", "-1\n", "+1\nx", "1 \nx", "00000000000", "99999999999999999999\n"] {
            let mut decoder = Decoder::new();
            decoder.push(text.as_bytes());
            assert!(matches!(decoder.next(), Err(RecordError::Length(_))), "{text:?}");
            decoder.push(b"1\nx");
            assert!(decoder.next().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_record_over_the_limit_is_refused_before_its_bytes_come() {
        let mut decoder = Decoder::new();
        decoder.push(b"67108865\n");
        assert_eq!(decoder.next(), Err(RecordError::TooLong(67_108_865)));
    }
}
