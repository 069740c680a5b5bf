//! As `src/container/mod.rs`, open and only what is fuzzed.

pub mod frame;
