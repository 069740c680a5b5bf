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
mod calling;
mod calls;
pub mod core;
mod events;
mod frameworks;
mod launching;
mod losing;
mod offers;
mod reconciling;
mod returning;
mod shell;
mod slaves;
mod state;
mod tasks;
mod validate;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

/// The version of Mesos whose behaviour this master has.
pub const VERSION: &str = "1.11.0";

/// What a Mesos master writes for the pid of a framework that has none, since it came by HTTP.
const NO_PID: &str = "@0.0.0.0:0";

/// Where a Mesos master listens.
pub const DEFAULT_PORT: u16 = 5050;

/// How the embedded master is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen; if the port is taken, a free one is.
    pub address: SocketAddrV4,
    /// End when standard input does: whoever starts the master holds the other end of a pipe, and need not outlive it in good order.
    pub exit_with_parent: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, DEFAULT_PORT), exit_with_parent: false }
    }
}

/// Runs the embedded master until SIGTERM or SIGINT. Its first line on standard output is `listening on IP:PORT`.
pub fn main(options: &Options) -> ExitCode {
    let served = shell::Shell::new(options).and_then(|mut shell| {
        shell.announce()?;
        shell.run()
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("the embedded master cannot run on {}: {error}; check --ip and --port", options.address);
            ExitCode::FAILURE
        }
    }
}
