//! Every message, as libprocess carries it: each input is read as each of them.
//!
//! What decodes has all its required fields and encodes to something that decodes to the same. The struct is bounded by the input.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::messages::mesos::{self, internal};
use mesos_slave_fuzz::messages::{self, check_required, container};
use mesos_slave_fuzz::slave::{FromAuthenticator, FromMaster};
use mesos_slave_fuzz::{memory, message_names};
use prost::{Message, Name};
use std::sync::LazyLock;

/// What one byte of input may take in memory: an empty message has two bytes and can be a large struct, in a list that doubles.
const PER_BYTE: usize = 8 * 1024;

/// Those that libprocess carries to or from a slave, a master, an executor, a scheduler.
static NAMES: LazyLock<Vec<&str>> =
    LazyLock::new(|| message_names().filter(|name| name.starts_with("mesos.internal.")).collect());

fn stable<M: Message + Default + Name>(data: &[u8]) {
    let decoded = memory::within(4096 + PER_BYTE * data.len(), || messages::decode::<M>(data));
    match decoded {
        Ok(message) => {
            let bytes = message.encode_to_vec();
            let again = messages::decode::<M>(&bytes).expect("what we encode is complete");
            assert_eq!(again.encode_to_vec(), bytes);
        }
        Err(error) => assert!(error.to_string().contains(&M::full_name())),
    }
}

macro_rules! all_stable {
    ($data:ident: $($message:ty),* $(,)?) => { $(stable::<$message>($data);)* };
}

fuzz_target!(|data: &[u8]| {
    for name in NAMES.iter() {
        let checked = check_required(name, data);
        for decoded in [
            FromMaster::decode(name, data).map(|message| message.name()),
            FromAuthenticator::decode(name, data).map(|message| message.name()),
        ] {
            match decoded {
                Ok(short) => assert!(checked.is_ok() && name.ends_with(short)),
                Err(error) => assert!(error.to_string().contains(name)),
            }
        }
    }
    all_stable!(data:
        container::FromChild, container::Spec, container::ToChild, container::VmState,
        internal::AuthenticationMechanismsMessage, internal::AuthenticationStepMessage,
        internal::CheckpointResourcesMessage, internal::ExecutorToFrameworkMessage, internal::FrameworkToExecutorMessage,
        internal::KillTaskMessage, internal::RegisterExecutorMessage, internal::RegisterSlaveMessage,
        internal::ReregisterExecutorMessage, internal::ReregisterSlaveMessage, internal::RunTaskGroupMessage,
        internal::RunTaskMessage, internal::ShutdownExecutorMessage, internal::SlaveRegisteredMessage,
        internal::SlaveReregisteredMessage, internal::StatusUpdateMessage, internal::StatusUpdateAcknowledgementMessage,
        internal::UpdateFrameworkMessage, internal::UpdateSlaveMessage, mesos::MasterInfo,
    );
});
