//! The one ssh connection to a guest: a foreground `ssh -M`, whose life is the connection's life.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;

use super::ssh::{Ssh, SshError, parse_ready};
use crate::poll::{Interest, PollSet};
use crate::subprocess::{Subprocess, drain, set_nonblocking};

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
    /// It has ended, or could not be made.
    Ended(SshError),
}

/// The connection.
#[derive(Debug)]
pub struct Master {
    ssh: Ssh,
    process: Subprocess,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    told: bool,
}

impl Master {
    /// Begins to connect.
    ///
    /// # Errors
    /// When ssh cannot be started.
    pub fn connect(ssh: &Ssh) -> io::Result<Master> {
        // One that was killed leaves its socket, and ssh would not make another in its place.
        match std::fs::remove_file(&ssh.control_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let process = ssh.master().session().die_with_parent().spawn()?;
        if let Some(pipe) = &process.stdout {
            set_nonblocking(pipe)?;
        }
        if let Some(pipe) = &process.stderr {
            set_nonblocking(pipe)?;
        }
        Ok(Master { ssh: ssh.clone(), process, stdout: Vec::new(), stderr: Vec::new(), told: false })
    }

    /// Waits for what it prints, and for its end.
    pub fn register(&self, set: &mut PollSet) {
        self.process.register(set);
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
        drain(&mut self.process.stdout, &mut self.stdout, OUTPUT_LIMIT);
        drain(&mut self.process.stderr, &mut self.stderr, OUTPUT_LIMIT);
        if exit.is_some() {
            let text = String::from_utf8_lossy(&self.stderr).into_owned();
            let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
            let last = last.unwrap_or("ssh ended without a word").to_string();
            return Some(News::Ended(self.ssh.classify(&text, last)));
        }
        let boot_id = self.ready().filter(|_| !self.told)?;
        self.told = true;
        Some(News::Connected { boot_id })
    }

    fn ready(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stdout);
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).find_map(parse_ready).map(str::to_string)
    }
}

impl Drop for Master {
    /// Ends the connection, and everything in it. It dies at once, and is reaped with us at the latest.
    fn drop(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.try_wait();
    }
}
