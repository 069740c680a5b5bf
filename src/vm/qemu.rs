//! A domain's QEMU process, found and ended without libvirt's help.
//!
//! A process id by itself proves nothing: it may have been given to another process since. So QEMU is held by a pidfd, and only then is
//! it checked that its arguments name the domain (`guest=<domain>`, which libvirt passes) and, where it is known, that it started when
//! ours did.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::container::processes::{self, Process};
use crate::poll::{Interest, PollSet};
use crate::subprocess::{pidfd_open, pidfd_signal};

/// Where libvirt leaves QEMU's pid; the second for hosts without the link.
const PID_DIRECTORIES: [&str; 2] = ["/run/libvirt/qemu", "/var/run/libvirt/qemu"];

/// A running QEMU.
#[derive(Debug)]
pub struct Qemu {
    /// Its process id.
    pub pid: u32,
    /// When it started: field 22 of `/proc/<pid>/stat`, in clock ticks since the host's boot.
    pub start_time: u64,
    pidfd: OwnedFd,
}

impl Qemu {
    /// The QEMU of a domain: by libvirt's pid file or, when that is missing, by its arguments.
    pub fn find(domain: &str) -> Option<Qemu> {
        let by_file = PID_DIRECTORIES.iter().find_map(|directory| {
            let text = fs::read_to_string(format!("{directory}/{domain}.pid")).ok()?;
            Qemu::open(text.trim().parse().ok()?, domain)
        });
        by_file.or_else(|| processes().find_map(|pid| Qemu::open(pid, domain)))
    }

    /// Every process that is this domain's QEMU by its arguments: one, or none.
    pub fn all(domain: &str) -> Vec<Qemu> {
        processes().filter_map(|pid| Qemu::open(pid, domain)).collect()
    }

    /// The process of this id, if it is the QEMU of this domain.
    pub fn open(pid: u32, domain: &str) -> Option<Qemu> {
        let pidfd = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
        // From here on the pidfd names one process: what is read below is its, or the signal fails.
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let start_time = Process::read(i32::try_from(pid).ok()?)?.start_time;
        let qemu = Qemu { pid, start_time, pidfd };
        if names_guest(&arguments, domain) && qemu.is_running() { Some(qemu) } else { None }
    }

    /// Readable when it has ended.
    pub fn fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }

    /// Whether it has not ended; never blocks.
    pub fn is_running(&self) -> bool {
        let mut set = PollSet::new();
        set.add(self.pidfd.as_raw_fd(), Interest::Read);
        set.wait(Some(Instant::now())).is_ok() && !set.is_readable(self.pidfd.as_raw_fd())
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// What `pidfd_send_signal(2)` gives, or `TimedOut` when it is still there.
    pub fn kill(&self, patience: Duration) -> io::Result<()> {
        match pidfd_signal(&self.pidfd, Signal::SIGKILL) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
            _ => {}
        }
        let end = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut set = PollSet::new();
            set.add(self.pidfd.as_raw_fd(), Interest::Read);
            set.wait(Some(end))?;
        }
        Ok(())
    }
}

fn processes() -> impl Iterator<Item = u32> {
    processes::ids().filter_map(|pid| u32::try_from(pid).ok())
}

/// Whether a process's arguments hold `-name guest=<domain>,…`.
fn names_guest(arguments: &[u8], domain: &str) -> bool {
    let guest = format!("guest={domain}");
    let names = |value: &[u8]| value.split(|byte| *byte == b',').next() == Some(guest.as_bytes());
    let arguments: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
    arguments.windows(2).any(|pair| pair[0] == b"-name" && names(pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subprocess::{Exit, Spawn, Subprocess};

    /// A name that no other run of the tests on this machine has.
    fn domain(number: u32) -> String {
        format!("mesos-qemu-test-{}-{number}", std::process::id())
    }

    /// A process with the arguments of a QEMU, as far as we look.
    fn impostor(guest: &str) -> Subprocess {
        let script = "read line"; // until its stdin ends
        let spawn = Spawn::new("/bin/sh").arg("-c").arg(script).arg("-name").arg(guest);
        spawn
            .with(|command| {
                command.stdin(std::process::Stdio::piped());
            })
            .spawn()
            .expect("spawn")
    }

    fn reap(mut process: Subprocess) -> Exit {
        drop(process.stdin.take());
        let mut set = PollSet::new();
        process.register(&mut set);
        set.wait(None).expect("poll");
        process.try_wait().expect("its end")
    }

    #[test]
    fn qemu_is_known_by_its_guest_and_killed_for_certain() {
        let name = domain(1);
        let process = impostor(&format!("guest={name},debug-threads=on"));
        let pid = process.pid().as_raw() as u32;
        let qemu = Qemu::find(&name).expect("found by its arguments");
        assert_eq!(qemu.pid, pid);
        qemu.kill(Duration::from_secs(30)).expect("kill");
        assert_eq!(reap(process), Exit::Signal(9));
        assert!(qemu.kill(Duration::from_secs(30)).is_ok(), "gone is killed enough");
        assert!(Qemu::find(&name).is_none());
    }

    #[test]
    fn another_process_with_the_pid_is_not_taken_for_qemu() {
        let (own, other) = (domain(22), domain(2));
        let process = impostor(&format!("guest={own},debug-threads=on"));
        let pid = process.pid().as_raw() as u32;
        assert!(Qemu::open(pid, &other).is_none());
        assert!(Qemu::open(std::process::id(), &own).is_none());
        assert_eq!(reap(process), Exit::Status(1), "read meets the end of its input");
    }
}
