//! `mesos-slave execute`: submits one command to a master, shows what it prints, and ends as it ends.
//!
//! ```text
//!               v1 scheduler API, JSON             /state, /files/read
//!   master ◄──────────────────────────  execute  ──────────────────────► agent
//!                 scheduler (core)         │          follow (core)
//!                                        shell
//! with --master=local:  local-master ◄─ children ─► mesos-slave          local
//! ```
//!
//! stdout carries the task's stdout and nothing else, byte for byte; stderr the task's stderr and the progress. Nothing of it is
//! peculiar to our own master and slave: it works against Mesos 1.x.

mod answer;
mod calls;
mod events;
mod follow;
mod local;
mod outcome;
mod output;
mod scheduler;
mod shell;
#[cfg(test)]
mod shell_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::flags::{ExecuteFlags, Master};
use crate::poll::Signals;
use crate::random::Random;
use crate::resources::{self, Resources};
use calls::Task;
use local::Cluster;
use outcome::Outcome;
use scheduler::Scheduler;
use shell::{Shell, Streams};

/// So much of the slave's log is shown when something has failed that is not the command's fault.
const LOG_LINES: usize = 15;

/// Runs the command. The exit status is the command's own; 130 or 143 after Ctrl-C or SIGTERM, 124 after `--timeout`, 1 for whatever else
/// went wrong, with the reason on stderr.
pub fn main(flags: &ExecuteFlags) -> ExitCode {
    for warning in &flags.warnings {
        eprintln!("warning: {warning}");
    }
    match run(flags) {
        Ok(outcome) => ExitCode::from(outcome.exit_status()),
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("mesos-slave execute: {}", why.trim_end());
    ExitCode::FAILURE
}

fn run(flags: &ExecuteFlags) -> Result<Outcome, String> {
    let task = task(flags)?;
    // Before any child is started: none may be left behind by a signal.
    let mut signals = Signals::block(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
        .map_err(|error| format!("cannot await signals: {error}"))?;
    match &flags.master {
        Master::Address { host, port } => {
            let master =
                shell::resolve(&format!("{host}:{port}")).map_err(|why| format!("cannot find the master: {why}"))?;
            let outcome = follow(flags, task, master, &mut signals, None);
            outcome.inspect(tell)
        }
        Master::ZooKeeper(_) | Master::File(_) => {
            Err("--master of 'execute' must be host:port or local: name the leading master itself".to_string())
        }
        Master::Local => {
            let mut cluster = Cluster::start(flags)?;
            let outcome = follow(flags, task, cluster.address(), &mut signals, Some(&mut cluster));
            if let Ok(outcome) = &outcome {
                tell(outcome);
                tell_log(outcome, &mut cluster);
            }
            cluster.end(&mut signals);
            outcome
        }
    }
}

fn follow(
    flags: &ExecuteFlags,
    task: Task,
    master: SocketAddrV4,
    signals: &mut Signals,
    cluster: Option<&mut Cluster>,
) -> Result<Outcome, String> {
    let now = Instant::now();
    let (scheduler, first) = Scheduler::new(task, flags.timeout, now);
    let streams = Streams::own().map_err(|error| format!("no standard output: {error}"))?;
    let shell = Shell::new(master, scheduler, signals, cluster, streams, now);
    shell.run(first).map_err(|error| format!("cannot wait for events: {error}"))
}

fn tell(outcome: &Outcome) {
    match outcome {
        Outcome::Failed(why) => {
            fail(&output::printable(why));
        }
        Outcome::Command(_) | Outcome::Interrupted(_) => {}
    }
}

/// A slave that has ended was quoted already.
fn tell_log(outcome: &Outcome, cluster: &mut Cluster) {
    if matches!(outcome, Outcome::Failed(_)) && cluster.ended().is_none() {
        eprintln!("the slave's last words:\n{}", output::printable(&cluster.last_lines(LOG_LINES)));
    }
}

fn task(flags: &ExecuteFlags) -> Result<Task, String> {
    let list = resources::parse(&flags.resources).map_err(|error| format!("--resources: {error}"))?;
    let resources = Resources::checked(&list).map_err(|error| format!("--resources: {error}"))?;
    let mut random = Random::from_system().map_err(|error| format!("no random numbers: {error}"))?;
    let id = format!("execute-{}", random.uuid_text());
    Ok(Task {
        name: flags.name.clone().unwrap_or_else(|| "execute".to_string()),
        id,
        command: flags.command.clone(),
        env: flags.env.clone(),
        resources,
        user: flags.user.clone().unwrap_or_else(own_user),
        run_as: flags.user.clone(),
    })
}

/// As Mesos' own tools do: a framework's user is who starts it.
fn own_user() -> String {
    match User::from_uid(geteuid()) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => geteuid().to_string(),
    }
}
