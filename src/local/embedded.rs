//! The embedded master as seen by the process that started it: `--master=local` and `execute --master=local`.

use std::fmt;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::poll::{Interest, PollSet};
use crate::subprocess::{Exit, Spawn, Subprocess, set_nonblocking};

/// How long a master may take until it listens. It has nothing to wait for.
const START: Duration = Duration::from_secs(10);
/// How long it may take to end once it is told to.
const STOP: Duration = Duration::from_secs(3);
/// Longest first line, in bytes.
const LINE: usize = 128;
/// What the first line says before the address.
const LISTENING: &str = "listening on ";

/// Why there is no embedded master.
#[derive(Debug)]
pub enum EmbeddedError {
    /// Its process could not be started or read from.
    Io(io::Error),
    /// It ended before it listened; its own words are in the log.
    Ended(Exit),
    /// It did not say where it listens.
    Silent,
}

impl fmt::Display for EmbeddedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmbeddedError::Io(source) => write!(f, "cannot start the embedded master: {source}"),
            EmbeddedError::Ended(exit) => {
                write!(f, "the embedded master ended at once ({exit}); see its words above")
            }
            EmbeddedError::Silent => {
                write!(f, "the embedded master did not listen within {} s", START.as_secs())
            }
        }
    }
}

impl std::error::Error for EmbeddedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EmbeddedError::Io(source) => Some(source),
            EmbeddedError::Ended(_) | EmbeddedError::Silent => None,
        }
    }
}

impl From<io::Error> for EmbeddedError {
    fn from(source: io::Error) -> EmbeddedError {
        EmbeddedError::Io(source)
    }
}

/// A master of our own, in a process that does not outlive us.
#[derive(Debug)]
pub struct Embedded {
    process: Subprocess,
    address: SocketAddrV4,
}

impl Embedded {
    /// Starts it on 127.0.0.1 and waits until it listens; when the port is taken it finds another by itself.
    /// `errors` is where its log goes.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(port: u16, errors: Stdio) -> Result<Embedded, EmbeddedError> {
        let mut process = Spawn::ourselves("local-master")
            .arg(format!("--ip={}", Ipv4Addr::LOCALHOST))
            .arg(format!("--port={port}"))
            .with(|command| {
                command.stdout(Stdio::piped()).stderr(errors);
            })
            .session()
            .die_with_parent()
            .spawn()?;
        match first_line(&mut process) {
            Ok(address) => Ok(Embedded { process, address }),
            Err(error) => {
                process.signal(Signal::SIGKILL);
                while process.try_wait().is_none() {
                    wait_for(&process, None)?;
                }
                Err(error)
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Waits for its end in the set.
    pub fn register(&self, set: &mut PollSet) {
        self.process.register(set);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Exit> {
        self.process.try_wait()
    }

    /// Ends it and waits for that.
    pub fn stop(mut self) {
        self.process.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP;
        while self.process.try_wait().is_none() {
            if Instant::now() >= deadline {
                self.process.signal(Signal::SIGKILL);
            }
            let until = (Instant::now() < deadline).then_some(deadline);
            if wait_for(&self.process, until).is_err() {
                return;
            }
        }
    }
}

fn wait_for(process: &Subprocess, until: Option<Instant>) -> io::Result<()> {
    let mut set = PollSet::new();
    process.register(&mut set);
    set.wait(until)
}

fn first_line(process: &mut Subprocess) -> Result<SocketAddrV4, EmbeddedError> {
    let Some(mut pipe) = process.stdout.take() else {
        return Err(EmbeddedError::Silent);
    };
    set_nonblocking(&pipe)?;
    let deadline = Instant::now() + START;
    let mut line = Vec::new();
    let mut set = PollSet::new();
    while !line.contains(&b'\n') {
        if let Some(exit) = process.try_wait() {
            return Err(EmbeddedError::Ended(exit));
        }
        if Instant::now() >= deadline || line.len() >= LINE {
            return Err(EmbeddedError::Silent);
        }
        set.clear();
        set.add(pipe.as_raw_fd(), Interest::Read);
        process.register(&mut set);
        set.wait(Some(deadline))?;
        let mut buffer = [0u8; LINE];
        match pipe.read(&mut buffer) {
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    parse_line(&String::from_utf8_lossy(&line)).ok_or(EmbeddedError::Silent)
}

fn parse_line(text: &str) -> Option<SocketAddrV4> {
    text.lines().next()?.strip_prefix(LISTENING)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_address_and_nothing_else_will_do() {
        let address = "127.0.0.1:5050".parse().ok();
        assert_eq!(parse_line("listening on 127.0.0.1:5050\n"), address);
        assert_eq!(parse_line("hello\nlistening on 127.0.0.1:5050\n"), None);
        assert_eq!(parse_line("listening on everything\n"), None);
    }
}
