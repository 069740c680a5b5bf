//! The v1 APIs' JSON form: what was read is written and read again alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::memory;
use mesos_slave_fuzz::messages::{from_v1_json, mesos, to_v1_json};
use prost::{Message, Name};

/// As in `messages`; an empty object takes three bytes.
const PER_BYTE: usize = 8 * 1024;

fn stable<M: Message + Default + Name>(v1_type: &str, text: &[u8]) {
    let read = |text: &[u8]| from_v1_json::<M>(v1_type, text);
    let message = match memory::within(4096 + PER_BYTE * text.len(), || read(text)) {
        Ok(message) => message,
        Err(error) => return assert!(error.to_string().contains(v1_type)),
    };
    let text = to_v1_json(v1_type, &message).expect("it was read as that").to_string();
    let again = read(text.as_bytes()).expect("what we write is complete");
    assert_eq!(again.encode_to_vec(), message.encode_to_vec(), "{text}");
}

fuzz_target!(|data: &[u8]| {
    stable::<mesos::scheduler::Call>("mesos.v1.scheduler.Call", data);
    stable::<mesos::scheduler::Event>("mesos.v1.scheduler.Event", data);
    stable::<mesos::executor::Call>("mesos.v1.executor.Call", data);
    stable::<mesos::executor::Event>("mesos.v1.executor.Event", data);
    stable::<mesos::Resource>("mesos.Resource", data);
});
