//! End-to-end tests: the real binary, real libvirt, real guests. `scripts/test` runs them; see `support` for what they stand on.

mod checks;
mod connection;
mod executors;
mod failures;
mod files;
mod guests;
mod hostile;
mod kill;
mod libvirtd;
#[path = "../../src/loopback.rs"]
mod loopback;
mod output;
mod scheduler;
mod support;
mod whole_path;
mod zookeeper;
