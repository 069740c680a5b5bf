//! A child that runs to its end or its deadline, and what it leaves: an exit status and what it printed.

use std::io;
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Exit, Spawn, Subprocess, drain, set_nonblocking};
use crate::poll::{Interest, PollSet};

/// How much of each of a job's output streams is kept, in bytes; the rest is read and thrown away.
pub const JOB_OUTPUT_LIMIT: usize = 64 * 1024;

/// What a job left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEnd {
    /// How it ended; `None`: its deadline came and it was killed.
    pub exit: Option<Exit>,
    /// The first [`JOB_OUTPUT_LIMIT`] bytes of its output.
    pub stdout: Vec<u8>,
    /// The same of its error output.
    pub stderr: Vec<u8>,
}

impl JobEnd {
    /// It ended by itself with status 0.
    pub fn is_success(&self) -> bool {
        self.exit == Some(Exit::Status(0))
    }

    /// Why it failed, in one line: the last line it printed to stderr, or else how it ended.
    pub fn reason(&self) -> String {
        let Some(exit) = self.exit else {
            return "no answer by its deadline".to_string();
        };
        let text = String::from_utf8_lossy(&self.stderr);
        match text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => line.to_string(),
            None => exit.to_string(),
        }
    }
}

/// A child that runs to its end or to its deadline, with its output collected.
#[derive(Debug)]
pub struct Job {
    process: Subprocess,
    deadline: Instant,
    killed: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Job {
    /// Starts it, in a session of its own so that all of it can be killed, and dying with us.
    ///
    /// # Errors
    /// As [`Spawn::spawn`].
    pub fn start(spawn: Spawn, deadline: Instant) -> io::Result<Job> {
        let process = spawn
            .with(|command| {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            })
            .session()
            .die_with_parent()
            .spawn()?;
        if let Some(pipe) = &process.stdout {
            set_nonblocking(pipe)?;
        }
        if let Some(pipe) = &process.stderr {
            set_nonblocking(pipe)?;
        }
        Ok(Job { process, deadline, killed: false, stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Waits for its end and its output in the set.
    pub fn register(&self, set: &mut PollSet) {
        self.process.register(set);
        if let Some(pipe) = &self.process.stdout {
            set.add(pipe.as_raw_fd(), Interest::Read);
        }
        if let Some(pipe) = &self.process.stderr {
            set.add(pipe.as_raw_fd(), Interest::Read);
        }
    }

    /// When it will be killed.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Its process id, which is also its session.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Reads what it printed; kills it past its deadline; gives its end once it has one. Never blocks.
    pub fn turn(&mut self, now: Instant) -> Option<JobEnd> {
        drain(&mut self.process.stdout, &mut self.stdout, JOB_OUTPUT_LIMIT);
        drain(&mut self.process.stderr, &mut self.stderr, JOB_OUTPUT_LIMIT);
        if now >= self.deadline && !self.killed {
            self.killed = true;
            self.process.signal(Signal::SIGKILL);
        }
        let exit = self.process.try_wait()?;
        drain(&mut self.process.stdout, &mut self.stdout, JOB_OUTPUT_LIMIT);
        drain(&mut self.process.stderr, &mut self.stderr, JOB_OUTPUT_LIMIT);
        let exit = if self.killed { None } else { Some(exit) };
        Some(JobEnd { exit, stdout: std::mem::take(&mut self.stdout), stderr: std::mem::take(&mut self.stderr) })
    }

    /// Kills it now; its end still has to be awaited with [`Job::turn`].
    pub fn cancel(&mut self) {
        self.killed = true;
        self.process.signal(Signal::SIGKILL);
    }

    /// Blocks until it has ended. For programs that have nothing else to do.
    ///
    /// # Errors
    /// What `poll(2)` gives.
    pub fn wait(mut self) -> io::Result<JobEnd> {
        let mut set = PollSet::new();
        loop {
            if let Some(end) = self.turn(Instant::now()) {
                return Ok(end);
            }
            set.clear();
            self.register(&mut set);
            set.wait(if self.killed { None } else { Some(self.deadline) })?;
        }
    }
}
