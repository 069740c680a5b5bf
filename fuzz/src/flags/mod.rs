//! As `src/flags/mod.rs`, open and only what is fuzzed.

pub mod master;
pub mod values;
pub mod zookeeper;

pub use master::Master;
pub use zookeeper::ZooKeeper;
