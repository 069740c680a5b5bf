//! What `--isolation=vm` needs of the host, checked in one go at start, so that an operator mends all of it at once and does not
//! learn of it from failing tasks.
//!
//! ```text
//! gather (files, /proc, PATH) ──┐
//! vm-preflight URI NETWORK ─────┼─► Facts ─► decide ─► Report { failures, warnings, accelerator }
//!   (a child: libvirt may hang) ┘
//! ```
//!
//! Each failure and each warning has the command that mends it.

use std::fmt;

use crate::flags::Flags;
use crate::messages::container::vm::Accelerator;

mod access;
mod decide;
mod facts;
mod firewall;
mod gather;
mod kvm;
mod probe;
mod routes;
#[cfg(test)]
mod tests;

pub use probe::main;

/// Something that the host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What cannot be done, and why: `cannot run ssh: it is not on the PATH`.
    pub what: String,
    /// The command that mends it.
    pub mend: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    mend: {}", self.what, self.mend)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// With any of these no VM will run.
    pub failures: Vec<Finding>,
    /// VMs will run, though not as well as they could, or perhaps not all of them.
    pub warnings: Vec<Finding>,
    /// What `--vm_accelerator` comes to on this host.
    pub accelerator: Accelerator,
}

impl Report {
    /// Whether VMs can run.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }
}

/// The failures, a block for each.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks: Vec<_> = self.failures.iter().map(Finding::to_string).collect();
        f.write_str(&blocks.join("\n"))
    }
}

/// Checks the host. It blocks for as long as libvirt takes to answer, at most [`gather::PATIENCE`] or, when QEMU's probing is known to
/// be slow here, [`gather::LONG_PATIENCE`].
pub fn check(flags: &Flags) -> Report {
    decide::decide(&gather::gather(flags))
}
