//! As `src/checks/mod.rs`, only what the slave's core needs of it.

pub mod http;
pub mod probe;
pub mod validate;

pub use probe::{Probe, Target, Which, curl, probe, timeout};
