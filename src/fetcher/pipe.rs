//! A program whose output is a file: what it prints is handed on as it comes, and it is ended when nothing comes for too long or what
//! comes is not wanted any more.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::error::FetchError;
use crate::poll::{Interest, PollSet};
use crate::subprocess::{Exit, Spawn, Subprocess, drain, set_nonblocking};

/// How much of what a program says on its stderr is kept, in bytes.
const WORDS: usize = 16 * 1024;

/// How a program ended.
#[derive(Debug)]
pub struct End {
    /// With which status.
    pub exit: Exit,
    /// What it said on its stderr.
    stderr: Vec<u8>,
}

impl End {
    /// The last line it said, without its own name in front; or else how it ended.
    pub fn reason(&self, name: &str) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let line = line.map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(line));
        line.map_or(self.exit.to_string(), str::to_string)
    }
}

/// Runs a program to its end, or to the first error of whoever takes its output. `input` must fit into a pipe.
///
/// # Errors
/// [`FetchError::Program`], [`FetchError::Stalled`], and what the taker says. The program is gone then.
pub fn run(
    name: &'static str,
    mut command: Command,
    input: &[u8],
    stall: Option<Duration>,
    mut take: impl FnMut(&[u8]) -> Result<(), FetchError>,
) -> Result<End, FetchError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process =
        Spawn::command(command).die_with_parent().spawn().map_err(|error| FetchError::Program(name, error))?;
    let result = follow(&mut process, input, stall, &mut take);
    if result.is_err() {
        process.signal(Signal::SIGKILL);
    }
    let exit = process.wait().map_err(|error| FetchError::Io("poll", error))?;
    result.map(|stderr| End { exit, stderr })
}

fn follow(
    process: &mut Subprocess,
    input: &[u8],
    stall: Option<Duration>,
    take: &mut impl FnMut(&[u8]) -> Result<(), FetchError>,
) -> Result<Vec<u8>, FetchError> {
    let io = |error| FetchError::Io("cannot use a pipe", error);
    if let Some(mut pipe) = process.stdin.take() {
        // A program that does not read its input says on its stderr what is wrong with it.
        let _ = pipe.write_all(input);
    }
    if let (Some(stdout), Some(stderr)) = (&process.stdout, &process.stderr) {
        set_nonblocking(stdout).and_then(|()| set_nonblocking(stderr)).map_err(io)?;
    }
    let (mut set, mut words, mut buffer) = (PollSet::new(), Vec::new(), vec![0u8; 64 * 1024]);
    let mut last = Instant::now();
    loop {
        let ended = process.try_wait().is_some();
        let mut idle = true;
        while let Some(pipe) = &mut process.stdout {
            match pipe.read(&mut buffer) {
                Ok(0) => process.stdout = None,
                Ok(count) => {
                    (last, idle) = (Instant::now(), false);
                    take(&buffer[..count])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(io(error)),
            }
        }
        drain(&mut process.stderr, &mut words, WORDS);
        // Whoever has inherited its output does not keep us: it has ended, and all that it wrote is read.
        match (ended, idle) {
            (true, true) => return Ok(words),
            (true, false) => continue,
            (false, _) => {}
        }
        let deadline = stall.map(|stall| last + stall);
        if let (Some(stall), Some(deadline)) = (stall, deadline)
            && Instant::now() >= deadline
        {
            return Err(FetchError::Stalled(stall));
        }
        set.clear();
        process.register(&mut set);
        if let Some(pipe) = &process.stdout {
            set.add(pipe.as_raw_fd(), Interest::Read);
        }
        if let Some(pipe) = &process.stderr {
            set.add(pipe.as_raw_fd(), Interest::Read);
        }
        set.wait(deadline).map_err(|error| FetchError::Io("poll", error))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    fn text(script: &str, input: &[u8]) -> (String, End) {
        let mut taken = Vec::new();
        let take = |bytes: &[u8]| {
            taken.extend_from_slice(bytes);
            Ok(())
        };
        let end = run("sh", shell(script), input, Some(Duration::from_secs(60)), take).expect("run");
        (String::from_utf8(taken).expect("utf-8"), end)
    }

    #[test]
    fn what_a_program_prints_is_taken_and_its_last_word_is_the_reason() {
        let (taken, end) = text("cat; echo 'sh: one' >&2; echo 'sh: two' >&2; exit 3", b"hello");
        assert_eq!((taken.as_str(), end.exit), ("hello", Exit::Status(3)));
        assert_eq!(end.reason("sh"), "two");
        assert_eq!(text("kill -9 $$", b"").1.reason("sh"), "signal SIGKILL");
    }

    #[test]
    fn all_of_a_large_output_is_taken() {
        assert_eq!(text("head -c 3000000 /dev/zero", b"").0.len(), 3_000_000);
    }

    #[test]
    fn a_child_that_keeps_the_output_open_is_not_waited_for() {
        let began = Instant::now();
        assert_eq!(text("sleep 60 & echo done", b"").0, "done\n");
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn silence_and_a_taker_who_has_enough_end_it() {
        let short = Some(Duration::from_millis(50));
        let stalled = run("sh", shell("echo a; exec sleep 600"), b"", short, |_| Ok(()));
        assert!(matches!(stalled, Err(FetchError::Stalled(_))));
        let full = run("sh", shell("exec cat /dev/zero"), b"", None, |_| Err(FetchError::TooLarge(1)));
        assert!(matches!(full, Err(FetchError::TooLarge(1))));
        let none = run("none", Command::new("/no/such/program"), b"", None, |_| Ok(()));
        assert!(matches!(none, Err(FetchError::Program("none", _))));
    }
}
