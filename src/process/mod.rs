//! `mesos-slave process-container DIR`: a container without a VM. The child runs its command task as a process of the host, in the
//! child's own session, and reports as the VM's child does.
//!
//! ```text
//! TASK_STARTING ─▶ Fetching ─▶ start ─▶ TASK_RUNNING ─▶ Running ──────────────▶ Reporting ─▶ DIR/done
//!                  (URIs)  │     │ no such user, …         │ kill, slave gone      ▲
//!                          │     │                         ▼                      │
//!                          │     │                      Stopping (TERM, KILL) ────┤
//!                          └─────┴──────── TASK_FAILED ───────────────────────────┘
//! ```
//!
//! The terminal update is sent when nothing of the command is left. A container that holds tasks (`Spec.holds_tasks`) runs nothing, and ends
//! when it is told to; a task that joins it is a container as any other, with a sandbox below the holder's.

mod checks;
mod child;
pub mod start;
mod tree;

use std::process::ExitCode;
use std::time::Instant;

use crate::container::directory::RuntimeDirectory;
use crate::container::server::Channel;

use self::child::Child;

/// `mesos-slave process-container DIR`. What goes wrong before a status can be reported is the last line of the child's log.
pub fn main(arguments: &[String]) -> ExitCode {
    let [directory] = arguments else {
        eprintln!("usage: mesos-slave process-container DIR");
        return ExitCode::FAILURE;
    };
    match run(RuntimeDirectory::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: RuntimeDirectory) -> Result<(), String> {
    crate::logging::to_stderr("process-container", log::LevelFilter::Info);
    let spec = directory.read_spec().map_err(|error| error.to_string())?;
    let channel = Channel::inherited(&spec.container_id, spec.checkpoint(), Instant::now());
    let channel = channel.map_err(|error| error.to_string())?;
    // All that the command leaves becomes a child of ours, and can be found and reaped.
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|error| format!("cannot become the command's reaper: {error}"))?;
    Child::new(directory, spec, channel)?.run()
}

#[cfg(test)]
mod tests;
