//! The archive of a sandbox, as a hostile guest may send it. Every header's sum is set right first, or nothing but sums would be
//! tried (an input of an odd length is left as it is).
//!
//! Each entry's data lie within its size, in order; no more is read than is allowed; nothing is kept but one name, one pax header
//! and one map of a sparse file; each entry costs at least a block.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::archive::{Entry, Stream, StreamError};
use mesos_slave_fuzz::memory;

const BLOCK: usize = 512;

fn set_sums(data: &mut [u8]) {
    for block in data.chunks_exact_mut(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block[154] = 0;
    }
}

fn check(entry: &Entry, budget: u64) -> u64 {
    let (mut end, mut stored) = (0, 0);
    for (offset, length) in &entry.segments {
        assert!(*offset >= end, "{:?}", entry.segments);
        end = offset.checked_add(*length).expect("within the file");
        stored += length;
    }
    assert!(end <= entry.size && stored <= budget);
    stored
}

fn read(data: &[u8], budget: u64) -> Result<usize, StreamError> {
    let (mut stream, mut entries) = (Stream::new(data, budget), 0);
    while let Some(entry) = stream.next()? {
        entries += 1;
        let mut left = check(&entry, budget);
        // Every other entry is skipped.
        while left > 0 && entries % 2 == 0 {
            let mut buffer = [0u8; 4096];
            let count = left.min(4096) as usize;
            stream.data(&mut buffer[..count])?;
            left -= count as u64;
        }
        if entries % 2 == 0 && !entry.segments.is_empty() {
            assert!(stream.data(&mut [0]).is_err(), "an entry has no more data than it says");
            return Ok(entries);
        }
    }
    Ok(entries)
}

fuzz_target!(|data: &[u8]| {
    let mut data = data.to_vec();
    if data.len().is_multiple_of(2) {
        set_sums(&mut data);
    }
    for budget in [data.len() as u64, 2048, u64::MAX] {
        let result = memory::within(96 * 1024 + 8 * data.len(), || read(&data, budget));
        match result {
            Ok(entries) => assert!(entries <= data.len() / BLOCK),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
