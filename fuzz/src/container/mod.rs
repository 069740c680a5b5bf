//! As `src/container/mod.rs`, open and only what is fuzzed.

pub mod frame;
pub mod kill_policy;
