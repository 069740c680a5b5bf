//! The channel between a slave and a container's child, either way: the same messages however the stream is cut, and a message
//! that we frame comes out as it went in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::container::frame::{Decoder, encode};
use mesos_slave_fuzz::messages::container::{FromChild, ToChild};
use mesos_slave_fuzz::{check, memory};
use prost::{Message, Name};

fn read<'a, M: Message + Name + Default>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<M>, bool) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next::<M>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return (messages, true);
                }
            }
        }
    }
    (messages, false)
}

fn bytes<M: Message>(messages: &[M]) -> Vec<u8> {
    messages.iter().flat_map(encode).collect()
}

fn stable<M: Message + Name + Default>(data: &[u8]) {
    let (whole, broken) = memory::within(4096 + 8 * 1024 * data.len(), || read::<M>([data].into_iter()));
    let (cut, cut_broken) = read::<M>(check::pieces(data));
    let written = bytes(&whole);
    assert_eq!((&written, broken), (&bytes(&cut), cut_broken));
    let (again, broken) = read::<M>(check::pieces(&written));
    assert!(!broken && bytes(&again) == written);
}

fuzz_target!(|data: &[u8]| {
    stable::<FromChild>(data);
    stable::<ToChild>(data);
});
