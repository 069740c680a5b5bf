//! The processes of this machine as `/proc` shows them, and signals that cannot hit the wrong one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::subprocess::{pidfd_open, pidfd_signal};

/// What `/proc/<pid>/stat` says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its session.
    pub session: i32,
    /// It has ended and waits to be reaped.
    pub zombie: bool,
    /// When it started, in clock ticks since the host's boot: with the id, its name for ever.
    pub start_time: u64,
}

impl Process {
    /// The process of this id.
    pub fn read(pid: i32) -> Option<Process> {
        parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Signals this very process, and not another one that has got its id since.
    ///
    /// # Errors
    /// `ESRCH` when it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid))?;
        // From here on the descriptor names one process: that it is ours can be looked up in peace.
        match Process::read(self.pid) {
            Some(now) if now.start_time == self.start_time => pidfd_signal(&pidfd, signal),
            _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

/// A process and what it has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Who it is.
    pub process: Process,
    /// CPU time in user mode, a guest's included, in clock ticks: its own and that of its children that are gone.
    pub user_ticks: u64,
    /// CPU time in the kernel, likewise.
    pub system_ticks: u64,
    /// Memory that it has in RAM, in pages.
    pub resident_pages: u64,
}

impl Account {
    /// The process of this id.
    pub fn read(pid: i32) -> Option<Account> {
        account(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// The ids of all processes.
pub fn ids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// All processes.
pub fn all() -> Vec<Process> {
    ids().filter_map(Process::read).collect()
}

/// Whether a process runs as this user: any user can give a process of his whatever arguments he likes.
pub fn is_of_user(pid: i32, uid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|metadata| metadata.uid() == uid)
}

/// A `/proc/<pid>/stat` line; the name in it may hold anything, a `)` too.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, parent, session, zombie, start_time })
}

/// The same line, with what else is in it: `utime stime cutime cstime` are its fields 14 to 17, `rss` is 24.
fn account(pid: i32, stat: &str) -> Option<Account> {
    let process = parse(pid, stat)?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (user, system, children_user, children_system) = (next()?, next()?, next()?, next()?);
    let resident_pages = fields.nth(6)?.parse().ok()?;
    let (user_ticks, system_ticks) = (user.saturating_add(children_user), system.saturating_add(children_system));
    Some(Account { process, user_ticks, system_ticks, resident_pages })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subprocess::{Exit, Spawn};

    #[test]
    fn a_name_with_parentheses_does_not_mislead() {
        let stat = "7 (a) S 9 9 9) Z 1 2 33 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1000 200";
        let found = Process { pid: 7, parent: 1, session: 33, zombie: true, start_time: 987_654 };
        assert_eq!(parse(7, stat), Some(found));
        assert_eq!(parse(7, "7 (sh) S 1"), None);
    }

    #[test]
    fn what_a_process_has_used_is_its_own_and_its_childrens() {
        let stat = "7 (a) S 1 2 33 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 3 0 987654 1000 200 18446744073709551615 1";
        let found = account(7, stat).expect("a line of /proc");
        assert_eq!((found.user_ticks, found.system_ticks, found.resident_pages), (57, 68, 200));
        assert_eq!(found.process.start_time, 987_654);
        assert_eq!(account(7, "7 (a) S 1 2 33 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 3 0 987654 1000"), None);
    }

    #[test]
    fn a_process_that_has_got_the_id_of_another_is_not_signalled() {
        let mut child = Spawn::new("/bin/sleep").arg("600").spawn().expect("spawn");
        let process = Process::read(child.pid().as_raw()).expect("stat");
        let earlier = Process { start_time: process.start_time.wrapping_sub(1), ..process };
        assert!(earlier.signal(Signal::SIGKILL).is_err());
        assert_eq!(child.try_wait(), None);
        process.signal(Signal::SIGTERM).expect("signal");
        let exit = loop {
            match child.try_wait() {
                Some(exit) => break exit,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(exit, Exit::Signal(15));
    }
}
