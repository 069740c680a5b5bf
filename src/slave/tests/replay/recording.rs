//! A recording as it lies in `tests/wire/replay`: an index, and the bytes that it points to (see the README there).

use std::net::SocketAddrV4;
use std::path::PathBuf;

use crate::libprocess::{self, Pid, RequestParser};
use crate::messages::mesos::internal::StatusUpdateMessage;
use prost::Message as _;

/// A line of the index.
pub struct Entry {
    /// When, in seconds since 1970.
    pub at: f64,
    /// Who: a PID, or `agent` for what was done to the agent's process.
    pub from: String,
    /// To whom: a PID.
    pub to: String,
    /// A message's name, a request's path, `202`, `event`, `closed`, or what was done.
    pub what: String,
    /// The bytes on the wire.
    pub raw: Vec<u8>,
}

/// Who an entry is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Nobody: something was done to the agent's process.
    Process,
    Agent,
    /// The master, or another process of its program.
    Master,
    /// An executor, or a scheduler.
    Other,
}

/// A message, as our own parser understands it.
pub struct Received {
    pub from: Pid,
    pub to: Pid,
    pub name: String,
    pub body: Vec<u8>,
    pub raw: Vec<u8>,
}

pub struct Recording {
    pub entries: Vec<Entry>,
    /// Where the master listens.
    pub master: SocketAddrV4,
    /// The agent.
    pub agent: Pid,
}

impl Recording {
    pub fn read(name: &str) -> Recording {
        let directory: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/wire/replay", name].iter().collect();
        let index = std::fs::read_to_string(directory.join("index.tsv")).expect("an index");
        let bytes = std::fs::read(directory.join("bytes")).expect("bytes");
        let mut entries: Vec<Entry> = index.lines().skip(1).map(|line| entry(line, &bytes)).collect();
        let epoch = epoch(&entries);
        entries.iter_mut().for_each(|entry| entry.at += epoch);
        let registration = entries.iter().find(|entry| entry.what.ends_with(".RegisterSlaveMessage"));
        let registration = registration.expect("a registration").received();
        let (master, agent) = (registration.to.address, registration.from);
        Recording { entries, master, agent }
    }
}

impl Recording {
    pub fn sender(&self, entry: &Entry) -> Sender {
        match entry.from.rsplit_once('@').map(|(_, address)| address.parse::<SocketAddrV4>()) {
            None => Sender::Process,
            Some(Ok(address)) if address == self.agent.address => Sender::Agent,
            Some(Ok(address)) if address == self.master => Sender::Master,
            Some(_) => Sender::Other,
        }
    }

    /// The agent told the master, or another process of its program, something.
    pub fn is_to_master(&self, entry: &Entry) -> bool {
        let to_master = entry.to.ends_with(&format!("@{}", self.master));
        entry.is_message() && self.sender(entry) == Sender::Agent && to_master
    }
}

fn entry(line: &str, bytes: &[u8]) -> Entry {
    let columns: Vec<&str> = line.split('\t').collect();
    let [at, from, to, offset, length, what] = columns[..] else { panic!("six columns: {line}") };
    let offset: usize = offset.parse().expect("an offset");
    let length: usize = length.parse().expect("a length");
    Entry {
        at: at.parse().expect("a time"),
        from: from.to_string(),
        to: to.to_string(),
        what: what.to_string(),
        raw: bytes[offset..offset + length].to_vec(),
    }
}

/// When second 0 of the recording was, by the first executor's clock; recordings with whole times have none.
fn epoch(entries: &[Entry]) -> f64 {
    if entries[0].at > 1e9 {
        return 0.0;
    }
    let update = entries.iter().find(|entry| entry.what.ends_with(".StatusUpdateMessage"));
    update.map_or(1_795_512_000.0, |entry| {
        let message = StatusUpdateMessage::decode(entry.received().body.as_slice()).expect("an update");
        message.update.timestamp - entry.at
    })
}

impl Entry {
    /// It was a libprocess message.
    pub fn is_message(&self) -> bool {
        self.raw.starts_with(b"POST ") && !self.what.starts_with('/')
    }

    /// It was sent by a libprocess of 2012.
    pub fn is_of_2012(&self) -> bool {
        !self.request().0.version_1_1
    }

    pub fn received(&self) -> Received {
        let (head, body) = self.request();
        let message = libprocess::recognise(&head).unwrap_or_else(|| panic!("{} is no message", self.what));
        let receiver: Pid = self.to.parse().expect("a receiver's pid");
        assert_eq!((&message.to, &message.name), (&receiver.id, &self.what), "at {}", self.at);
        Received { from: message.from, to: receiver, name: message.name, body, raw: self.raw.clone() }
    }

    /// The head and the body of a request.
    pub fn request(&self) -> (libprocess::RequestHead, Vec<u8>) {
        let mut parser = RequestParser::new(1 << 20);
        parser.push(&self.raw);
        let request = parser.next().expect("HTTP").expect("a whole request");
        assert!(parser.is_idle(), "{} has more than one request", self.what);
        request
    }
}
