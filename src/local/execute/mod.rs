//! `mesos-slave execute`: submits one command or one group of tasks to a master, shows what it prints, and ends as it ends.
//!
//! ```text
//!               v1 scheduler API, JSON             /state, /files/read
//!   master ◄──────────────────────────  execute  ──────────────────────► agent
//!                 scheduler (core)         │          follow (core)
//!                                        shell
//! with --master=local:  local-master ◄─ children ─► mesos-slave          local
//! ```
//!
//! stdout carries the task's stdout and nothing else, byte for byte; stderr the task's stderr and the progress. Of a group, both carry
//! whole lines, each behind its task's id. Nothing of it is peculiar to our own master and slave: it works against Mesos 1.x.

mod answer;
mod calls;
mod events;
mod follow;
mod group;
#[cfg(test)]
mod group_tests;
mod launched;
mod leader;
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

use crate::detector::Detector;
use crate::flags::{ExecuteFlags, Master};
use crate::poll::Signals;
use crate::random::Random;
use crate::resources::{self, Resources};
use calls::{Task, Work};
use local::Cluster;
use outcome::Outcome;
use scheduler::Scheduler;
use shell::{Shell, Streams};

/// So much of the slave's log is shown when something has failed that is not the command's fault.
const LOG_LINES: usize = 15;

/// Runs the command. The exit status is the command's own, of a group that of the first task that did not finish; 130 or 143 after Ctrl-C
/// or SIGTERM, 124 after `--timeout`, 1 for whatever else went wrong, with the reason on stderr.
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
    let work = work(flags)?;
    // Before any child is started: none may be left behind by a signal.
    let mut signals = Signals::block(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
        .map_err(|error| format!("cannot await signals: {error}"))?;
    match &flags.master {
        Master::Address { host, port } => {
            let master =
                shell::resolve(&format!("{host}:{port}")).map_err(|why| format!("cannot find the master: {why}"))?;
            let outcome = follow(flags, work, master, &mut signals, None);
            outcome.inspect(tell)
        }
        Master::ZooKeeper(zookeeper) => {
            led(flags, work, &mut signals, |random, now| Detector::zookeeper(zookeeper.clone(), random, now))
        }
        Master::File(path) => led(flags, work, &mut signals, |random, now| Detector::file(path.clone(), random, now)),
        Master::Local => {
            let mut cluster = Cluster::start(flags)?;
            let outcome = follow(flags, work, cluster.address(), &mut signals, Some(&mut cluster));
            if let Ok(outcome) = &outcome {
                tell(outcome);
                tell_log(outcome, &mut cluster);
            }
            cluster.end(&mut signals);
            outcome
        }
    }
}

/// With the master that leads now; if another does later, the task is followed no longer than its own master is there.
fn led(
    flags: &ExecuteFlags,
    work: Work,
    signals: &mut Signals,
    detector: impl FnOnce(Random, Instant) -> Detector,
) -> Result<Outcome, String> {
    let random = Random::from_system().map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    let mut detector = detector(random, Instant::now());
    let found = leader::find(&mut detector, signals, flags.timeout);
    match found.map_err(|error| format!("cannot wait for a master: {error}"))? {
        Ok(master) => follow(flags, work, master, signals, None).inspect(tell),
        Err(interrupt) => {
            fail(&format!("no master was found: {}", interrupt.text()));
            Ok(Outcome::Interrupted(interrupt))
        }
    }
}

fn follow(
    flags: &ExecuteFlags,
    work: Work,
    master: SocketAddrV4,
    signals: &mut Signals,
    cluster: Option<&mut Cluster>,
) -> Result<Outcome, String> {
    let now = Instant::now();
    let (scheduler, first) = Scheduler::new(work, flags.timeout, now);
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

fn work(flags: &ExecuteFlags) -> Result<Work, String> {
    match &flags.task_group {
        Some(group) => group::read(group, own_user()),
        None => task(flags).map(Work::from),
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
