//! Bytes that wait to be written. Bounded, and without memory when there are none.

use std::io::{self, ErrorKind, Write};

/// Most bytes that may wait for one peer. What is added last may go beyond, so that one large message always fits.
pub const MAX_WAITING: usize = 64 * 1024 * 1024;

/// The peer does not read what we have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// A queue of bytes.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    start: usize,
}

impl Output {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// As much as is allowed waits already.
    pub fn push(&mut self, bytes: Vec<u8>) -> Result<(), Overflow> {
        if self.len() >= MAX_WAITING {
            return Err(Overflow);
        }
        if self.is_empty() {
            self.bytes = bytes;
            self.start = 0;
            return Ok(());
        }
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    /// Writes what the peer takes now; true if it took something.
    ///
    /// # Errors
    /// What the write gives; a full pipe is none.
    pub fn write_to(&mut self, mut peer: impl Write) -> io::Result<bool> {
        let before = self.start;
        while !self.is_empty() {
            match peer.write(&self.bytes[self.start..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.start += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(self.start > before);
                }
                Err(error) => return Err(error),
            }
        }
        let progress = self.start > before;
        *self = Output::default();
        Ok(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_never_reads_gets_one_more_message_and_then_no_other() {
        let mut output = Output::default();
        assert_eq!(output.push(vec![0; MAX_WAITING - 1]), Ok(()));
        assert_eq!(output.push(vec![0; 2]), Ok(()));
        assert_eq!(output.push(vec![0; 1]), Err(Overflow));
    }

    #[test]
    fn what_was_written_takes_no_memory() {
        let mut output = Output::default();
        output.push(vec![1; 1000]).expect("room");
        let mut peer = Vec::new();
        assert!(output.write_to(&mut peer).expect("written"));
        assert_eq!((peer.len(), output.len(), output.bytes.capacity()), (1000, 0, 0));
    }
}
