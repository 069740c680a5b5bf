//! As `src/detector/mod.rs`, open and only what is fuzzed.

#[path = "../../src/detector/election.rs"]
pub mod election;
#[path = "../../src/detector/session.rs"]
pub mod session;
#[path = "../../src/detector/wire.rs"]
pub mod wire;
