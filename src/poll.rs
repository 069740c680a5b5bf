//! The one blocking call: `poll(2)` over a set of descriptors that is rebuilt each turn, bounded by the next deadline; and
//! signals as one of those descriptors.
//!
//! ```text
//! loop {
//!     set.clear();
//!     signals.register(&mut set); network.register(&mut set); ...
//!     set.wait(next_deadline)?;
//!     if set.is_readable(signals.fd()) { ... }
//! }
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What is awaited of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, a connection, or the end of the stream.
    Read,
    /// Room for bytes, or a connect that has ended.
    Write,
    /// Either.
    Both,
}

impl Interest {
    fn flags(self) -> PollFlags {
        match self {
            Interest::Read => PollFlags::POLLIN,
            Interest::Write => PollFlags::POLLOUT,
            Interest::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
        }
    }
}

/// Descriptors to wait for and, after [`PollSet::wait`], what became of each.
#[derive(Debug, Default)]
pub struct PollSet {
    entries: Vec<Entry>,
}

/// A descriptor, what is awaited of it, and what became of it.
type Entry = (RawFd, PollFlags, PollFlags);

impl PollSet {
    /// An empty set.
    pub fn new() -> PollSet {
        PollSet::default()
    }

    /// Forgets all descriptors; the memory is kept for the next turn.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a descriptor. It must stay open until the wait is over; a closed one is reported as ready, never waited for.
    pub fn add(&mut self, fd: RawFd, interest: Interest) {
        self.entries.push((fd, interest.flags(), PollFlags::empty()));
    }

    /// Waits until a descriptor is ready or the deadline has come. A signal's interruption is a return with nothing ready.
    ///
    /// # Errors
    /// What `poll(2)` gives, except `EINTR`.
    #[allow(unsafe_code)]
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let mut fds: Vec<PollFd> = self
            .entries
            .iter()
            .map(|(fd, interest, _)| {
                // SAFETY: the borrow lives for this call only, and poll(2) answers a closed descriptor with POLLNVAL.
                PollFd::new(unsafe { BorrowedFd::borrow_raw(*fd) }, *interest)
            })
            .collect();
        match poll(&mut fds, timeout(deadline, Instant::now())) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let results: Vec<PollFlags> = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        for (entry, result) in self.entries.iter_mut().zip(results) {
            entry.2 = result;
        }
        self.entries.sort_unstable_by_key(|entry| entry.0);
        Ok(())
    }

    /// What became of a descriptor, by binary search: after a wait the entries are sorted. One that was opened after the wait
    /// may have the number of one that was closed since, so "ready" may be wrong: reads do not block, ends are asked for.
    fn result(&self, fd: RawFd) -> PollFlags {
        let first = self.entries.partition_point(|entry| entry.0 < fd);
        self.entries[first..]
            .iter()
            .take_while(|entry| entry.0 == fd)
            .fold(PollFlags::empty(), |all, entry| all | entry.2)
    }

    /// A read will not block: there are bytes, or the end, or an error to be had.
    pub fn is_readable(&self, fd: RawFd) -> bool {
        self.result(fd).intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
    }

    /// A write will not block: there is room, or an error to be had.
    pub fn is_writable(&self, fd: RawFd) -> bool {
        self.result(fd).intersects(PollFlags::POLLOUT | PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
    }
}

/// Milliseconds until the deadline, rounded up so that the loop does not spin in its last millisecond.
fn timeout(deadline: Option<Instant>, now: Instant) -> PollTimeout {
    let Some(deadline) = deadline else {
        return PollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(now);
    let millis = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

/// The earlier of two deadlines, either of which may be missing.
pub fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// Signals, blocked for the process and read from a descriptor. Children get them back unblocked (see `subprocess`).
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals and opens their descriptor.
    ///
    /// # Errors
    /// What `sigprocmask(2)` and `signalfd(2)` give.
    pub fn block(signals: &[Signal]) -> io::Result<Signals> {
        let mut set = SigSet::empty();
        signals.iter().for_each(|signal| set.add(*signal));
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd })
    }

    /// The descriptor, for a [`PollSet`].
    pub fn fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }

    /// The next signal that has come, if any.
    ///
    /// # Errors
    /// What `read(2)` gives.
    pub fn next(&mut self) -> io::Result<Option<Signal>> {
        let Some(info) = self.fd.read_signal()? else {
            return Ok(None);
        };
        Ok(Signal::try_from(info.ssi_signo as i32).ok())
    }
}

/// Doubles a wait from a first value to a limit: `first, 2·first, … limit, limit`.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    /// Starts at `first`, never exceeds `limit`.
    pub fn new(first: Duration, limit: Duration) -> Backoff {
        Backoff { next: first, limit }
    }

    /// The wait now; the next one is twice as long.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.limit);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_the_past_does_not_block() {
        let now = Instant::now();
        assert_eq!(timeout(Some(now), now + Duration::from_secs(1)), PollTimeout::ZERO);
    }

    #[test]
    fn a_part_of_a_millisecond_is_waited_out() {
        let now = Instant::now();
        assert_eq!(timeout(Some(now + Duration::from_micros(1)), now), PollTimeout::from(1u8));
    }

    #[test]
    fn a_closed_peer_is_readable() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("socketpair");
        drop(theirs);
        let mut set = PollSet::new();
        set.add(ours.as_raw_fd(), Interest::Read);
        set.wait(None).expect("poll");
        assert!(set.is_readable(ours.as_raw_fd()));
    }

    #[test]
    fn a_backoff_doubles_to_its_limit() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
        let waits: Vec<u64> = (0..4).map(|_| backoff.next_wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 3, 3]);
    }
}
