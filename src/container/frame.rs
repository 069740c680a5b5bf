//! Frames of the channel: a 32-bit big-endian length and so many bytes of protobuf.

use std::fmt;

use prost::{Message, Name};

use crate::messages::{self, DecodeError};

/// The longest message, in bytes. The largest is a status with its `data`.
pub const LIMIT: usize = 4 << 20;

/// What a peer sent that is no frame of ours.
#[derive(Debug)]
pub enum FrameError {
    /// A longer message than [`LIMIT`] was announced.
    TooLong(usize),
    /// The message is not of the expected type.
    Content(DecodeError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong(length) => {
                write!(f, "a frame of {length} bytes, more than {LIMIT}")
            }
            FrameError::Content(source) => write!(f, "a frame that cannot be read: {source}"),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FrameError::TooLong(_) => None,
            FrameError::Content(source) => Some(source),
        }
    }
}

/// A message as a frame.
pub fn encode(message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(4 + length);
    frame.extend_from_slice(&(length as u32).to_be_bytes());
    frame.extend_from_slice(&message.encode_to_vec());
    frame
}

/// Takes bytes as they come and gives whole messages.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// What lies before has been given. It goes when the rest is waited for, not frame by frame: a turn can bring thousands.
    start: usize,
}

impl Decoder {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, once all of it is there.
    ///
    /// # Errors
    /// The stream cannot be used any more.
    pub fn next<M: Message + Default + Name>(&mut self) -> Result<Option<M>, FrameError> {
        let Some(body) = self.body()? else {
            self.bytes.drain(..self.start);
            self.start = 0;
            return Ok(None);
        };
        let message = messages::decode(body).map_err(FrameError::Content)?;
        self.start += 4 + body.len();
        Ok(Some(message))
    }

    /// The next frame without its head, once all of it is there.
    fn body(&self) -> Result<Option<&[u8]>, FrameError> {
        let Some((head, rest)) = self.bytes[self.start..].split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > LIMIT {
            return Err(FrameError::TooLong(length));
        }
        Ok(rest.get(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::container::{FromChild, Hello};

    fn hello() -> FromChild {
        FromChild { hello: Some(Hello { version: 1, container_id: "c".into() }), ..Default::default() }
    }

    #[test]
    fn messages_come_whole_whatever_the_pieces() {
        let bytes: Vec<u8> = [encode(&hello()), encode(&hello())].concat();
        let mut decoder = Decoder::default();
        let mut count = 0;
        for byte in bytes {
            decoder.push(&[byte]);
            while let Some(message) = decoder.next::<FromChild>().expect("frame") {
                assert_eq!(message, hello());
                count += 1;
            }
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn a_frame_is_taken_without_moving_the_thousands_behind_it() {
        let bytes = vec![0; 64 * 1024];
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        for count in 1..=bytes.len() / 4 {
            assert_eq!(decoder.next::<FromChild>().expect("frame"), Some(FromChild::default()));
            assert_eq!((decoder.bytes.len(), decoder.start), (bytes.len(), 4 * count));
        }
        assert_eq!(decoder.next::<FromChild>().expect("no frame"), None);
        assert!(decoder.bytes.is_empty());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
        let mut decoder = Decoder::default();
        decoder.push(&(LIMIT as u32 + 1).to_be_bytes());
        assert!(matches!(decoder.next::<FromChild>(), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 2, 0xff, 0xff]);
        assert!(matches!(decoder.next::<FromChild>(), Err(FrameError::Content(_))));
    }
}
