//! What a slave and a container's child share: the container's runtime directory, the channel between the two, and how a
//! command task's status is made.
//!
//! ```text
//!   slave                                            child (vm-container DIR, process-container DIR)
//!   isolation::children ── connect ──► DIR/sock ◄── listening socket, inherited as descriptor 3 ── server::Channel
//!                       ToChild   {hello, kill, acknowledge, resources_changed} ──►
//!                       ◄── FromChild {hello, step, update}
//! ```
//!
//! Either side of the channel may be of another version of this binary: fields are only added, and what a side does not
//! know it leaves alone.

pub mod connection;
pub mod directory;
pub mod frame;
pub mod kill_policy;
pub mod processes;
#[cfg(test)]
pub mod scratch;
pub mod server;
pub mod status;
pub mod text;

/// Version of the channel and of the spec; the two sides of a channel refuse each other when it differs.
pub const VERSION: u32 = 1;

/// What is fetched for, and brought back of, a container without a `disk` resource: bytes of its files, and bytes of each output. Mesos has no
/// bound then, but there the task writes to a disk of its own host; here a guest would fill somebody else's.
pub const DEFAULT_DISK: u64 = 10 << 30;

/// The descriptor under which a child finds its listening socket.
pub const CHANNEL_FD: i32 = 3;

impl crate::messages::container::Spec {
    /// What the child runs: the command task's command or, without a task, the executor's own.
    pub fn command(&self) -> Option<&crate::messages::mesos::CommandInfo> {
        let task = self.task.as_ref();
        task.map_or(self.executor.command.as_ref(), |task| task.command.as_ref())
    }

    /// How much the container may have on its disk, in bytes.
    pub fn disk(&self) -> u64 {
        let disks = self.resources.iter().filter(|resource| resource.name == "disk");
        let megabytes: f64 = disks.filter_map(|disk| Some(disk.scalar?.value)).sum();
        if megabytes > 0.0 { (megabytes * 1_048_576.0) as u64 } else { DEFAULT_DISK }
    }
}
