//! The master's recorded bytes through a real `Network`: the messages are those of the recording, and so are the replies.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::recording::{Recording, Sender};
use super::{OF_1_11, OF_2012};
use crate::libprocess::{Network, NetworkEvent, Response};
use crate::poll::{Interest, PollSet};

/// A test that has not come to its end by then fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// Comes after all messages; its answer is the end.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n";

/// Sender, receiver's id, name and body of each.
type Messages = Vec<(String, String, String, Vec<u8>)>;

struct Heard {
    messages: Messages,
    /// All that was written back before the answer to the last request.
    replies: Vec<u8>,
}

/// Sends all bytes on one connection, a master's way, and listens until the last request is answered.
fn send(bytes: &[u8]) -> Heard {
    let mut network = Network::listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let mut socket = TcpStream::connect(network.address()).expect("a connection");
    socket.set_nonblocking(true).expect("non-blocking");
    let mut rest = [bytes, LAST].concat();
    let (mut messages, mut back, mut set) = (Vec::new(), Vec::new(), PollSet::new());
    let end = Instant::now() + PATIENCE;
    while !back.windows(8).any(|eight| eight == b"the last") {
        assert!(Instant::now() < end, "the last request is not answered: {}", back.escape_ascii());
        if let Ok(count) = socket.write(&rest) {
            rest.drain(..count);
        }
        set.clear();
        set.add(socket.as_raw_fd(), Interest::Read);
        network.register(&mut set);
        set.wait(Some(end)).expect("poll");
        for event in network.turn(&set, Instant::now()) {
            match event {
                NetworkEvent::Message { from, to, name, body, .. } => {
                    messages.push((from.to_string(), to, name, body));
                }
                NetworkEvent::Request { connection, .. } => {
                    network.respond(connection, Response::text(200, "the last"));
                }
                _ => {}
            }
        }
        network.flush();
        let mut scratch = [0; 4096];
        while let Ok(count @ 1..) = socket.read(&mut scratch) {
            back.extend_from_slice(&scratch[..count]);
        }
    }
    let last = back.windows(12).position(|head| head == b"HTTP/1.1 200").expect("the answer's head");
    Heard { messages, replies: back[..last].to_vec() }
}

/// What the master and its processes sent to the agent, as the network should hear it, and its bytes.
fn from_master(recording: &Recording) -> (Messages, Vec<u8>) {
    let (mut messages, mut bytes) = (Vec::new(), Vec::new());
    let all = recording.entries.iter().filter(|entry| entry.is_message() && recording.sender(entry) == Sender::Master);
    for entry in all {
        let received = entry.received();
        messages.push((received.from.to_string(), received.to.id, received.name, received.body));
        bytes.extend_from_slice(&entry.raw);
    }
    (messages, bytes)
}

/// The agent's recorded replies to the master, without their `Date`, which ours do not have: a date is owed by a server with
/// a clock, and nobody reads that of a reply without a body.
fn recorded_replies(recording: &Recording) -> String {
    let replies =
        recording.entries.iter().filter(|entry| entry.what == "202" && recording.sender(entry) == Sender::Agent);
    let text: Vec<String> = replies
        .flat_map(|entry| {
            String::from_utf8_lossy(&entry.raw).split_inclusive("\r\n").map(str::to_string).collect::<Vec<_>>()
        })
        .filter(|line| !line.starts_with("Date: "))
        .collect();
    text.concat()
}

#[test]
fn each_message_of_a_recorded_master_of_1_11_is_heard_and_replied_to_as_by_mesos() {
    for name in OF_1_11 {
        let recording = Recording::read(name);
        let (messages, bytes) = from_master(&recording);
        let heard = send(&bytes);
        assert_eq!(heard.messages, messages, "{name}");
        assert_eq!(String::from_utf8_lossy(&heard.replies), recorded_replies(&recording), "{name}");
    }
}

#[test]
fn each_message_of_a_recorded_master_of_2012_is_heard_and_none_is_replied_to() {
    for name in OF_2012 {
        let (messages, bytes) = from_master(&Recording::read(name));
        let heard = send(&bytes);
        assert_eq!(heard.messages, messages, "{name}");
        assert_eq!(String::from_utf8_lossy(&heard.replies), "", "{name}");
    }
}
