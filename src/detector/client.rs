//! The shell of the ZooKeeper client: a name, a socket and bytes become inputs of the [`Session`], and its outputs are carried out.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use super::DetectorEvent;
use super::lookup::{Begun, Lookup};
use super::session::{Input, LOOKUP_TIMEOUT, Output, Session};
use crate::libprocess::socket::{Reading, begin_connect, finish_connect, read_all};
use crate::poll::{Interest, PollSet, earlier};

/// Most bytes that wait to be sent. There is one small question at a time; a server that reads none of them is silent as well.
const MAX_UNSENT: usize = 64 * 1024;

#[derive(Debug)]
enum Link {
    Down,
    Looking(Lookup),
    Connecting(TcpStream),
    Up { stream: TcpStream, unsent: Vec<u8> },
}

/// A session with ZooKeeper and its connection.
#[derive(Debug)]
pub struct Client {
    session: Session,
    link: Link,
    scratch: Vec<u8>,
}

impl Client {
    /// A client that connects in its first turn.
    pub fn new(session: Session) -> Client {
        Client { session, link: Link::Down, scratch: vec![0; 16 * 1024] }
    }

    /// Waits for what comes next.
    pub fn register(&self, set: &mut PollSet) {
        match &self.link {
            Link::Down => {}
            Link::Looking(lookup) => lookup.register(set),
            Link::Connecting(stream) => set.add(stream.as_raw_fd(), Interest::Write),
            Link::Up { stream, unsent } => {
                let interest = if unsent.is_empty() { Interest::Read } else { Interest::Both };
                set.add(stream.as_raw_fd(), interest);
            }
        }
    }

    /// When a turn is due without anything to be read.
    pub fn deadline(&self) -> Option<Instant> {
        let lookup = match &self.link {
            Link::Looking(lookup) => Some(lookup.deadline()),
            Link::Down | Link::Connecting(_) | Link::Up { .. } => None,
        };
        earlier(lookup, self.session.deadline())
    }

    /// Reads, decides, writes.
    pub fn turn(&mut self, set: &PollSet, now: Instant, events: &mut Vec<DetectorEvent>) {
        match std::mem::replace(&mut self.link, Link::Down) {
            Link::Down => {}
            Link::Looking(lookup) => self.looking(lookup, now, events),
            Link::Connecting(stream) => self.connecting(stream, set, now, events),
            Link::Up { stream, unsent } => self.up(stream, unsent, set, now, events),
        }
        self.input(Input::Tick, now, events);
        if let Err(why) = self.flush() {
            self.input(Input::Failed(why), now, events);
        }
    }

    fn looking(&mut self, mut lookup: Lookup, now: Instant, events: &mut Vec<DetectorEvent>) {
        match lookup.turn(now) {
            None => self.link = Link::Looking(lookup),
            Some(Err(why)) => self.input(Input::Failed(why), now, events),
            Some(Ok(address)) => self.resolved(address, now, events),
        }
    }

    fn connecting(&mut self, stream: TcpStream, set: &PollSet, now: Instant, events: &mut Vec<DetectorEvent>) {
        if !set.is_writable(stream.as_raw_fd()) {
            self.link = Link::Connecting(stream);
            return;
        }
        match finish_connect(&stream) {
            Ok(false) => self.link = Link::Connecting(stream),
            Ok(true) => {
                self.link = Link::Up { stream, unsent: Vec::new() };
                self.input(Input::Connected, now, events);
            }
            Err(error) => self.input(Input::Failed(error.to_string()), now, events),
        }
    }

    fn up(&mut self, stream: TcpStream, unsent: Vec<u8>, set: &PollSet, now: Instant, events: &mut Vec<DetectorEvent>) {
        let readable = set.is_readable(stream.as_raw_fd());
        let mut bytes = Vec::new();
        let reading = match readable {
            true => read_all(&stream, &mut self.scratch, |part| bytes.extend_from_slice(part)),
            false => Ok(Reading::Open),
        };
        self.link = Link::Up { stream, unsent };
        if !bytes.is_empty() {
            self.input(Input::Bytes(&bytes), now, events);
        }
        match reading {
            Ok(Reading::Open) => {}
            Ok(Reading::Ended) => self.input(Input::Failed("it closed the connection".into()), now, events),
            Err(error) => self.input(Input::Failed(error.to_string()), now, events),
        }
    }

    fn input(&mut self, input: Input, now: Instant, events: &mut Vec<DetectorEvent>) {
        for output in self.session.handle(input, now) {
            match output {
                Output::Connect(place) => self.connect(place, now, events),
                Output::Send(bytes) => {
                    if let Link::Up { unsent, .. } = &mut self.link {
                        unsent.extend(bytes);
                    }
                }
                Output::Disconnect => self.link = Link::Down,
                Output::Detected(pid) => events.push(DetectorEvent::Detected(pid)),
                Output::Lost => events.push(DetectorEvent::Lost),
            }
        }
    }

    fn connect(&mut self, place: usize, now: Instant, events: &mut Vec<DetectorEvent>) {
        let (host, port) = &self.session.zookeeper().servers[place];
        match Lookup::begin(host, *port, now + LOOKUP_TIMEOUT) {
            Begun::Running(lookup) => self.link = Link::Looking(lookup),
            Begun::Known(address) => self.resolved(address, now, events),
            // The session answers with a wait, never with another attempt at once.
            Begun::Failed(why) => self.input(Input::Failed(why), now, events),
        }
    }

    fn resolved(&mut self, address: SocketAddrV4, now: Instant, events: &mut Vec<DetectorEvent>) {
        match begin_connect(address) {
            Ok(stream) => {
                self.link = Link::Connecting(stream);
                self.input(Input::Resolved, now, events);
            }
            Err(error) => self.input(Input::Failed(error.to_string()), now, events),
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        let Link::Up { stream, unsent } = &mut self.link else {
            return Ok(());
        };
        while !unsent.is_empty() {
            match stream.write(unsent) {
                Ok(count) => drop(unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        if unsent.len() > MAX_UNSENT { Err("it reads nothing".to_string()) } else { Ok(()) }
    }
}

impl Drop for Client {
    /// The session ends with us, if the socket takes the word; else the server waits its time out.
    fn drop(&mut self) {
        if let (Link::Up { unsent, .. }, Some(farewell)) = (&mut self.link, self.session.farewell()) {
            unsent.extend(farewell);
            let _ = self.flush();
        }
    }
}
