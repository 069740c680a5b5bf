//! As `src/container/mod.rs`, open and only what is fuzzed.

#[path = "../../src/container/frame.rs"]
pub mod frame;
