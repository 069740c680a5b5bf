//! This host as a place where checks are run, and what the watch over the task wants done.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, dup2_stderr, dup2_stdout};

use super::child::Child;
use super::start::{StartError, become_user, environment, find_user, words};
use super::tree;
use crate::checks::{Outcome, Place, Probe, Which, curl, probe, understand_port, watch};
use crate::container::status::Answer;
use crate::messages::container::Spec;
use crate::messages::mesos::CommandInfo;
use crate::subprocess::{Exit, JobEnd, Spawn};
use crate::vm::launcher::check_variable;

/// This host, for one task.
pub(super) struct Here<'a>(pub &'a Spec);

impl Here<'_> {
    fn probe(&self, which: Which) -> Option<Probe> {
        self.0.task.as_ref().and_then(|task| probe(task, which))
    }

    /// As the task's user, in its sandbox, with its environment and what the check adds to that; output goes to the task's `stderr`.
    fn command(&self, info: &CommandInfo) -> Result<Spawn, StartError> {
        let mut command = words(info)?;
        self.prepare(&mut command)?;
        for variable in info.environment.iter().flat_map(|environment| &environment.variables) {
            check_variable(&variable.name, variable.value()).map_err(StartError::Value)?;
            command.env(&variable.name, variable.value());
        }
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated. The closure comes after the one that has
        // switched users: the user may have put anything in the file's place.
        unsafe {
            command.pre_exec(write_to_stderr);
        }
        Ok(Spawn::command(command))
    }

    fn curl(&self, words: &[String]) -> Result<Spawn, StartError> {
        let mut command = Command::new(words.first().map_or("curl", String::as_str));
        command.args(words.iter().skip(1));
        self.prepare(&mut command)?;
        Ok(Spawn::command(command))
    }

    fn prepare(&self, command: &mut Command) -> Result<(), StartError> {
        let user = find_user(self.0.user.as_deref())?;
        environment(command, self.0, &user)?;
        command.current_dir(&self.0.sandbox).stdin(Stdio::null());
        become_user(command, &user)
    }
}

/// What cannot be opened leaves the output where the job's is: it is thrown away.
fn write_to_stderr() -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    if let Ok(file) = open(c"stderr", flags, Mode::empty()) {
        dup2_stdout(&file)?;
        dup2_stderr(&file)?;
    }
    Ok(())
}

impl Place for Here<'_> {
    fn spawn(&self, which: Which) -> Result<Spawn, Outcome> {
        let ask = |kind, target: String, path| Ok(Spawn::ourselves("check-port").arg(kind).arg(target).arg(path));
        let failed = |error: StartError| Outcome::Failed(error.to_string());
        match self.probe(which) {
            None => Err(Outcome::Unavailable("there is none".to_string())),
            Some(Probe::Command(command)) => self.command(&command).map_err(failed),
            Some(Probe::Tcp(target)) => ask("tcp", target.to_string(), String::new()),
            Some(Probe::Http(target, path)) => ask("http", target.to_string(), path),
            Some(Probe::Https(target, path)) => self.curl(&curl(target, &path, None)).map_err(failed),
        }
    }

    fn understand(&self, which: Which, end: &JobEnd) -> Outcome {
        match (self.probe(which), end.exit) {
            (Some(Probe::Command(_)), Some(Exit::Status(status))) => Outcome::Answered(Answer::Exit(status)),
            (Some(Probe::Command(_)), Some(Exit::Signal(signal))) => Outcome::Answered(Answer::Exit(128 + signal)),
            (Some(Probe::Https(..)), _) if !end.is_success() => Outcome::Failed(format!("curl: {}", end.reason())),
            _ => understand_port(end),
        }
    }

    fn end(&self, _which: Which, pid: Pid) -> Option<Spawn> {
        tree::kill_below(pid);
        None
    }
}

impl Child {
    /// Takes the checks' results, and does what the watch wants.
    pub(super) fn look(&mut self, now: Instant) -> Result<(), String> {
        let mut wanted = Vec::new();
        for (which, outcome) in self.checks.turn(&Here(&self.spec), now) {
            wanted.extend(self.watch.ended(which, outcome, now));
        }
        wanted.extend(self.watch.tick(now));
        for action in wanted {
            self.obey(action, now)?;
        }
        Ok(())
    }

    fn obey(&mut self, action: watch::Action, now: Instant) -> Result<(), String> {
        match action {
            watch::Action::Run { which, by } => {
                let ended = self.checks.start(which, by, &Here(&self.spec), now);
                let wanted = ended.map(|outcome| self.watch.ended(which, outcome, now));
                wanted.into_iter().flatten().try_for_each(|action| self.obey(action, now))
            }
            watch::Action::Tell(report) => self.report(&report),
            watch::Action::Note(text) => {
                log::warn!("{}", crate::container::text::printable(&text));
                Ok(())
            }
            watch::Action::Kill { grace } => self.kill(grace, now),
        }
    }

    /// After each turn: the watch ends with the state that it belongs to.
    pub(super) fn stop_watching(&mut self) {
        if self.watch.is_on() && !self.is_undisturbed() {
            self.watch.stop();
            self.checks.stop(&Here(&self.spec));
        }
    }
}
