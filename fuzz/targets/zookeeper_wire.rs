//! ZooKeeper's frames and records: the same frames however the stream is cut, nothing larger than what is there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::detector::wire::{
    Frames, MAX_FRAME, Reply, read_children, read_connected, read_data, read_reply,
};
use mesos_slave_fuzz::{check, memory};

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let (mut frames, mut seen) = (Frames::default(), Vec::new());
    for piece in pieces {
        frames.push(piece);
        loop {
            match frames.next() {
                Ok(Some(frame)) => {
                    assert!(frame.len() <= MAX_FRAME);
                    seen.push(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return (seen, true);
                }
            }
        }
    }
    (seen, false)
}

fn records(bytes: &[u8]) {
    if let Ok(connected) = read_connected(bytes) {
        assert!(connected.session.password.len() <= 256);
    }
    match read_reply(bytes) {
        Ok(Reply::Answer { body, .. }) => assert_eq!(body, &bytes[16..]),
        Ok(Reply::Event { path }) => assert!(path.len() <= bytes.len()),
        Ok(Reply::Pong | Reply::Auth(_)) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(children) = read_children(bytes) {
        assert!(children.iter().map(|name| name.len() + 4).sum::<usize>() <= bytes.len());
    }
    if let Ok(data) = read_data(bytes) {
        assert!(data.len() <= bytes.len());
    }
}

fuzz_target!(|data: &[u8]| {
    // A child's name takes four bytes at least, and 16 in the list.
    memory::within(1024 + 8 * data.len(), || records(data));
    let whole = memory::within(1024 + 64 * data.len(), || frames([data].into_iter()));
    assert_eq!(whole, frames(check::pieces(data)));
    for frame in whole.0 {
        records(&frame);
    }
});
