//! One connection of the channel, from either side: never blocks, buffers what cannot be sent yet.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use prost::{Message, Name};

use super::frame::{self, Decoder};
use crate::poll::{Interest, PollSet};

/// How much may wait to be sent, in bytes; a peer that reads nothing loses its connection.
const UNSENT_LIMIT: usize = 64 << 20;

/// How much is read in one turn, in bytes, so that one peer cannot keep the loop.
const READ_PER_TURN: usize = 1 << 20;

/// The connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    unsent: Vec<u8>,
    ended: Option<String>,
}

impl Connection {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// What `fcntl(2)` gives.
    pub fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, decoder: Decoder::default(), unsent: Vec::new(), ended: None })
    }

    /// Sends a message now or as soon as there is room for it.
    pub fn send(&mut self, message: &impl Message) {
        self.unsent.extend_from_slice(&frame::encode(message));
        self.flush();
    }

    /// Waits for bytes, and for room while there is something to send.
    pub fn register(&self, set: &mut PollSet) {
        if self.ended.is_some() {
            return;
        }
        let interest = if self.unsent.is_empty() { Interest::Read } else { Interest::Both };
        set.add(self.stream.as_raw_fd(), interest);
    }

    /// Sends and reads what can be. What was read before an end is given all the same.
    pub fn turn<M: Message + Default + Name>(&mut self) -> Vec<M> {
        self.flush();
        self.read();
        let mut messages = Vec::new();
        loop {
            match self.decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return messages,
                Err(error) => {
                    self.end(format!("the peer sent {error}"));
                    return messages;
                }
            }
        }
    }

    /// Why the connection cannot be used any more, if so.
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    fn end(&mut self, reason: String) {
        self.ended.get_or_insert(reason);
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() && self.ended.is_none() {
            match self.stream.write(&self.unsent) {
                Ok(0) => self.end("the peer takes nothing".to_string()),
                Ok(count) => {
                    self.unsent.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // There may be something to read still; the end is seen there.
                Err(_) => self.unsent.clear(),
            }
        }
        if self.unsent.len() > UNSENT_LIMIT {
            self.end(format!("the peer reads nothing, {} bytes wait", self.unsent.len()));
        }
    }

    fn read(&mut self) {
        let mut buffer = [0u8; 16 * 1024];
        let mut count = 0;
        while self.ended.is_none() && count < READ_PER_TURN {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.end("the peer closed the connection".to_string()),
                Ok(some) => {
                    self.decoder.push(&buffer[..some]);
                    count += some;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.end(error.to_string()),
            }
        }
    }
}
