//! A gzip file as gzip reads it: its members one after the other, whatever follows the last of them left alone.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// What the members hold together. Each one's checksum is looked at where it ends.
pub struct Members<R> {
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    /// Begins with the first.
    pub fn new(reader: R) -> Members<R> {
        Members { current: Some(GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(current) = &mut self.current {
            match current.read(buffer)? {
                0 if !buffer.is_empty() => {
                    let rest = self.current.take().map(GzDecoder::into_inner);
                    self.current = rest.map(next).transpose()?.flatten();
                }
                count => return Ok(count),
            }
        }
        Ok(0)
    }
}

/// Padding and garbage begin otherwise than a member does.
fn next<R: BufRead>(mut rest: R) -> io::Result<Option<GzDecoder<R>>> {
    let begins = rest.fill_buf()?.first() == Some(&0x1f);
    Ok(begins.then(|| GzDecoder::new(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn member(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn read(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        Members::new(bytes).read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn members_follow_each_other_and_padding_ends_them() {
        let both = [member("one "), member(""), member("two"), vec![0; 512]].concat();
        assert_eq!(read(&both).expect("members"), "one two");
    }

    #[test]
    fn what_is_cut_off_or_changed_is_an_error() {
        let whole = member("a text that is long enough to be cut");
        for length in [0, 5, whole.len() - 9, whole.len() - 1] {
            assert!(read(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
        let mut changed = whole.clone();
        let checksum = whole.len() - 8;
        changed[checksum] ^= 1;
        assert!(read(&changed).is_err());
    }
}
