//! As `src/detector/mod.rs`, open and only what is fuzzed.

pub mod election;
pub mod session;
pub mod wire;
