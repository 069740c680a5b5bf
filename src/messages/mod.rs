//! Mesos' messages: the structs, their checked decoding, and their JSON.
//!
//! ```text
//! a libprocess body      ── decode ────────► struct ── encode_to_vec ──► a libprocess body
//! v1 API, JSON           ── from_v1_json ──► struct ── to_v1_json ─────► v1 API, JSON
//! v1 API, protobuf bytes ── from_v1_bytes ─► struct ── to_v1_bytes ────► v1 API, protobuf bytes
//! ```
//!
//! The structs are made at build time from `proto/`; a package is a module: `mesos::TaskInfo`,
//! `mesos::internal::RunTaskMessage`, `mesos::scheduler::Call`, `mesos::executor::Event`. The full name of
//! a message, which names it in a libprocess request, is `RunTaskMessage::full_name()` ([`prost::Name`]).
//! There is one struct for the v1 and the unversioned form of a message.

pub use generated::*;

// All of Mesos' messages are here, whether or not we have a use for them yet.
#[allow(missing_docs, dead_code, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}
