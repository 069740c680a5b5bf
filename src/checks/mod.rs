//! What is watched of a command task while it runs: its check, its health check, its `max_completion_time`. With the meaning that they
//! have in Mesos' command executor (`src/launcher/executor.cpp`, `src/checks/`, `docs/health-checks.md` of 1.11.0).
//!
//! ```text
//!   Watch (watch.rs, decides)                Runner (runner.rs, does)                       Place: a guest, or this host
//!     Run { which, by } ────────────────────►  start a process, wait, kill it at `by` ─────► a command, `check-port`, curl
//!     ended(which, outcome) ◄────────────────  Outcome
//!     Tell(TASK_RUNNING, healthy, …)  Kill
//! ```
//!
//! Watch is a part of the VM's life (`vm/life`) and of the child without a VM (`process/child.rs`); the two are also the places.

pub mod http;
pub mod port;
pub mod probe;
pub mod runner;
pub mod validate;
pub mod watch;

pub use probe::{Probe, Target, Which, curl, probe, timeout};
pub use runner::{Place, Runner, understand_port};
pub use watch::{Outcome, Watch};
