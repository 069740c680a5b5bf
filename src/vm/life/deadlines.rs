//! How long each part of a life may take; `--vm_boot_timeout` bounds what lies between the start, or that of a task in a VM that is there,
//! and a working connection.

use std::time::Duration;

/// How long the overlay and the keys may take: they are local, and take milliseconds.
pub const PREPARE: Duration = Duration::from_secs(30);
/// How long one libvirt operation may take; it is milliseconds unless libvirtd is stopped, and a second when it probes QEMU.
pub const LIBVIRT: Duration = Duration::from_secs(30);
/// How long a key may be refused before it is believed: a guest may start its sshd before its keys are in place.
pub const REFUSED: Duration = Duration::from_secs(10);
/// How long launching may take.
pub const LAUNCH: Duration = Duration::from_secs(30);
/// How long a lost connection is tried to be made again.
pub const RECONNECT: Duration = Duration::from_secs(120);
/// Of a job that ends when the command does, or when its files are there: what a download or a guest does not bring on ends those.
pub const FOREVER: Duration = Duration::from_secs(10 * 365 * 86400);
/// How long the guest may take to die of KILL before the VM is destroyed under it.
pub const KILL: Duration = Duration::from_secs(5);
/// How long a `start` that was overtaken by a kill may go on: cut short it might still reach libvirt after our `destroy`.
pub const OVERTAKEN: Duration = Duration::from_secs(5);
/// The grace period when the slave is gone.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// How long a VM whose slave is gone stays for the tasks in it, which end by themselves: their grace, KILL, and their files.
pub const ORPHANS: Duration = Duration::from_secs(15);
/// How long output and files may take to come back.
pub const COLLECT: Duration = Duration::from_secs(60);
/// How long output and files may take to come back when the container was killed.
pub const COLLECT_KILLED: Duration = Duration::from_secs(5);
/// How long `destroy` may take. Less than the slave's own slack after a kill, so that QEMU is killed in time without libvirt.
pub const DESTROY: Duration = Duration::from_secs(10);
/// How long the terminal update may wait to be acknowledged.
pub const REPORT: Duration = Duration::from_secs(10);
