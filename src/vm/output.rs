//! The command's output, brought to the host while it is written: one [`Follower`] per file, a `tail -f` over ssh whose bytes are
//! appended to the file of the same name in the host's sandbox.
//!
//! ```text
//! Waiting ──▶ Following ──▶ Ended         the connection breaks: back to Waiting, and on at the host file's length
//!    ▲ │          │ the command has ended and nothing comes any more
//!    └─┼──────────┘
//!      └────▶ Fetching ──▶ Ended          what is missing of the final size, by a tail that does not follow
//! ```

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::poll::{Backoff, Interest, PollSet};
use crate::subprocess::{Exit, Spawn, Subprocess, set_nonblocking};

use super::quote::quote;

/// Most bytes taken in one turn, so that a chatty guest leaves the loop time for its other work.
const TURN: u64 = 1024 * 1024;
/// A tail that follows has this long to bring more once the command has ended; then the rest is fetched. Enough for a
/// tail that is told of changes; one that looks each second (busybox) is not waited for.
const QUIET: Duration = Duration::from_millis(150);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// What part of the guest's file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// From this byte on, and what will be written.
    Follow {
        /// Bytes to leave out.
        from: u64,
    },
    /// From this byte, so many bytes.
    Fetch {
        /// Bytes to leave out.
        from: u64,
        /// Bytes wanted.
        count: u64,
    },
}

/// The remote script for a part of a guest's file. A symlink or a FIFO that the command puts there is not read.
pub fn remote_script(guest_file: &str, part: Part) -> String {
    let file = quote(guest_file);
    let check = format!("[ -f {file} ] && [ ! -L {file} ] || exit 1");
    match part {
        Part::Follow { from } => format!("{check}; exec tail -c +{} -f {file}", from + 1),
        Part::Fetch { from, count } => {
            format!("{check}; tail -c +{} {file} | head -c {count}", from + 1)
        }
    }
}

/// How following a file ended.
#[derive(Debug)]
pub enum FollowEnd {
    /// All of the file is on the host.
    Complete,
    /// The guest's file is shorter than it was said to be: the command truncated or replaced it.
    Short,
    /// The file is longer than its limit; its beginning is on the host, with a line that says so.
    Limit,
    /// The host's file cannot be written (its disk is full, for one).
    Failed(io::Error),
    /// [`Follower::stop`] was called.
    Stopped,
}

impl FollowEnd {
    /// Something that the command wrote is not on the host.
    pub fn is_loss(&self) -> bool {
        match self {
            FollowEnd::Limit | FollowEnd::Failed(_) => true,
            FollowEnd::Complete | FollowEnd::Short | FollowEnd::Stopped => false,
        }
    }
}

impl fmt::Display for FollowEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FollowEnd::Complete => write!(f, "complete"),
            FollowEnd::Short => {
                write!(f, "the command shortened or replaced the file while it ran")
            }
            FollowEnd::Limit => write!(f, "longer than its limit; the rest was not kept"),
            FollowEnd::Failed(error) => {
                write!(f, "cannot be written on the host: {error}; is the disk of --work_dir full?")
            }
            FollowEnd::Stopped => write!(f, "not followed to its end"),
        }
    }
}

#[derive(Debug)]
enum State {
    Waiting { until: Instant },
    Following(Tail),
    Fetching(Tail),
    Ended(FollowEnd),
}

#[derive(Debug)]
struct Tail {
    process: Subprocess,
    stdout: Option<ChildStdout>,
}

/// Makes the command that brings a part of the file on its standard output.
type Fetch = Box<dyn Fn(Part) -> Spawn>;

/// One followed file.
pub struct Follower {
    name: String,
    file: File,
    length: u64,
    limit: u64,
    fetch: Fetch,
    state: State,
    target: Option<u64>,
    quiet_since: Instant,
    backoff: Backoff,
    buffer: Vec<u8>,
}

impl Follower {
    /// Follows into `<sandbox>/<name>`, which is made if it is not there (0644, `owner` if given), and goes on at its length.
    ///
    /// # Errors
    /// When the host's file cannot be opened for appending; `ELOOP` when it is a symlink.
    pub fn open(
        sandbox: &Path,
        name: &str,
        owner: Option<(u32, u32)>,
        limit: u64,
        fetch: impl Fn(Part) -> Spawn + 'static,
        now: Instant,
    ) -> io::Result<Follower> {
        let path: PathBuf = sandbox.join(name);
        // O_NONBLOCK: a FIFO under this name must not hold us up; on a regular file it means nothing.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other(format!("{name} in the sandbox is not a regular file")));
        }
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        let length = metadata.len();
        let state = if length >= limit { State::Ended(FollowEnd::Limit) } else { State::Waiting { until: now } };
        let backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let (name, fetch, buffer) = (name.to_string(), Box::new(fetch), vec![0; 64 * 1024]);
        Ok(Follower { name, file, length, limit, fetch, state, target: None, quiet_since: now, backoff, buffer })
    }

    /// The command has ended and its file has this final size: what is missing is brought, and then it is over.
    pub fn finish(&mut self, size: u64, now: Instant) {
        self.target = Some(size);
        self.quiet_since = now;
        self.backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        if let State::Waiting { until } = &mut self.state {
            *until = now;
        }
    }

    /// Gives up: nothing more is brought.
    pub fn stop(&mut self) {
        if !matches!(self.state, State::Ended(_)) {
            self.end(FollowEnd::Stopped);
        }
    }

    /// Waits in the set for bytes, or for the end of its tail.
    pub fn register(&self, set: &mut PollSet) {
        match &self.state {
            State::Following(tail) | State::Fetching(tail) => match &tail.stdout {
                Some(stdout) => set.add(stdout.as_raw_fd(), Interest::Read),
                None => tail.process.register(set),
            },
            State::Waiting { .. } | State::Ended(_) => {}
        }
    }

    /// When [`Follower::turn`] must be called even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until } => Some(*until),
            State::Following(_) => self.target.map(|_| self.quiet_since + QUIET),
            State::Fetching(_) | State::Ended(_) => None,
        }
    }

    /// Goes on; how it ended, once it has. Never blocks but for the host's disk.
    pub fn turn(&mut self, now: Instant) -> Option<&FollowEnd> {
        if let Err(end) = self.advance(now) {
            self.end(end);
        }
        match &self.state {
            State::Ended(end) => Some(end),
            State::Waiting { .. } | State::Following(_) | State::Fetching(_) => None,
        }
    }

    fn advance(&mut self, now: Instant) -> Result<(), FollowEnd> {
        if matches!(self.state, State::Ended(_)) {
            return Ok(());
        }
        self.read(now)?;
        if self.target.is_some_and(|target| self.length >= target) {
            return Err(FollowEnd::Complete);
        }
        match &mut self.state {
            State::Waiting { until } if now >= *until => self.begin(now),
            State::Following(tail) => {
                if tail.exit().is_some() {
                    self.retry(now);
                } else if self.target.is_some() && now >= self.quiet_since + QUIET {
                    tail.kill();
                    self.begin(now);
                }
            }
            State::Fetching(tail) => match tail.exit() {
                Some(Exit::Status(0)) => return Err(FollowEnd::Short),
                Some(Exit::Status(_) | Exit::Signal(_)) => self.retry(now),
                None => {}
            },
            State::Waiting { .. } | State::Ended(_) => {}
        }
        Ok(())
    }

    /// Starts a tail at the host file's length.
    fn begin(&mut self, now: Instant) {
        let from = self.length;
        let part = match self.target {
            None => Part::Follow { from },
            Some(target) => Part::Fetch { from, count: target.saturating_sub(from) },
        };
        self.state = match (Tail::start((self.fetch)(part)), part) {
            (Ok(tail), Part::Follow { .. }) => State::Following(tail),
            (Ok(tail), Part::Fetch { .. }) => State::Fetching(tail),
            (Err(_), _) => State::Waiting { until: now + self.backoff.next_wait() }, // no process or descriptor is free: later
        };
    }

    fn retry(&mut self, now: Instant) {
        self.state = State::Waiting { until: now + self.backoff.next_wait() };
    }

    /// Takes what has come.
    fn read(&mut self, now: Instant) -> Result<(), FollowEnd> {
        let (State::Following(tail) | State::Fetching(tail)) = &mut self.state else {
            return Ok(());
        };
        let mut taken = 0;
        while let Some(stdout) = &mut tail.stdout
            && taken < TURN
        {
            match stdout.read(&mut self.buffer) {
                Ok(0) => tail.stdout = None,
                Ok(count) => {
                    taken += count as u64;
                    let room = usize::try_from(self.limit.saturating_sub(self.length)).unwrap_or(usize::MAX);
                    append(&mut self.file, &mut self.length, &self.buffer[..count.min(room)])
                        .map_err(FollowEnd::Failed)?;
                    if count > room {
                        let note =
                            format!("\n[{} is longer than {} bytes; the rest was not kept]\n", self.name, self.limit);
                        append(&mut self.file, &mut self.length, note.as_bytes()).map_err(FollowEnd::Failed)?;
                        return Err(FollowEnd::Limit);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => tail.stdout = None,
            }
        }
        if taken > 0 {
            self.quiet_since = now;
            self.backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        }
        Ok(())
    }

    fn end(&mut self, end: FollowEnd) {
        if let State::Following(tail) | State::Fetching(tail) = &mut self.state {
            tail.kill();
        }
        self.state = State::Ended(end);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Appends all of it, and counts what was appended even when the disk is full half-way.
fn append(file: &mut File, length: &mut u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                *length += count as u64;
                bytes = &bytes[count..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Tail {
    fn start(spawn: Spawn) -> io::Result<Tail> {
        let piped = |command: &mut std::process::Command| {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        };
        let mut process = spawn.with(piped).session().die_with_parent().spawn()?;
        let stdout = process.stdout.take();
        if let Some(stdout) = &stdout {
            set_nonblocking(stdout)?;
        }
        Ok(Tail { process, stdout })
    }

    /// Its end, once all that it wrote is read.
    fn exit(&mut self) -> Option<Exit> {
        if self.stdout.is_some() { None } else { self.process.try_wait() }
    }

    /// Ends and reaps it. A killed process ends at once; the wait is bounded all the same.
    fn kill(&mut self) {
        if self.process.try_wait().is_some() {
            return;
        }
        self.process.signal(Signal::SIGKILL);
        let mut set = PollSet::new();
        self.process.register(&mut set);
        let _ = set.wait(Some(Instant::now() + Duration::from_secs(1)));
        self.process.try_wait();
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
