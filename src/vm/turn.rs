//! Taking turns: tasks that join one VM at the same time connect one after the other. All at once they would each have a part of the guest's
//! time, and none be greeted before its patience ends; and sshd sends away who comes as the eleventh (`MaxStartups`).
//!
//! The turn is a lock on a file in the holder's directory. Who waits looks again; a child that dies gives it back.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// How often it is looked whether the turn is free: a small part of a handshake.
const PAUSE: Duration = Duration::from_millis(50);

/// The turn to connect to a guest, given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    /// The guest's.
    pub address: Ipv4Addr,
    /// While it is waited for.
    look_at: Option<Instant>,
    lock: Option<Flock<File>>,
}

impl Turn {
    /// Waits for the turn in the VM of this directory, from now on.
    pub fn wait(vm_files: &Path, address: Ipv4Addr, now: Instant) -> Turn {
        Turn { path: vm_files.join("turn"), address, look_at: Some(now), lock: None }
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// True once: when the turn has come. Where the file cannot be used it has come at once: the guest is all but gone then.
    pub fn comes(&mut self, now: Instant) -> bool {
        if self.look_at.is_none_or(|at| now < at) {
            return false;
        }
        match self.take() {
            Ok(Some(lock)) => self.lock = Some(lock),
            Ok(None) => {
                self.look_at = Some(now + PAUSE);
                return false;
            }
            Err(error) => log::warn!("{}: {error}; no turns are taken", self.path.display()),
        }
        self.look_at = None;
        true
    }

    /// The lock, if nobody has it.
    fn take(&self) -> io::Result<Option<Flock<File>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;

    #[test]
    fn the_turn_comes_to_one_after_the_other_and_once_to_each() {
        let (scratch, now) = (Scratch::new(), Instant::now());
        let turn = || Turn::wait(scratch.path(), Ipv4Addr::LOCALHOST, now);
        let (mut first, mut second) = (turn(), turn());
        assert!(first.comes(now) && !second.comes(now));
        assert_eq!((first.deadline(), second.deadline()), (None, Some(now + PAUSE)));
        assert!(!first.comes(now), "it has come already");
        drop(first);
        assert!(!second.comes(now), "it does not look all the time");
        assert!(second.comes(now + PAUSE));
    }

    #[test]
    fn where_no_turns_can_be_taken_nobody_waits() {
        let now = Instant::now();
        assert!(Turn::wait(Path::new("/nonexistent"), Ipv4Addr::LOCALHOST, now).comes(now));
    }
}
