//! As `src/flags/mod.rs`, open and only what is fuzzed.

#[path = "../../src/flags/master.rs"]
pub mod master;
#[path = "../../src/flags/values.rs"]
pub mod values;
#[path = "../../src/flags/zookeeper.rs"]
pub mod zookeeper;

pub use master::Master;
pub use zookeeper::ZooKeeper;
