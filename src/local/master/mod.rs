//! The embedded master: a Mesos master for one machine and for tests.
//!
//! It speaks Mesos' protocol, to slaves by libprocess messages, to schedulers by the v1 scheduler API, as a master of version 1.11
//! does. It is a process of its own and keeps nothing on disk. What it is not: there is one of it, so there is no high
//! availability; everybody who reaches its port may use it, so there is no authentication; and there is one rule of who is offered
//! what (see `offers`), so there is no fair sharing.
//!
//! ```text
//!   slave ───── libprocess ──┐                ┌── core ─── slaves, frameworks, offers, tasks
//!                            ├─ shell ─ event ┤
//!   scheduler ─ HTTP ────────┘    ▲           └── actions
//!                                 └───────────────── │
//! ```

mod accounts;
mod calls;
pub mod core;
mod events;
mod frameworks;
mod offers;
mod slaves;
mod tasks;
mod validate;

#[cfg(test)]
mod tests;

/// The version of Mesos whose behaviour this master has.
pub const VERSION: &str = "1.11.0";

/// What a Mesos master writes for the pid of a framework that has none, since it came by HTTP.
const NO_PID: &str = "@0.0.0.0:0";
