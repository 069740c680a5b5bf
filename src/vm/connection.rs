//! The one ssh connection to a guest: a foreground `ssh -M`, whose life is the connection's life. Its own session may carry one script,
//! with its input, before it only waits:
//!
//! ```text
//! guest ──► ready <boot id>            the connection works
//!       ──► …                          what the script prints
//!       ──► ended <status>             the script has ended
//! ```

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;

use super::ssh::{Ssh, SshError, parse_ready};
use crate::poll::{Interest, PollSet};
use crate::subprocess::{Exit, JobEnd, Subprocess, drain, set_nonblocking};

/// How much of what ssh prints is kept, in bytes.
const OUTPUT_LIMIT: usize = 16 * 1024;

/// What the connection has to tell.
#[derive(Debug)]
pub enum News {
    /// It works.
    Connected {
        /// Of the guest's kernel.
        boot_id: String,
    },
    /// The script has ended.
    Ran(JobEnd),
    /// It has ended, or could not be made.
    Ended(SshError),
}

/// What the connection's own session is to run, and the input of that.
#[derive(Debug)]
pub struct Script {
    /// For the guest's `/bin/sh`.
    pub text: String,
    /// It must take exactly so many bytes: there is no end of the input.
    pub input: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Connecting,
    Running,
    Waiting,
}

/// The connection.
#[derive(Debug)]
pub struct Master {
    ssh: Ssh,
    process: Subprocess,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    input: Vec<u8>,
    has_script: bool,
    /// Ours until ssh has taken it.
    connection: Option<TcpStream>,
    progress: Progress,
}

impl Master {
    /// Begins to connect, or to use a connection that there is.
    ///
    /// # Errors
    /// When ssh cannot be started.
    pub fn connect(ssh: &Ssh, script: Option<Script>, connection: Option<TcpStream>) -> io::Result<Master> {
        // One that was killed leaves its socket, and ssh would not make another in its place.
        match std::fs::remove_file(&ssh.control_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let text = script.as_ref().map(|script| script.text.as_str());
        let process = ssh.master(text, connection.as_ref()).session().die_with_parent().spawn()?;
        if let Some(pipe) = &process.stdin {
            set_nonblocking(pipe)?;
        }
        if let Some(pipe) = &process.stdout {
            set_nonblocking(pipe)?;
        }
        if let Some(pipe) = &process.stderr {
            set_nonblocking(pipe)?;
        }
        let has_script = script.is_some();
        let input = script.map(|script| script.input).unwrap_or_default();
        let (ssh, stdout, stderr) = (ssh.clone(), Vec::new(), Vec::new());
        Ok(Master { ssh, process, stdout, stderr, input, has_script, connection, progress: Progress::Connecting })
    }

    /// Waits for what it prints, for room for its input, and for its end.
    pub fn register(&self, set: &mut PollSet) {
        self.process.register(set);
        if let (Some(pipe), false) = (&self.process.stdin, self.input.is_empty()) {
            set.add(pipe.as_raw_fd(), Interest::Write);
        }
        if let Some(pipe) = &self.process.stdout {
            set.add(pipe.as_raw_fd(), Interest::Read);
        }
        if let Some(pipe) = &self.process.stderr {
            set.add(pipe.as_raw_fd(), Interest::Read);
        }
    }

    /// Takes what has come. After an `Ended` it is to be dropped.
    pub fn turn(&mut self) -> Option<News> {
        let exit = self.process.try_wait();
        self.write();
        drain(&mut self.process.stdout, &mut self.stdout, OUTPUT_LIMIT);
        drain(&mut self.process.stderr, &mut self.stderr, OUTPUT_LIMIT);
        if exit.is_some() {
            let text = String::from_utf8_lossy(&self.stderr).into_owned();
            let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
            let last = last.unwrap_or("ssh ended without a word").to_string();
            return Some(News::Ended(self.ssh.classify(&text, last)));
        }
        match self.progress {
            Progress::Connecting => {
                let boot_id = self.line(|line| parse_ready(line).map(str::to_string))?;
                self.connection = None;
                self.progress = if self.has_script { Progress::Running } else { Progress::Waiting };
                Some(News::Connected { boot_id })
            }
            Progress::Running => {
                let status = self.line(|line| line.strip_prefix("ended ")?.trim_end().parse().ok())?;
                self.progress = Progress::Waiting;
                let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
                Some(News::Ran(JobEnd { exit: Some(Exit::Status(status)), stdout, stderr }))
            }
            Progress::Waiting => None,
        }
    }

    /// The first whole line that is understood.
    fn line<T>(&self, understand: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = String::from_utf8_lossy(&self.stdout);
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).find_map(understand)
    }

    /// Gives the script its input, as far as there is room.
    fn write(&mut self) {
        while let (Some(pipe), false) = (&mut self.process.stdin, self.input.is_empty()) {
            match pipe.write(&self.input) {
                Ok(count) => {
                    self.input.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // ssh has ended, which is told where it is seen.
                Err(_) => self.input.clear(),
            }
        }
    }
}

impl Drop for Master {
    /// Ends the connection, and everything in it. It dies at once, and is reaped with us at the latest.
    fn drop(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.try_wait();
    }
}
