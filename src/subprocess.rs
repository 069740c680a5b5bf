//! Child processes: how they are started, watched through a pidfd, ended and reaped. Every child of every process of ours
//! goes through this room, and so every descriptor, signal mask and session is decided here.
//!
//! A [`Subprocess`] is a child that the caller talks with; a [`Job`] is one that runs to its end or its deadline and leaves an exit
//! status and what it printed.
#![allow(unsafe_code)]

mod job;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, pthread_sigmask};
use nix::unistd::{Pid, setsid};

pub use job::{Job, JobEnd};

use crate::poll::{Interest, PollSet};

/// A child to be: a command and what it is to inherit.
#[derive(Debug)]
pub struct Spawn {
    command: Command,
    session: bool,
    die_with_parent: bool,
    inherited: Option<(OwnedFd, RawFd)>,
}

impl Spawn {
    /// A child with no input and no output, in our session, that outlives us.
    pub fn new(program: impl AsRef<OsStr>) -> Spawn {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Spawn { command, session: false, die_with_parent: false, inherited: None }
    }

    /// This very binary again, by the running image (an upgrade on disk does not matter), with a hidden subcommand.
    pub fn ourselves(subcommand: &str) -> Spawn {
        let mut spawn = Spawn::new("/proc/self/exe");
        spawn.command.arg0("mesos-slave").arg(subcommand);
        spawn
    }

    /// Wraps a command that was made elsewhere; its own settings of the streams hold.
    pub fn command(command: Command) -> Spawn {
        Spawn { command, session: false, die_with_parent: false, inherited: None }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Spawn {
        self.command.arg(arg);
        self
    }

    /// Gives the child a session, and so a process group, of its own.
    pub fn session(mut self) -> Spawn {
        self.session = true;
        self
    }

    /// The kernel kills the child (`SIGKILL`) when the thread that started it ends.
    pub fn die_with_parent(mut self) -> Spawn {
        self.die_with_parent = true;
        self
    }

    /// The child finds this descriptor under the given number.
    pub fn inherit(mut self, fd: OwnedFd, number: RawFd) -> Spawn {
        self.inherited = Some((fd, number));
        self
    }

    /// Changes the command itself: streams, environment, directory.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Spawn {
        change(&mut self.command);
        self
    }

    /// Starts the child.
    ///
    /// # Errors
    /// What `fork(2)`, `execve(2)` and `pidfd_open(2)` give.
    pub fn spawn(mut self) -> io::Result<Subprocess> {
        let (session, die_with_parent) = (self.session, self.die_with_parent);
        let inherited = self.inherited.as_ref().map(|(fd, number)| (fd.as_raw_fd(), *number));
        let parent = std::process::id();
        // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated.
        unsafe {
            self.command.pre_exec(move || prepare_child(session, die_with_parent, inherited, parent));
        }
        let mut child = self.command.spawn()?;
        let pid = Pid::from_raw(child.id() as i32);
        let pidfd = match pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        Ok(Subprocess {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            pid,
            pidfd,
            leads_group: session,
            child,
            ended: None,
        })
    }
}

/// Runs in the child, between fork and exec.
fn prepare_child(
    session: bool,
    die_with_parent: bool,
    inherited: Option<(RawFd, RawFd)>,
    parent: u32,
) -> io::Result<()> {
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    if session {
        setsid()?;
    }
    if die_with_parent {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        if nix::unistd::getppid().as_raw() as u32 != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    if let Some((fd, number)) = inherited {
        // SAFETY: plain system calls on descriptors that this process owns.
        let result = unsafe { if fd == number { libc::fcntl(fd, libc::F_SETFD, 0) } else { libc::dup2(fd, number) } };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Opens a descriptor that becomes readable when the process ends.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Signals the process behind a pidfd, and never another that got its number later.
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn pidfd_signal(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    // SAFETY: no pointer is read: siginfo is null, flags are 0.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as i32,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Exit {
    fn from_status(status: ExitStatus) -> Exit {
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Status(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Status(-1),
        }
    }

    /// Exit status 0.
    pub fn is_success(self) -> bool {
        self == Exit::Status(0)
    }

    /// The status as wait(2) gives it, which is how Mesos' messages have it: a signal's number, or an exit status in the second byte.
    pub fn wait_status(self) -> i32 {
        match self {
            Exit::Status(status) => (status & 0xff) << 8,
            Exit::Signal(signal) => signal & 0x7f,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "exit status {status}"),
            Exit::Signal(signal) => write!(f, "signal {}", signal_name(*signal)),
        }
    }
}

/// `SIGKILL` for 9; the number for one without a name.
pub fn signal_name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_string(),
        Err(_) => signal.to_string(),
    }
}

/// A running child. Dropping it neither ends nor reaps it.
#[derive(Debug)]
pub struct Subprocess {
    /// The writing end of its input, when piped: as long as it is held, the input does not end.
    #[allow(dead_code)]
    pub stdin: Option<ChildStdin>,
    /// Its output, when piped.
    pub stdout: Option<ChildStdout>,
    /// Its error output, when piped.
    pub stderr: Option<ChildStderr>,
    pid: Pid,
    pidfd: OwnedFd,
    leads_group: bool,
    child: std::process::Child,
    ended: Option<Exit>,
}

impl Subprocess {
    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when it has ended.
    pub fn fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }

    /// Waits for its end in the set.
    pub fn register(&self, set: &mut PollSet) {
        if self.ended.is_none() {
            set.add(self.fd(), Interest::Read);
        }
    }

    /// Sends a signal, to its whole process group when it leads one. A child that has been reaped is left alone.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_some() {
            return;
        }
        let _ = if self.leads_group {
            killpg(self.pid, signal).or_else(|_| kill(self.pid, signal))
        } else {
            kill(self.pid, signal)
        };
    }

    /// Reaps it if it has ended; never blocks.
    pub fn try_wait(&mut self) -> Option<Exit> {
        if self.ended.is_none() {
            self.ended = match self.child.try_wait() {
                Ok(status) => status.map(Exit::from_status),
                Err(_) => Some(Exit::Status(-1)),
            };
        }
        self.ended
    }

    /// Blocks until it has ended. For programs that have nothing else to do.
    ///
    /// # Errors
    /// What `poll(2)` gives.
    pub fn wait(&mut self) -> io::Result<Exit> {
        let mut set = PollSet::new();
        loop {
            if let Some(exit) = self.try_wait() {
                return Ok(exit);
            }
            set.clear();
            self.register(&mut set);
            set.wait(None)?;
        }
    }
}

/// Makes a descriptor return `WouldBlock` instead of blocking.
///
/// # Errors
/// What `fcntl(2)` gives.
pub fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// How much is read in one turn, in bytes: more than a pipe holds, so that what an ended process left is read at once.
const DRAIN: usize = 1 << 20;

/// Reads what there is, keeps it up to the limit, and forgets the pipe at its end. Who writes faster than we read is left for the next
/// turn: he must not keep the loop from its other work.
pub fn drain<R: Read>(pipe: &mut Option<R>, into: &mut Vec<u8>, limit: usize) {
    let mut buffer = [0u8; 8192];
    let mut taken = 0;
    while let Some(open) = pipe
        && taken < DRAIN
    {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                taken += count;
                let keep = count.min(limit.saturating_sub(into.len()));
                into.extend_from_slice(&buffer[..keep]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => *pipe = None,
        }
    }
}
