//! The recorded connections' bytes, cut at random: the parser must find the same messages.

use std::collections::BTreeMap;

use super::recording::Recording;
use super::{OF_1_11, OF_2012};
use crate::libprocess::{self, Message, RequestParser};
use crate::random::Random;

/// Cuttings of each stream.
const ROUNDS: u64 = 20;

/// Messages with their bodies.
type Messages = Vec<(Message, Vec<u8>)>;

/// All that one peer sent to another, in order.
fn streams(recording: &Recording) -> Vec<(Messages, Vec<u8>)> {
    let mut streams: BTreeMap<(&str, &str), (Messages, Vec<u8>)> = BTreeMap::new();
    for entry in recording.entries.iter().filter(|entry| entry.is_message()) {
        let (messages, bytes) = streams.entry((&entry.from, &entry.to)).or_default();
        let received = entry.received();
        let message = Message { from: received.from, to: received.to.id, name: received.name };
        messages.push((message, received.body));
        bytes.extend_from_slice(&entry.raw);
    }
    streams.into_values().collect()
}

fn parse(bytes: &[u8], random: &mut Random) -> Messages {
    // Sometimes byte by byte, sometimes many messages at once.
    let longest = 1 + random.next_u64() % [3, 50, 1000, 100_000][(random.next_u64() % 4) as usize];
    let mut parser = RequestParser::new(1 << 20);
    let (mut rest, mut found) = (bytes, Vec::new());
    while !rest.is_empty() {
        let length = (1 + random.next_u64() % longest).min(rest.len() as u64) as usize;
        parser.push(&rest[..length]);
        rest = &rest[length..];
        while let Some((head, body)) = parser.next().expect("a request") {
            found.push((libprocess::recognise(&head).expect("a message"), body));
        }
    }
    assert!(parser.is_idle());
    found
}

#[test]
fn recorded_streams_hold_the_same_messages_however_they_are_cut() {
    for name in OF_1_11.into_iter().chain(OF_2012) {
        for (messages, bytes) in streams(&Recording::read(name)) {
            for seed in 0..ROUNDS {
                assert_eq!(parse(&bytes, &mut Random::from_seed(seed)), messages, "{name}, seed {seed}");
            }
        }
    }
}
