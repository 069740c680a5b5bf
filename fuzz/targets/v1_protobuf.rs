//! The v1 APIs' protobuf form, whose fields are renumbered on the way in and out: what was read is written and read again
//! alike, and can be shown as JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::memory;
use mesos_slave_fuzz::messages::{from_v1_bytes, from_v1_json, mesos, to_v1_bytes, to_v1_json};
use prost::{Message, Name};

/// As in `messages`.
const PER_BYTE: usize = 8 * 1024;

fn stable<M: Message + Default + Name>(v1_type: &str, data: &[u8]) {
    let read = |bytes: &[u8]| from_v1_bytes::<M>(v1_type, bytes);
    let message = match memory::within(4096 + PER_BYTE * data.len(), || read(data)) {
        Ok(message) => message,
        Err(error) => return assert!(error.to_string().contains(v1_type)),
    };
    let bytes = to_v1_bytes(v1_type, &message).expect("it was read as that");
    let again = read(&bytes).expect("what we write is complete");
    assert_eq!(again.encode_to_vec(), message.encode_to_vec());
    let text = to_v1_json(v1_type, &message).expect("it was read as that").to_string();
    if !text.contains("\"NaN\"") {
        // Values of enums that have no name are lost.
        from_v1_json::<M>(v1_type, text.as_bytes()).expect("what we write is complete");
    }
}

fuzz_target!(|data: &[u8]| {
    stable::<mesos::scheduler::Call>("mesos.v1.scheduler.Call", data);
    stable::<mesos::scheduler::Event>("mesos.v1.scheduler.Event", data);
    stable::<mesos::executor::Call>("mesos.v1.executor.Call", data);
    stable::<mesos::executor::Event>("mesos.v1.executor.Event", data);
});
