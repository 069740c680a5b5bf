//! The guest as a place where checks are run. A command is one of the launcher's verbs; a port is asked from outside, through the
//! ssh connection, since a guest need not have a program for that.

use nix::unistd::Pid;

use super::jobs::{Plan, program, run_as_root};
use super::launcher::{self, Job};
use super::ssh::Ssh;
use crate::checks::{Outcome, Place, Probe, Which, curl, probe, timeout, understand_port};
use crate::container::status::Answer;
use crate::messages::container::Spec;
use crate::messages::mesos::CommandInfo;
use crate::path_map::PathMap;
use crate::subprocess::{JobEnd, Spawn};

/// A guest, with the connection to it.
pub struct Guest<'a> {
    /// The container.
    pub plan: &'a Plan,
    /// The connection, as soon as there has been one.
    pub ssh: Option<&'a Ssh>,
}

impl Guest<'_> {
    fn probe(&self, which: Which) -> Option<Probe> {
        self.plan.spec.task.as_ref().and_then(|task| probe(task, which))
    }

    fn verb(&self, ssh: &Ssh, verb: &str, which: Which) -> Spawn {
        run_as_root(ssh, &launcher::verb(&self.plan.state(), &format!("{verb} {}", name(which))))
    }
}

impl Place for Guest<'_> {
    fn spawn(&self, which: Which) -> Result<Spawn, Outcome> {
        let ssh = self.ssh.ok_or(Outcome::Unavailable("there is no ssh connection".to_string()))?;
        match self.probe(which) {
            None => Err(Outcome::Unavailable("there is none".to_string())),
            Some(Probe::Command(_)) => Ok(self.verb(ssh, "check", which)),
            Some(Probe::Tcp(target)) => Ok(ask(ssh, "tcp", &target.to_string(), "")),
            Some(Probe::Http(target, path)) => Ok(ask(ssh, "http", &target.to_string(), &path)),
            Some(Probe::Https(target, path)) => {
                let seconds = self.plan.spec.task.as_ref().and_then(|task| timeout(task, which));
                let words = curl(target, &path, seconds);
                Ok(ssh.run(&format!("exec {}", super::quote::words(&words))))
            }
        }
    }

    fn understand(&self, which: Which, end: &JobEnd) -> Outcome {
        match self.probe(which) {
            Some(Probe::Command(_)) => match launcher::parse_check(end) {
                Ok(status) => Outcome::Answered(Answer::Exit(status)),
                Err(error) => Outcome::Unavailable(error.to_string()),
            },
            Some(Probe::Https(..)) if !end.is_success() && self.ssh.is_some_and(|ssh| ssh.is_remote_end(end)) => {
                Outcome::Failed(format!("curl in the guest: {}", end.reason()))
            }
            _ => understand_port(end),
        }
    }

    /// The process of the check is but an ssh: what it has started in the guest is ended there.
    fn end(&self, which: Which, _pid: Pid) -> Option<Spawn> {
        let is_command = matches!(self.probe(which), Some(Probe::Command(_)));
        self.ssh.filter(|_| is_command).map(|ssh| self.verb(ssh, "end-check", which))
    }
}

fn ask(ssh: &Ssh, kind: &str, target: &str, path: &str) -> Spawn {
    Spawn::ourselves("check-port").arg(kind).arg(target).arg(path).with(|command| {
        command.args(ssh.forward());
    })
}

/// A check's name in the launcher.
fn name(which: Which) -> &'static str {
    match which {
        Which::Check => "check",
        Which::Health => "health",
    }
}

/// The commands of a task's checks, for its launcher. They have the task's environment, and their own.
///
/// # Errors
/// A command that is none.
pub fn jobs(spec: &Spec) -> Result<Vec<Job>, String> {
    let probe_of = |which| Some((which, probe(spec.task.as_ref()?, which)?));
    let commands = Which::ALL.into_iter().filter_map(probe_of).filter_map(|(which, probe)| match probe {
        Probe::Command(command) => Some((which, command)),
        Probe::Tcp(_) | Probe::Http(..) | Probe::Https(..) => None,
    });
    commands.map(|(which, command)| job(spec, which, &command)).collect()
}

fn job(spec: &Spec, which: Which, command: &CommandInfo) -> Result<Job, String> {
    let own = command.environment.iter().flat_map(|environment| &environment.variables);
    let own = own.map(|variable| (variable.name.clone(), variable.value().to_string()));
    let inherited = spec.environment.iter().map(|variable| (variable.name.clone(), variable.value.clone()));
    let program = program(command, &PathMap::of(spec)).map_err(|error| format!("the task's {which}: {error}"))?;
    Ok(Job { name: name(which), environment: inherited.chain(own).collect(), program })
}
