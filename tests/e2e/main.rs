//! End-to-end tests: the real binary, real libvirt, real guests. `scripts/test` runs them; see `support` for what they stand on.

mod failures;
mod hostile;
mod kill;
mod output;
mod scheduler;
mod support;
mod whole_path;
mod zookeeper;
