//! RecordIO: the same records however the stream is cut; a record that we frame comes out as it went in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::libprocess::recordio::{Decoder, MAX_RECORD, encode};
use mesos_slave_fuzz::{check, memory};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let (mut decoder, mut records) = (Decoder::new(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error));
                    return (records, true);
                }
            }
        }
    }
    (records, false)
}

fuzz_target!(|data: &[u8]| {
    // A record of no bytes takes two on the wire and 24 in the list, which doubles as it grows.
    let whole = memory::within(1024 + 64 * data.len(), || read([data].into_iter()));
    assert_eq!(whole, read(check::pieces(data)));
    assert!(whole.0.iter().map(Vec::len).sum::<usize>() <= data.len().min(MAX_RECORD));
    let stream: Vec<u8> = whole.0.iter().flat_map(|record| encode(record)).collect();
    assert_eq!(read(check::pieces(&stream)), (whole.0, false));
});
